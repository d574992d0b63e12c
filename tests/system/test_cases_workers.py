"""Two workers of one host look for a healthy key as one, and an outage costs them no more than one."""

import asyncio

import pytest

from tests.support.cases_clients import all_served, loops
from tests.support.cases_support import Pool, named, pool
from tests.support.scripted import BARE, INVALID, Answer, everyone, first
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=600)]


async def both_serve(here: Pool) -> None:
    """Until both of them do."""
    deadline = here.now + PATIENCE
    while (await here.status())["workers"] < 2:
        assert here.now < deadline, "both workers serve"
        await asyncio.sleep(0.05)


async def until_well(here: Pool) -> None:
    """Until nothing rests, and nothing is thought to be an outage."""
    deadline = here.now + PATIENCE
    while await here.rests() or await here.outages():
        assert here.now < deadline, (await here.rests(), await here.outages())
        await asyncio.sleep(0.1)


async def test_an_outage_costs_two_workers_as_few_calls_as_one() -> None:
    async with pool(20, process=True, WORKERS="2") as here:
        await both_serve(here)
        assert all_served(await here.at_once(20))
        begin = here.now
        here.upstream.script = everyone(BARE)
        running = asyncio.ensure_future(loops(here, 6, 8.0, pause=0.25))
        await asyncio.sleep(5.0)
        calls = [call for call in here.upstream.since(begin) if call.at < begin + 5.0]
        here.upstream.script = lambda _: None
        end = here.now
        answers = await running
        assert len(calls) <= 20
        assert [answer for answer in answers if answer.status == 200 and answer.end >= end]
        assert all_served(answer for answer in answers if answer.at >= end)
        await until_well(here)


@pytest.mark.parametrize("refusal", [BARE, INVALID], ids=named)
async def test_what_one_worker_found_the_other_knows(refusal: Answer) -> None:
    async with pool(12, first(10, refusal), process=True, WORKERS="2") as here:
        await both_serve(here)
        assert all_served(await here.in_turn(10))
        assert all_served(await here.at_once(20))


async def test_a_poison_is_found_out_by_both() -> None:
    async with pool(6, process=True, WORKERS="2") as here:
        await both_serve(here)
        assert all_served(await here.in_turn(12))
        here.upstream.script = lambda call: BARE if call.has("poison") else None
        for _ in range(4):
            answer = await here.plain(text="poison")
            assert (answer.status, answer.body) == (429, BARE.body)
            assert all_served(await here.at_once(4))
        assert await here.outages() == []
