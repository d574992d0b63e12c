"""A wait queue goes by one clock, that of its scheduler: the event loop's time decides nothing."""

import asyncio
import random

import pytest

from proxycore.gemini.verdict import Backoff
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff
from proxycore.rotation.calls import Call
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.wait_queues import WaitQueues
from tests.support.clocks import TurnedClock
from tests.support.turned_scheduler import TurnedScheduler

pytestmark = pytest.mark.usefixtures("io_loop")

FLASH = "gemini-2.5-flash"
HOURS = 10_000.0  # seconds: no test lasts so long
SLACK = 0.01


class Here:
    """One key that rests for hours, and the queue before it."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.scheduler = TurnedScheduler(self.clock)
        self.keys = keys_of([KeySpec("one", "secret-1")])
        backoffs = {backoff: ExponentialBackoff(1.0, 600.0) for backoff in Backoff}
        source = random.Random(5)  # noqa: S311 - seeded, so that the test is the same every time
        self.rotator = Rotator(self.keys, backoffs, clock=self.clock, source=source)
        self.queues = WaitQueues(self.rotator, 2 * HOURS, self.scheduler)
        bench = Bench("quota exhausted", self.clock() + HOURS)
        self.rotator.set_bench(self.keys[0], BenchPlace.MODEL, bench, FLASH)

    async def join(self, arrival: int, seconds: float = 2 * HOURS) -> "asyncio.Task[Call | None]":
        task = asyncio.ensure_future(self.queues.wait(FLASH, arrival, frozenset[Key](), seconds))
        await settle()
        return task


async def settle() -> None:
    """Lets everything happen that can happen at once."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_reservation_is_due_when_the_clock_is_turned_and_not_before() -> None:
    here = Here()
    waiter = await here.join(1)
    here.scheduler.turn(HOURS - SLACK)
    await settle()
    assert not waiter.done()
    here.scheduler.turn(2 * SLACK)
    call = await waiter
    assert call is not None
    assert call.key is here.keys[0]
    here.scheduler.turn(SLACK)  # what was to be looked at again, for nobody waits
    assert (here.queues.waiting, here.scheduler.pending) == (0, 0)


async def test_a_deadline_comes_when_the_clock_is_turned_and_not_before() -> None:
    here = Here()
    waiter = await here.join(1, HOURS + SLACK)
    bench = Bench("permission denied", here.clock() + 3 * HOURS)
    here.rotator.set_bench(here.keys[0], BenchPlace.WHOLE, bench)
    await settle()
    assert not waiter.done()
    here.scheduler.turn(SLACK)
    assert await waiter is None
    assert (here.queues.waiting, here.scheduler.pending) == (0, 0)


async def test_who_waits_for_a_try_is_refused_at_the_deadline() -> None:
    here = Here()
    first, second = await here.join(1), await here.join(2, HOURS + SLACK)
    here.scheduler.turn(HOURS + 10 * SLACK)
    await settle()
    assert (first.done(), second.done(), second.done() and second.result()) == (True, True, None)
    assert here.queues.waiting == 0


async def test_a_call_that_a_cancelled_request_was_given_is_as_if_it_had_not_been_made() -> None:
    here = Here()
    waiter = await here.join(1)
    here.scheduler.turn(HOURS + SLACK)
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    assert here.rotator.attribution.of(FLASH).open == {}
    assert len(here.keys[0].project.limiters[FLASH].log) == 0
    assert here.rotator.pick(FLASH) is here.keys[0]
