"""Billing: one refusal benches all keys of an account. And the errors of the Interactions API."""

import asyncio
from datetime import datetime

import pytest

from tests.support.cases_clients import all_served
from tests.support.cases_support import (
    CASES,
    CHAT,
    FLASH,
    INTERACTIONS,
    PRO,
    STREAMED,
    Answered,
    Pool,
    Request,
    chat,
    interaction,
    named,
    pool,
    prompt,
)
from tests.support.scripted import Answer, as_array, error, interactions_error, only

pytestmark = CASES
SHOP = ["1__shop", "2__shop", "3", "4"]
ACCOUNT = ["1__p1__acct", "2__p2__acct", "3__p3__other", "4"]
DEPLETED = (
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage"
    " your project and billing."
)
CREDIT = error(402, "RESOURCE_EXHAUSTED", DEPLETED)
CREDIT_429 = error(429, "RESOURCE_EXHAUSTED", DEPLETED)
CAP = error(
    429,
    "RESOURCE_EXHAUSTED",
    "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to"
    " manage your project spend cap.",
)
ACCOUNT_CAP = error(
    429,
    "RESOURCE_EXHAUSTED",
    "Your billing account has exceeded its monthly spending cap. Please go to AI Studio at"
    " https://ai.studio/spend.",
)
SPEED = error(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed limit for your"
    " account's billing history and tier.",
)
PAYMENT = interactions_error(402, "payment_required", "Your prepayment credits are depleted.")
NOON = datetime.fromisoformat("2026-11-26T12:00:00-08:00").timestamp()  # in Los Angeles


def requests(here: Pool) -> dict[str, Request]:
    return {
        "plain": here.plain,
        "stream": lambda: here.ask("POST", STREAMED, prompt()),
        "openai": lambda: here.ask("POST", CHAT, chat()),
        "interactions": lambda: here.ask("POST", INTERACTIONS, interaction()),
    }


# 6.1 and 6.2


@pytest.mark.parametrize("keys", [SHOP, ACCOUNT], ids=["project", "account"])
@pytest.mark.parametrize("refusal", [CREDIT, CREDIT_429, CAP, ACCOUNT_CAP, SPEED], ids=named)
async def test_one_refusal_rests_all_that_is_paid_from_the_same_purse(
    keys: list[str], refusal: Answer
) -> None:
    async with pool(keys, only({"1", "2"}, refusal)) as here:
        assert all_served(await here.in_turn(25))
        assert all_served(await here.in_turn(25, lambda: here.plain(PRO)))
        await asyncio.sleep(3.5)
        assert all_served(await here.in_turn(15))
        assert len(here.upstream.of("1", "2")) == 1
        rests = await here.rests()
        assert set(rests) == {"1", "2"}
        assert all("*" in left for left in rests.values()), "it rests as a whole, for all models"
        if refusal is SPEED:
            assert all(left["*"] <= 600.0 for left in rests.values())


@pytest.mark.parametrize(
    ("endpoint", "refusal"),
    [
        ("openai", as_array(CREDIT)),
        ("stream", CREDIT),
        ("interactions", PAYMENT),
        ("openai", as_array(SPEED)),
    ],
    ids=named,
)
async def test_so_on_every_endpoint(endpoint: str, refusal: Answer) -> None:
    async with pool(ACCOUNT, only({"1", "2"}, refusal)) as here:
        assert all_served(await here.in_turn(12, requests(here)[endpoint]))
        assert all_served(await here.in_turn(12))
        assert len(here.upstream.of("1", "2")) == 1
        assert set(await here.rests()) == {"1", "2"}


async def test_keys_of_no_known_project_rest_one_by_one() -> None:
    async with pool(5, only({"1", "2", "3"}, CREDIT)) as here:
        assert all_served(await here.in_turn(20))
        assert all_served(await here.in_turn(10, lambda: here.plain(PRO)))
        refused = [call.key for call in here.upstream.of("1", "2", "3")]
        assert len(refused) == len(set(refused)), "each is asked once"
        assert set(await here.rests()) == set(refused)


