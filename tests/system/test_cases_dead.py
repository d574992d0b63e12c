"""A good key that is refused by mistake is used again in seconds; a dead one is soon probed only rarely."""

import asyncio
import itertools
import random

import pytest

from tests.support.cases_clients import all_served, loops
from tests.support.cases_support import (
    CASES,
    CHAT,
    INTERACTIONS,
    STREAMED,
    Pool,
    Request,
    chat,
    interaction,
    named,
    pool,
    prompt,
    takes_minutes,
)
from tests.support.scripted import (
    EXPIRED,
    INVALID,
    LEAKED,
    Answer,
    Call,
    Script,
    as_array,
    error,
    healthy,
    info,
    interactions_error,
    only,
)

pytestmark = CASES
NOT_FOUND = error(
    400, "INVALID_ARGUMENT", "API Key not found. Please pass a valid API key.", info("API_KEY_INVALID")
)
UNSUPPORTED = error(
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
    " valid authentication credential. See"
    " https://developers.google.com/identity/sign-in/web/devconsole-project.",
    info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
)
SUSPENDED = error(
    403,
    "PERMISSION_DENIED",
    "Permission denied: Consumer 'api_key:AQ.secret-of-1' has been suspended.",
    info("CONSUMER_SUSPENDED", consumer="projects/1"),
)
DEAD = [INVALID, EXPIRED, NOT_FOUND, LEAKED, UNSUPPORTED, SUSPENDED]


def at_random(share: float, refusal: Answer, seed: int) -> Script:
    """So many of all answers are this refusal; the others take 10 ms."""
    source = random.Random(seed)  # noqa: S311 - seeded, so that the test is the same every time
    return lambda call: refusal if source.random() < share else healthy(call).after(0.01)


# 3.1


@pytest.mark.parametrize(
    ("keys", "share", "refusal"),
    [(5, 0.02, INVALID), (3, 0.01, EXPIRED), (8, 0.03, UNSUPPORTED)],
    ids=named,
)
async def test_keys_that_are_refused_by_mistake_now_and_then(
    keys: int, share: float, refusal: Answer
) -> None:
    async with pool(keys, at_random(share, refusal, seed=keys)) as here:
        answers = await asyncio.gather(*(here.in_turn(300) for _ in range(5)))
        assert all(map(all_served, answers))
        assert max((left for key in (await here.rests()).values() for left in key.values()), default=0) <= 90


async def test_one_odd_answer_costs_a_key_seconds() -> None:
    async with pool(2, only({"1"}, INVALID)) as here:
        while not here.upstream.of("1"):
            assert (await here.plain()).status == 200
        here.upstream.script = lambda _: None
        await asyncio.sleep(3.0)
        assert all_served(await here.at_once(8))
        await asyncio.sleep(0.1)
        assert await here.rests() == {}
        assert len([call for call in here.upstream.of("1") if call.status == 200]) >= 1


# 3.2


@pytest.mark.parametrize("refusal", [EXPIRED, INVALID, UNSUPPORTED, LEAKED], ids=named)
@pytest.mark.parametrize("before", [0, 12], ids=["cold", "warm"])
async def test_all_keys_called_dead_for_four_seconds(refusal: Answer, before: int) -> None:
    async with pool(6) as here:
        assert all_served(await here.in_turn(before))
        end = here.now + 4.0
        here.upstream.script = lambda call: refusal if call.at < end else None
        answers = await loops(here, 4, 12.0, pause=0.25)
        assert min(answer.end for answer in answers if answer.status == 200) <= end + 3.0
        assert all_served(answer for answer in answers if answer.at >= end + 3.0)
        await asyncio.sleep(90.0)
        assert all_served(await here.at_once(6))
        assert await here.rests() == {}


# 3.3


async def test_a_dead_key_costs_four_calls_in_a_minute() -> None:
    async with pool(5, only({"1"}, INVALID)) as here:
        while not here.upstream.of("1"):  # else several may meet it in the first moment
            assert all_served(await here.in_turn(1))
        assert all_served(await loops(here, 6, 60.0, pause=0.15))
        assert len(here.upstream.of("1")) <= 4


def requests(here: Pool) -> dict[str, Request]:
    return {
        "stream": lambda: here.ask("POST", STREAMED, prompt()),
        "openai": lambda: here.ask("POST", CHAT, chat()),
        "interactions": lambda: here.ask("POST", INTERACTIONS, interaction()),
        "list": lambda: here.ask("GET", "/v1beta/models"),
    }


@pytest.mark.parametrize(
    ("endpoint", "refusal"),
    [
        ("stream", EXPIRED),
        ("openai", as_array(error(400, "INVALID_ARGUMENT", "Please pass a valid API key"))),
        ("openai", as_array(INVALID)),
        ("interactions", interactions_error(401, "unauthenticated", "Invalid API key")),
        ("list", LEAKED),
        ("stream", SUSPENDED),
    ],
    ids=named,
)
async def test_so_on_every_endpoint(endpoint: str, refusal: Answer) -> None:
    async with pool(4, only({"1", "2"}, refusal)) as here:
        assert all_served(await loops(here, 2, 30.0, requests(here)[endpoint], pause=0.3))
        assert len(here.upstream.of("1", "2")) <= 8


@pytest.mark.parametrize("refusal", DEAD[:2], ids=named)
@takes_minutes
async def test_a_dead_key_is_looked_at_again_soon_then_less_and_less(refusal: Answer) -> None:
    async with pool(3, only({"1"}, refusal)) as here:
        begun = here.now
        assert all_served(await loops(here, 1, 900.0, pause=1.0))
        calls = [call.at - begun for call in here.upstream.of("1")]
        assert len([moment for moment in calls if moment <= 30.0]) >= 2
        assert 3 <= len(calls) <= 8, calls
        gaps = [later - sooner for sooner, later in itertools.pairwise(calls)]
        assert gaps[-1] >= 50.0


async def test_a_key_that_is_dead_by_half_of_its_answers_is_not_lost() -> None:
    """Every other answer of key 1 is a refusal: it may serve less, and no request is lost."""
    turn = iter(range(10**6))

    def script(call: Call) -> Answer | None:
        return INVALID if call.key == "1" and next(turn) % 2 == 0 else None

    async with pool(2, script) as here:
        assert all_served(await loops(here, 2, 40.0, pause=0.2))


async def test_when_all_are_dead_the_client_is_told_so_by_google_or_by_us() -> None:
    async with pool(2, lambda _: INVALID, MAX_WAIT="1") as here:
        answers = await loops(here, 1, 120.0, pause=2.0)
        assert {answer.status for answer in answers} <= {400, 401, 429}
        assert len(here.upstream.calls) <= 75  # one a second, in the first minute
