"""Part of a pool is refused: the healthy keys are found, and it is no outage. And what an outage is."""

import asyncio
from collections.abc import Callable
from statistics import median

import pytest

from tests.support.cases_clients import all_served, loops, statuses
from tests.support.cases_support import (
    CASES,
    CHAT,
    FLASH,
    INTERACTIONS,
    OUTSIDE,
    PRO,
    STREAMED,
    Answered,
    Pool,
    chat,
    interaction,
    named,
    pool,
    prompt,
    target,
)
from tests.support.scripted import BARE, CALLER, DENIED, INVALID, Answer, Call, Script, everyone, first, only
from tests.support.turned_loop import TurnedLoop

pytestmark = CASES
ENDPOINTS = {
    "stream": (STREAMED, prompt()),
    "openai": (CHAT, chat()),
    "interactions": (INTERACTIONS, interaction()),
    "count": (target(method="countTokens"), prompt()),
    "embed": (target("gemini-embedding-001", "embedContent"), {"content": {"parts": [{"text": "hi"}]}}),
}


def fixed(count: int, refusal: Answer) -> Script:
    """Keys 1 to n are refused."""
    return only({str(n + 1) for n in range(count)}, refusal)


def last(count: int, refusal: Answer) -> Script:
    """The last n of twelve keys are refused."""
    return only({str(12 - n) for n in range(count)}, refusal)


# 1.1, 1.2 and others of their kind.


@pytest.mark.parametrize("bad", [first, fixed, last])
@pytest.mark.parametrize("refusal", [DENIED, BARE], ids=named)
async def test_ten_of_twelve_are_refused_and_all_are_served(
    bad: Callable[[int, Answer], Script], refusal: Answer
) -> None:
    async with pool(12, bad(10, refusal)) as here:
        assert statuses(await here.in_turn(10)) == [200] * 10
        assert statuses(await here.at_once(20)) == [200] * 20


@pytest.mark.parametrize(
    ("keys", "bad", "refusal"),
    [
        (6, 5, DENIED),
        (6, 5, BARE),
        (2, 1, BARE),
        (4, 3, BARE),
        (9, 8, BARE),
        (20, 17, BARE),
        (20, 19, DENIED),
        (8, 7, CALLER),
        (12, 10, INVALID),
        (30, 28, BARE),
    ],
    ids=named,
)
async def test_however_many_are_refused_the_others_serve(keys: int, bad: int, refusal: Answer) -> None:
    async with pool(keys, first(bad, refusal)) as here:
        assert all_served(await here.in_turn(5))
        assert all_served(await here.at_once(10))


@pytest.mark.parametrize("begin", [1, 20])
async def test_a_pool_that_is_asked_by_many_at_once_right_after_its_start(begin: int) -> None:
    async with pool(12, first(10, BARE)) as here:
        assert all_served(await here.at_once(begin))
        assert all_served(await here.at_once(20))


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_so_on_every_endpoint(name: str) -> None:
    path, body = ENDPOINTS[name]
    async with pool(9, first(7, BARE)) as here:

        async def request() -> Answered:
            return await here.ask("POST", path, body)

        assert all_served(await here.in_turn(6, request))
        assert all_served(await here.at_once(6, request))


@pytest.mark.parametrize("refusal", [DENIED, BARE], ids=named)
async def test_so_with_projects_of_several_keys(refusal: Answer) -> None:
    """Four projects of three keys each, three of which are refused."""
    suffixes = [f"{n + 1}__p{n % 4}" for n in range(12)]
    async with pool(suffixes, only({str(n + 1) for n in range(12) if n % 4 != 3}, refusal)) as here:
        assert all_served(await here.in_turn(10))
        assert all_served(await here.at_once(20))
        refused = [call for call in here.upstream.calls if call.status == refusal.status]
        assert len(refused) <= 9


async def test_those_that_turn_bad_while_they_serve_are_left() -> None:
    async with pool(12) as here:
        assert all_served(await here.in_turn(24))
        here.upstream.script = fixed(10, BARE)
        answers = [answer for _ in range(20) for answer in await here.at_once(4)]
        assert statuses(answers).count(200) >= len(answers) - 2
        assert await here.outages() == []


async def test_a_refusal_of_another_model_s_keys_is_not_held_against_this_one() -> None:
    async with pool(8, lambda call: BARE if call.model != FLASH and call.key != "8" else None) as here:
        assert all_served(await here.in_turn(4, lambda: here.plain(PRO)))
        begun = here.now
        assert all_served(await here.at_once(16))
        assert here.now - begun < 1.0