async def test_keys_that_began_to_be_refused_together_rest_together_the_next_time() -> None:
    unpaid = set[str]()
    async with pool(5, lambda call: SPEED if call.key in unpaid else None) as here:
        assert all_served(await here.in_turn(40))
        unpaid |= {"1", "2", "3"}
        assert all_served(await here.in_turn(40))
        assert set(await here.rests()) == unpaid
        unpaid.clear()
        await asyncio.sleep(15)
        assert all_served(await here.in_turn(40))
        here.upstream.calls.clear()
        unpaid |= {"1", "2", "3"}
        assert all_served(await here.in_turn(20))
        assert len(here.upstream.of("1", "2", "3")) == 1
        assert set(await here.rests()) == unpaid
        unpaid.clear()
        await asyncio.sleep(6)
        assert all_served(await here.in_turn(40))
        assert len(await here.rests()) == 1, "only the one that was refused itself"


@pytest.mark.parametrize("refusal", [CREDIT, CAP], ids=named)
async def test_when_nobody_has_money_the_client_is_told_by_google(refusal: Answer) -> None:
    async with pool(3, lambda _: refusal, MAX_WAIT="0") as here:
        answer = await here.plain()
        assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert len(here.upstream.calls) == 3


# 6.3 and 6.4

DAY_SPENT = interactions_error(429, "quota_exceeded", "You have exceeded your daily quota.")


@pytest.mark.parametrize("message", ["You have exceeded your daily quota.", "Quota exceeded."])
async def test_the_quota_of_a_day_rests_the_model_until_midnight_in_los_angeles(message: str) -> None:
    refusal = interactions_error(429, "quota_exceeded", message)
    async with pool(4, only({"1"}, refusal), wall=NOON) as here:
        assert all_served(await here.in_turn(40, requests(here)["interactions"]))
        assert len(here.upstream.of("1")) == 1
        ((name, left),) = (await here.rests()).items()
        assert (name, set(left)) == ("1", {FLASH})
        assert left[FLASH] == pytest.approx(12 * 3600.0, abs=120.0)


@pytest.mark.parametrize(
    "refusal",
    [
        interactions_error(429, "rate_limit_exceeded", "You have exceeded the requests per minute limit."),
        interactions_error(429, "too_many_requests", "Too many requests."),
    ],
    ids=["rate_limit_exceeded", "too_many_requests"],
)
async def test_the_interactions_api_s_rate_limit_rests_the_model(refusal: Answer) -> None:
    async with pool(6, only({"1", "2", "3", "4"}, refusal)) as here:
        request = requests(here)["interactions"]
        assert all_served(await here.in_turn(12, request))
        assert all_served(await here.at_once(12, request))
        assert await here.outages() == []
        rests = await here.rests()
        assert set(rests) == {"1", "2", "3", "4"} & set(here.upstream.asked)
        assert all(set(left) == {FLASH} and left[FLASH] > 3.0 for left in rests.values())


async def test_what_an_interaction_is_told_counts_for_the_model_on_other_paths() -> None:
    async with pool(2, only({"1"}, DAY_SPENT), wall=NOON) as here:
        assert all_served(await here.in_turn(6, requests(here)["interactions"]))
        here.upstream.script = lambda _: None
        here.upstream.calls.clear()
        await asyncio.sleep(5.0)
        answers: list[Answered] = await here.in_turn(6)
        assert all_served(answers)
        assert here.upstream.asked == ["2"]


async def test_an_interaction_that_is_not_found_is_no_key_s_fault() -> None:
    refusal = interactions_error(404, "not_found", "Requested entity was not found.")
    async with pool(3, lambda call: refusal if call.method == "GET" else None) as here:
        answer = await here.ask("GET", f"{INTERACTIONS}/v1_abc")
        assert (answer.status, answer.body) == (404, refusal.body)
        assert await here.rests() == {}
