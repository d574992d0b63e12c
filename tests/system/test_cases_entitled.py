"""Tiers: a project that is entitled is found, and those that are not are not tried again."""

import pytest

from tests.support.cases_clients import all_served, statuses
from tests.support.cases_support import (
    CASES,
    CHAT,
    FLASH,
    LITE,
    PRO,
    Answered,
    Pool,
    Request,
    chat,
    pool,
    prompt,
    target,
)
from tests.support.scripted import HELP, Answer, Call, Q, Script, as_array, error, first, quota, retry

pytestmark = CASES
VEO = "veo-2.0-generate-001"


def not_found(model: str, method: str) -> Answer:
    return error(
        404,
        "NOT_FOUND",
        f"models/{model} is not found for API version v1beta, or is not supported for {method}. Call"
        " ListModels to see the list of available models and their supported methods.",
    )


BILLED = error(400, "INVALID_ARGUMENT", "Imagen API is only accessible to billed users at this time.")
NO_BILLING = error(
    400,
    "FAILED_PRECONDITION",
    "User location is not supported for the API use without a billing account linked.",
)
COUNTRY = error(
    400,
    "FAILED_PRECONDITION",
    "Gemini API free tier is not available in your country. Please enable billing on your project in Google"
    " AI Studio.",
)
OLD = error(
    404,
    "NOT_FOUND",
    f"This model models/{LITE} is no longer available to new users. Please update your code to use a newer"
    " model for the latest features and improvements.",
)
NOTHING = error(
    429,
    "RESOURCE_EXHAUSTED",
    f"{Q}\n* Quota exceeded for metric: x, limit: 0, model: {PRO}\nPlease retry in 10s.",
    HELP,
    quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", PRO, "0"),
    retry("10s"),
)
# Called, the path, the body, and what is answered who may not.
TIERS: dict[str, tuple[str, object, Answer]] = {
    "imagen": (target("imagen-4.0-generate-001", "predict"), {"instances": [{"prompt": "x"}]}, BILLED),
    "location": (target(), prompt(), NO_BILLING),
    "veo": (
        target(VEO, "predictLongRunning"),
        {"instances": [{"prompt": "x"}]},
        not_found(VEO, "predictLongRunning"),
    ),
    "country": (target(LITE), prompt(), COUNTRY),
    "new users": (target(LITE), prompt(), OLD),
    "limit 0": (target(PRO), prompt(), NOTHING),
    "streamed": (
        f"{target('gemini-3-pro', 'streamGenerateContent')}?alt=sse",
        prompt(),
        not_found("gemini-3-pro", "streamGenerateContent"),
    ),
    "openai": (CHAT, chat(PRO), as_array(NO_BILLING)),
}
OTHER = "gemini-2.0-flash"


def may_not(refused: Script) -> Script:
    """Only requests for another model are served by all."""
    return lambda call: None if call.model == OTHER else refused(call)


def request_of(here: Pool, name: str) -> Request:
    path, body, _ = TIERS[name]

    async def request() -> Answered:
        return await here.ask("POST", path, body)

    return request


def last_may(keys: int, refusal: Answer) -> Script:
    return lambda call: refusal if call.key != str(keys) else None


# 5.1 to 5.3


@pytest.mark.parametrize("name", TIERS)
@pytest.mark.parametrize("keys", [3, 7])
async def test_the_one_who_may_is_found_and_remembered(name: str, keys: int) -> None:
    refusal = TIERS[name][2]
    async with pool(keys, may_not(last_may(keys, refusal))) as here:
        request = request_of(here, name)
        assert all_served(await here.in_turn(12, request))
        # Each that may not is asked once.
        assert len(here.upstream.calls) <= 12 + keys - 1
        here.upstream.calls.clear()
        assert all_served(await here.in_turn(3 * keys, lambda: here.plain(OTHER)))
        assert len(here.upstream.asked) > 1, "for another model any key serves"
        assert all("*" not in left and OTHER not in left for left in (await here.rests()).values())


@pytest.mark.parametrize("name", ["imagen", "location", "limit 0", "new users"])
async def test_the_one_who_may_is_the_last_that_is_asked(name: str) -> None:
    async with pool(6, may_not(first(5, TIERS[name][2]))) as here:
        assert all_served(await here.at_once(4, request_of(here, name)))
        here.upstream.calls.clear()
        assert all_served(await here.in_turn(10, request_of(here, name)))
        assert len(here.upstream.calls) <= 13


@pytest.mark.parametrize("name", TIERS)
async def test_when_none_may_every_request_is_told_what_google_said(name: str) -> None:
    refusal = TIERS[name][2]
    async with pool(3, may_not(lambda _: refusal)) as here:
        request = request_of(here, name)
        answers = await here.in_turn(3, request)
        here.upstream.calls.clear()
        answers += await here.in_turn(10, request)
        assert [(answer.status, answer.body) for answer in answers] == [(refusal.status, refusal.body)] * 13
        assert len(here.upstream.calls) <= 13
        assert statuses(await here.at_once(6, lambda: here.plain(OTHER))) == [200] * 6
        assert all("*" not in left and OTHER not in left for left in (await here.rests()).values())
        assert await here.outages() == []


async def test_a_mistyped_model_costs_eight_calls_at_most() -> None:
    refusal = not_found("gemni-2.5-flash", "generateContent")
    async with pool(20, lambda call: refusal if call.model == "gemni-2.5-flash" else None) as here:
        assert all_served(await here.in_turn(20))
        here.upstream.calls.clear()
        answer = await here.plain("gemni-2.5-flash")
        assert (answer.status, answer.body) == (404, refusal.body)
        assert len(here.upstream.calls) <= 8
        here.upstream.calls.clear()
        assert statuses(await here.in_turn(10, lambda: here.plain("gemni-2.5-flash"))) == [404] * 10
        assert len(here.upstream.calls) <= 13
        assert all_served(await here.at_once(20))


async def test_one_that_was_served_lately_is_looked_for_with_every_key() -> None:
    refusal = not_found(LITE, "generateContent")
    async with pool(20) as here:
        assert all_served(await here.in_turn(2, lambda: here.plain(LITE)))
        here.upstream.script = first(19, refusal)
        assert all_served(await here.in_turn(4, lambda: here.plain(LITE)))


async def test_the_region_of_our_address_is_nobody_s_fault() -> None:
    refusal = error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")

    def script(call: Call) -> Answer | None:
        return refusal if call.model == FLASH else None

    async with pool(4, script) as here:
        answers = await here.in_turn(5)
        assert [(answer.status, answer.body) for answer in answers] == [(400, refusal.body)] * 5
        assert len(here.upstream.calls) == 5
        assert await here.rests() == {}
