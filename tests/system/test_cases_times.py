"""Benches end when their reason ends: retry delays, days, tokens, a page's origin."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.support.cases_clients import Beside, all_served, loops, statuses
from tests.support.cases_support import (
    CASES,
    FLASH,
    PRO,
    Answered,
    named,
    pool,
    prompt,
    takes_minutes,
    target,
)
from tests.support.scripted import HELP, Answer, Call, Q, error, first, healthy, info, only, quota, retry

pytestmark = CASES
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
NOON = datetime.fromisoformat("2026-11-26T12:00:00-08:00").timestamp()  # in Los Angeles
MIDNIGHT = datetime.fromisoformat("2026-11-27T00:00:00-08:00").timestamp()


def spent(name: str, *details: Any, model: str = FLASH, value: str = "20") -> Answer:  # noqa: ANN401 - JSON
    return error(429, "RESOURCE_EXHAUSTED", Q, HELP, quota(name, model, value), *details)


# Told times.


@pytest.mark.parametrize(
    ("refusal", "least", "most"),
    [
        (spent(MINUTE, retry("3600s")), 0.5, 61.0),
        (spent(MINUTE, retry("34.074824224s")), 33.0, 36.0),
        (spent("GenerateRequestsPerMinutePerProjectPerModel-PaidTier2", retry("86400s")), 0.5, 61.0),
        (spent("GenerateContentPaidTierInputTokensPerModelPerMinute", retry("7200s")), 0.0, 61.0),
        (error(429, "RESOURCE_EXHAUSTED", Q, HELP, retry("34s")), 33.0, 36.0),
        (spent(MINUTE, retry({"seconds": 34, "nanos": 500_000_000})), 33.0, 36.0),
        (spent(MINUTE, retry({"seconds": "34"})), 33.0, 36.0),
        (spent(DAY, retry("41s")), 12 * 3600.0 - 60.0, 12 * 3600.0 + 1800.0),
    ],
    ids=[
        "an hour",
        "as told",
        "a paid tier",
        "tokens",
        "no quota named",
        "an object",
        "object of text",
        "a day",
    ],
)
async def test_a_told_time_is_believed_within_the_quota_s_period(
    refusal: Answer, least: float, most: float
) -> None:
    async with pool(3, only({"1"}, refusal), wall=NOON) as here:
        while not here.upstream.of("1"):
            assert (await here.plain()).status == 200
        left = (await here.rests()).get("1", {FLASH: 0.0})
        assert set(left) == {FLASH}
        assert least <= left[FLASH] <= most
        assert all_served(await here.at_once(6, lambda: here.plain(PRO)))


async def test_a_pool_that_is_told_of_an_hour_serves_after_a_minute() -> None:
    async with pool(4) as here:
        end = here.now + 1.0
        here.upstream.script = lambda call: spent(MINUTE, retry("3600s")) if call.at < end else None
        answers = await loops(here, 3, 75.0, pause=1.0)
        assert min(answer.end for answer in answers if answer.status == 200) <= end + 62.0


async def test_our_own_429_says_when_to_come_back_and_why() -> None:
    async with pool(3, lambda _: spent(MINUTE, retry("34s")), MAX_WAIT="0") as here:
        answer = await here.plain()
        assert answer.status == 429
        assert 33 <= answer.retry_after <= 36
        assert answer.error["status"] == "RESOURCE_EXHAUSTED"
        delays = [detail["retryDelay"] for detail in answer.error["details"] if "retryDelay" in detail]
        assert delays == [f"{answer.retry_after}s"]
        assert "quota" in answer.error["message"].lower()
        assert len(here.upstream.calls) == 3


# Days.


@pytest.mark.parametrize("late", [0.5, 1.0, 5.0, 300.0])
@takes_minutes
async def test_a_day_that_is_refused_again_just_after_midnight_is_tried_again_soon(late: float) -> None:
    async with pool(2, lambda _: spent(DAY, retry("20s")), wall=MIDNIGHT + late) as here:
        begun = here.now
        await here.plain()
        assert all(left[FLASH] <= 600.0 for left in (await here.rests()).values())
        here.upstream.script = lambda _: None
        answers = await loops(here, 1, 700.0, pause=20.0)
        assert min(answer.end for answer in answers if answer.status == 200) - begun <= 600.0


@takes_minutes
async def test_what_rested_for_the_day_serves_the_new_day_though_google_is_late() -> None:
    async with pool(3, wall=MIDNIGHT - 600.0) as here:
        begun = here.now
        here.upstream.script = lambda call: spent(DAY) if call.at < begun + 602.0 else None
        answers = await loops(here, 2, 1300.0, pause=10.0)
        before = [call for call in here.upstream.calls if call.at < begun + 599.0]
        assert len(before) <= 6, "until midnight nothing is tried"
        assert [answer for answer in answers if answer.status == 200 and answer.end <= begun + 1200.0]


async def test_at_two_in_the_morning_a_day_is_a_day_again() -> None:
    async with pool(2, only({"1"}, spent(DAY, retry("20s"))), wall=MIDNIGHT + 7200.0) as here:
        assert all_served(await here.in_turn(30))
        assert (await here.rests())["1"][FLASH] == pytest.approx(22 * 3600.0, abs=1900.0)


# Tokens.

SMALL = 500_000
LARGE = prompt("x" * 600_000)
TOKENS = error(
    429,
    "RESOURCE_EXHAUSTED",
    f"{Q}\n* Quota exceeded for metric: generativelanguage.googleapis.com/"
    "generate_content_free_tier_input_token_count, limit: 125000, model: gemini-2.5-flash\n"
    "Please retry in 34.5s.",
    HELP,
    quota("GenerateContentInputTokensPerModelPerMinute-FreeTier", FLASH, "125000"),
    retry("34s"),
)


def by_size(call: Call) -> Answer | None:
    return TOKENS if len(call.body) > SMALL else None


# 4.4
@pytest.mark.parametrize("pause", [2.0, 0.7])
async def test_an_agent_with_too_large_a_prompt_moves_nobody(pause: float) -> None:
    async with pool(8, by_size) as here:

        async def agent() -> None:
            end = here.now + 20.0
            while here.now < end:
                await here.ask("POST", target(), LARGE)
                await asyncio.sleep(pause)

        async with Beside(here, clients=2) as plain:
            await agent()
        quick = [answer for answer in plain.meanwhile if answer.status == 200 and answer.seconds <= 0.5]
        assert len(quick) >= 0.95 * len(plain.meanwhile)
        assert len([call for call in here.upstream.calls if len(call.body) > SMALL]) <= 16


async def test_too_large_a_prompt_costs_three_calls_and_its_keys_serve_smaller_ones() -> None:
    async with pool(6, by_size) as here:
        answer = await here.ask("POST", target(), LARGE)
        assert answer.status == 429
        refused = set(here.upstream.asked)
        assert 1 <= len(here.upstream.calls) <= 3
        here.upstream.calls.clear()
        assert all_served(await here.in_turn(80))
        assert refused <= set(here.upstream.asked)


async def test_repeated_it_costs_nothing() -> None:
    async with pool(3, by_size, MAX_WAIT="1") as here:
        assert (await here.ask("POST", target(), LARGE)).status == 429
        assert len(here.upstream.calls) <= 3
        here.upstream.calls.clear()

        async def again() -> Answered:
            return await here.ask("POST", target(), LARGE)

        answers = await here.in_turn(5, again)
        assert statuses(answers) == [429] * 5
        assert here.upstream.calls == []
        assert all(answer.retry_after <= 61 for answer in answers)
        assert all_served(await here.at_once(9))


async def test_one_key_that_has_tokens_left_is_found_within_three() -> None:
    def script(call: Call) -> Answer | None:
        return TOKENS if len(call.body) > SMALL and call.key in refused else None

    refused = {"1", "2"}
    async with pool(3, script) as here:
        assert all_served([await here.ask("POST", target(), LARGE) for _ in range(3)])


# Where a page comes from.


def blocked(origin: str) -> Answer:
    return error(
        403,
        "PERMISSION_DENIED",
        f"Requests from referer {origin} are blocked.",
        info("API_KEY_HTTP_REFERRER_BLOCKED", consumer="projects/1"),
    )


async def test_a_key_that_is_bound_to_a_page_rests_only_for_others() -> None:
    def script(call: Call) -> Answer | None:
        told = dict(call.fields)
        page = told.get("Referer", "<empty>")
        return blocked(page) if call.key == "1" and not page.startswith("https://mine.example") else None

    mine, other = ("Referer", "https://mine.example/a"), ("Referer", "https://other.example/b")
    async with pool(3, script) as here:
        for _ in range(9):
            assert (await here.plain(FLASH, "hi", other)).status == 200
            assert (await here.plain()).status == 200
        assert len(here.upstream.of("1")) <= 4, "of each origin, and a second look"
        assert "*" not in (await here.rests()).get("1", {})
        here.upstream.calls.clear()
        for _ in range(9):
            assert (await here.plain(FLASH, "hi", mine)).status == 200
        assert here.upstream.of("1")


@pytest.mark.parametrize("reason", ["API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_ANDROID_APP_BLOCKED"])
async def test_other_restrictions_are_a_key_s_when_others_serve(reason: str) -> None:
    text = "The provided API key has an IP address restriction. The originating IP address violates this."
    async with pool(4, first(2, error(403, "PERMISSION_DENIED", text, info(reason)))) as here:
        assert all_served(await here.in_turn(16))
        assert len(here.upstream.calls) <= 16 + 6


@pytest.mark.parametrize(
    "refusal",
    [
        error(403, "PERMISSION_DENIED", "Gemini API has not been used in project 7 before or it is disabled.",
              info("SERVICE_DISABLED", consumer="projects/7")),
        error(403, "PERMISSION_DENIED", "Requests to this API are blocked.", info("API_KEY_SERVICE_BLOCKED")),
        error(403, "PERMISSION_DENIED", "Access to generativelanguage.googleapis.com is restricted from your"
              " billing country and was denied for projects/7."),
        error(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support."),
    ],
    ids=named,
)  # fmt: skip
async def test_what_speaks_of_the_key_rests_it_as_a_whole(refusal: Answer) -> None:
    async with pool(6, lambda call: refusal if call.key in {"1", "2", "3"} else healthy(call)) as here:
        assert all_served(await here.in_turn(12))
        assert all_served(await here.in_turn(12, lambda: here.plain(PRO)))
        refused = [call.key for call in here.upstream.of("1", "2", "3")]
        assert len(refused) == len(set(refused)), "each is asked once"
        assert {name for name, left in (await here.rests()).items() if "*" in left} == set(refused)