# 1.3


@pytest.mark.parametrize(
    ("keys", "bad", "refused_after", "served_after"),
    [(10, 5, 0.03, 3.0), (10, 8, 0.03, 2.0), (6, 3, 0.01, 5.0)],
    ids=["half", "eight", "slower"],
)
async def test_refusals_that_come_sooner_than_answers_are_no_outage(
    keys: int, bad: int, refused_after: float, served_after: float
) -> None:
    refused = {str(n + 1) for n in range(bad)}

    def script(call: Call) -> Answer:
        return BARE.after(refused_after) if call.key in refused else Answer(body=b"{}", delay=served_after)

    async with pool(keys, script) as here:
        answers = await loops(here, 10, 30.5)
        assert all_served(answers)
        assert len(answers) >= 0.9 * 10 * int(30.0 / served_after)
        assert median(answer.seconds for answer in answers) <= served_after + 0.5


# 1.4, and the outage of fifty keys that the issue names


def broken(begin: float, end: float, refusal: Answer) -> Script:
    """All are refused from one moment of the loop's clock to another."""
    return lambda call: refusal if begin <= call.at < end else None


async def outage(here: Pool, seconds: float, refusal: Answer, clients: int, pause: float) -> float:
    """Everyone is refused for so long beside clients in a loop; returns how many upstream calls were.

    Asserts that all are served again within two seconds, and that nothing rests then.
    """
    begin = here.now + 2.0
    end = begin + seconds
    here.upstream.script = broken(begin, end, refusal)
    running = asyncio.ensure_future(loops(here, clients, seconds + 14.0, pause=pause))
    answers = await running
    assert set(statuses(answers)) <= {200, 429, refusal.status}
    served = [answer for answer in answers if answer.status == 200]
    assert min(answer.end for answer in served if answer.end >= end) <= end + 2.0
    assert all_served(answer for answer in answers if answer.at >= end)
    assert len([answer for answer in served if answer.at >= end + 2.0]) >= clients * 10
    assert await here.rests() == {}
    assert await here.outages() == []
    return len([call for call in here.upstream.since(begin) if call.at < end])


@pytest.mark.parametrize("refusal", [BARE, CALLER], ids=["bare 429", "caller"])
async def test_a_true_outage_costs_few_calls_and_ends_at_once(refusal: Answer) -> None:
    async with pool(20) as here:
        assert await outage(here, 5.0, refusal, clients=6, pause=0.25) <= 15


async def test_an_outage_of_fifty_keys_costs_twenty_calls() -> None:
    async with pool(50) as here:
        assert await outage(here, 10.0, BARE, clients=6, pause=0.25) <= 20


async def test_an_outage_at_the_start_ends_as_well() -> None:
    async with pool(20, everyone(BARE)) as here:
        running = asyncio.ensure_future(loops(here, 6, 18.0, pause=0.25))
        await asyncio.sleep(5.0)
        assert len(here.upstream.calls) <= 20
        here.upstream.script = lambda _: None
        end = here.now
        answers = await running
        assert min(answer.end for answer in answers if answer.status == 200) <= end + 2.0
        assert all_served(answer for answer in answers if answer.at >= end)
        assert await here.rests() == {}


async def test_an_outage_of_one_model_is_none_of_another() -> None:
    async with pool(12) as here:
        assert all_served(await here.in_turn(12, lambda: here.plain(PRO)))
        here.upstream.script = lambda call: BARE if call.model == PRO else None
        poor = asyncio.ensure_future(loops(here, 4, 8.0, lambda: here.plain(PRO), 0.25))
        answers = await loops(here, 4, 8.0, pause=0.25)
        await poor
        assert all_served(answers)
        assert max(answer.seconds for answer in answers) < 0.2


async def test_with_no_wait_allowed_the_healthy_key_is_still_asked() -> None:
    async with pool(4, first(3, DENIED), MAX_WAIT="0") as here:
        assert all_served(await here.in_turn(6))


@pytest.mark.skipif(OUTSIDE, reason="it counts the turns of the proxy's own loop")
async def test_requests_that_wait_for_an_outage_s_end_cost_next_to_nothing() -> None:
    turned = asyncio.get_running_loop()
    assert isinstance(turned, TurnedLoop)
    async with pool(20) as here:
        turns = turned.turns
        assert all_served(await loops(here, 2, 10.0, pause=1.0))
        healthy = turned.turns - turns
        here.upstream.script = everyone(BARE)
        turns = turned.turns
        await loops(here, 2, 10.0, pause=1.0)
        assert turned.turns - turns <= 2.0 * healthy
