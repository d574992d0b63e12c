"""Waiting for a key: in order of arrival, without a stampede, and with nothing left over.

Time is turned: no window is missed because the machine is busy.
"""

import asyncio
import random
from collections.abc import Collection

import pytest

from proxycore.gemini.verdict import HEALTHY, Backoff
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff
from proxycore.rotation.calls import Call
from proxycore.rotation.key import Key
from proxycore.rotation.limiter import HEAD_START
from proxycore.rotation.quota import Quota
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.wait_queues import WaitQueues
from tests.support.clocks import loops_clock
from tests.support.waiting import until

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.turned(sockets=False)]

FLASH, PRO = "gemini-2.0-flash", "gemini-2.5-pro"
SOON = 0.02  # seconds: well before HEAD_START
PATIENT = 5.0


class Here:
    """A few keys, the lines before them, and who got what in which order."""

    def __init__(self, keys: int = 1) -> None:
        self.clock = loops_clock()
        self.keys = [Key(str(number), f"secret-{number}") for number in range(keys)]
        backoffs = {backoff: ExponentialBackoff(1.0, 600.0) for backoff in Backoff}
        source = random.Random(5)  # noqa: S311 - seeded, so that the test is the same every time
        self.rotator = Rotator(self.keys, backoffs, clock=self.clock, source=source)
        self.queues = WaitQueues(self.rotator, PATIENT, LoopScheduler(self.clock))
        self.served: list[tuple[int, Key | None]] = []
        self.calls: list[Call] = []  # those under way
        self._timers = timers()

    @property
    def order(self) -> list[int]:
        """Those who got a key, in the order in which they got it."""
        return [arrival for arrival, key in self.served if key is not None]

    def bench(self, seconds: float, *keys: Key, model: str = FLASH) -> None:
        for key in keys or self.keys:
            self.rotator.set_bench(
                key, BenchPlace.MODEL, Bench("quota exhausted", self.clock() + seconds), model
            )

    def answered(self) -> None:
        """All calls that are under way are served."""
        while self.calls:
            self.rotator.apply(self.calls.pop(0), HEALTHY)

    def refused(self, seconds: float) -> None:
        """All calls that are under way are refused, for so long."""
        while self.calls:
            call = self.calls.pop(0)
            self.rotator.uncount(call.key, call.model, call.at)
            self.rotator.set_bench(
                call.key, BenchPlace.MODEL, Bench("quota exhausted", self.clock() + seconds), call.model
            )

    def reserved(self) -> int:
        """How many calls are reserved."""
        now = self.clock()
        limiters = [one for key in self.keys for one in key.project.limiters.values()]
        return sum(at > now for limiter in limiters for at in limiter.log.moments)

    def join(
        self,
        arrival: int,
        avoid: Collection[Key] = (),
        seconds: float = PATIENT,
        model: str = FLASH,
        *,
        only: Key | None = None,
        client: str = "",
    ) -> "asyncio.Task[Key | None]":
        """A request joins the line; what it gets is written down."""

        async def wait() -> Key | None:
            call = await self.queues.wait(model, arrival, frozenset(avoid), seconds, only, client=client)
            key = call.key if call else None
            if call:
                self.calls.append(call)
            self.served.append((arrival, key))
            return key

        return asyncio.ensure_future(wait())

    def is_over(self) -> bool:
        """Whether the first key's bench has passed."""
        bench = self.keys[0].project.limiters[FLASH].bench
        return bench is None or bench.benched_until <= self.clock()

    def take(self, model: str = FLASH, avoid: Collection[Key] = ()) -> Key | None:
        call = self.queues.try_acquire(model, frozenset(avoid))
        return call.key if call else None

    def nothing_left(self) -> bool:
        return not vars(self.queues)["_queues"] and self.queues.waiting == 0 and timers() == self._timers


def timers() -> int:
    """How many timers the loop has that will fire."""
    return sum(not handle.cancelled() for handle in vars(asyncio.get_running_loop())["_scheduled"])


async def settle() -> None:
    """Lets everything happen that can happen at once."""
    for _ in range(10):
        await asyncio.sleep(0)


# Without a line.


async def test_while_nobody_waits_any_ready_key_is_taken_at_once() -> None:
    here = Here(2)
    assert {here.take(FLASH) for _ in range(50)} == set(here.keys)
    assert here.take(FLASH, {here.keys[0]}) is here.keys[1]
    assert here.take(FLASH, here.keys) is None
    here.bench(60)
    assert here.take(FLASH) is None
    assert here.take(PRO) in here.keys
    assert here.nothing_left()


async def test_a_key_that_is_ready_serves_whoever_comes_to_wait_at_once() -> None:
    here = Here()
    here.join(1)
    await settle()
    assert here.served == [(1, here.keys[0])]
    assert here.nothing_left()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_request_that_may_not_wait_is_refused_at_once(seconds: float) -> None:
    here = Here()
    here.bench(SOON)
    here.join(1, seconds=seconds)
    await settle()
    assert here.served == [(1, None)]
    assert here.nothing_left()


async def test_a_bench_that_outlasts_the_wait_is_not_waited_for() -> None:
    here = Here(2)
    here.bench(PATIENT + 1)
    here.join(1)
    await settle()
    assert here.served == [(1, None)]
    assert here.nothing_left()


async def test_without_a_key_that_could_ever_serve_nobody_waits() -> None:
    here = Here(2)
    here.bench(SOON)
    here.keys[0].retired = Bench("suspended", here.clock() + SOON)
    here.join(1, avoid=[here.keys[1]])
    here.join(2, avoid=here.keys)
    await settle()
    assert here.served == [(1, None), (2, None)]
    assert here.nothing_left()


# Order.


async def test_who_waits_is_served_when_a_key_comes_off_the_bench() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    await settle()
    assert here.served == []
    assert here.queues.waiting == 1
    await until(lambda: here.served == [(1, here.keys[0])])
    assert here.is_over()
    assert here.nothing_left()


async def test_all_are_served_in_the_order_of_their_arrival() -> None:
    here = Here()
    here.bench(SOON)
    for arrival in (3, 1, 5, 2, 4):
        here.join(arrival)
    while len(here.order) < 5:
        await asyncio.sleep(0.001)
        here.answered()
    assert here.order == [1, 2, 3, 4, 5]
    assert here.nothing_left()


async def test_who_comes_back_keeps_the_place() -> None:
    here = Here()
    here.bench(SOON)
    for arrival in (1, 2, 3):
        here.join(arrival)
    await until(lambda: here.order == [1])
    here.refused(SOON)
    here.join(1)
    await settle()
    assert here.order == [1]
    await until(lambda: here.order == [1, 1])
    here.answered()
    await until(lambda: here.order == [1, 1, 2, 3])
    assert here.nothing_left()


async def test_a_newcomer_does_not_take_what_others_wait_for() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    here.join(2)
    await until(lambda: here.order == [1])
    assert here.is_over()
    assert here.take() is None
    here.join(3)
    here.answered()
    await until(lambda: here.order == [1, 2, 3])
    assert here.nothing_left()


async def test_a_key_that_the_first_cannot_use_serves_the_next() -> None:
    here = Here(2)
    mine, other = here.keys
    here.bench(SOON, mine)
    here.bench(4 * SOON, other)
    here.join(1, avoid=[mine])
    here.join(2)
    await until(lambda: here.served == [(2, mine)])
    await until(lambda: here.served == [(2, mine), (1, other)])
    assert here.nothing_left()


async def test_a_newcomer_has_the_key_that_no_waiter_can_use() -> None:
    here = Here(2)
    ready, resting = here.keys
    here.bench(SOON, resting)
    here.join(1, avoid=[ready])
    await settle()
    here.join(2)
    await settle()
    assert here.served == [(2, ready)]
    await until(lambda: here.order == [2, 1])
    assert here.nothing_left()


async def test_every_model_has_a_line_of_its_own() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    await settle()
    assert here.take(PRO) is here.keys[0]
    here.bench(SOON, model=PRO)
    here.join(2, model=PRO)
    await settle()
    assert here.queues.waiting == 2
    await until(lambda: sorted(here.order) == [1, 2])
    assert here.nothing_left()


# No stampede.


async def test_a_key_that_comes_back_serves_one_and_the_others_wait_for_its_answer() -> None:
    here = Here()
    here.bench(SOON)
    waiters = [here.join(arrival) for arrival in range(20)]
    await until(lambda: bool(here.served))
    await asyncio.sleep(2 * SOON)
    assert here.order == [0]
    here.answered()
    # Where no quota is known, each answer lets two others follow.
    for served in (3, 7, 15):
        await until(lambda: len(here.order) == served)  # noqa: B023 - it is over before the next
        await asyncio.sleep(SOON)
        assert here.order == list(range(served))
        here.answered()
    await until(lambda: here.order == list(range(20)))
    await asyncio.gather(*waiters)
    assert here.nothing_left()


async def test_a_key_that_is_refused_again_costs_one_call() -> None:
    here = Here()
    here.bench(SOON)
    waiters = [here.join(arrival) for arrival in range(5)]
    await until(lambda: bool(here.served))
    here.refused(60)
    await asyncio.gather(*waiters)
    assert here.served[0] == (0, here.keys[0])
    assert sorted(here.served[1:], key=str) == [(arrival, None) for arrival in range(1, 5)]
    assert here.nothing_left()


async def test_a_slow_response_delays_the_others_for_the_head_start_only() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    here.join(2)
    await until(lambda: here.order == [1])
    first = here.clock()
    await until(lambda: here.order == [1, 2])
    assert here.clock() - first >= HEAD_START - SOON
    assert here.nothing_left()


async def test_several_keys_that_come_back_serve_as_many_at_once() -> None:
    here = Here(3)
    here.bench(SOON)
    for arrival in range(5):
        here.join(arrival)
    await until(lambda: len(here.order) == 3)
    await asyncio.sleep(SOON)
    assert sorted(here.order) == [0, 1, 2]
    assert {key for _, key in here.served} == set(here.keys)
    here.answered()
    await until(lambda: here.order[3:] == [3, 4])
    assert here.nothing_left()


async def test_as_many_keys_as_wait_serve_all_in_one_go() -> None:
    here = Here(3)
    here.bench(SOON)
    keys = await asyncio.gather(*(here.join(arrival) for arrival in range(3)))
    assert set(keys) == set(here.keys)
    assert here.nothing_left()


async def test_a_response_on_another_model_changes_nothing() -> None:
    here = Here(2)
    here.bench(4 * SOON)
    here.join(1)
    here.join(2, model=PRO)
    await until(lambda: here.order == [2])
    here.answered()
    await settle()
    assert here.order == [2]
    await until(lambda: here.order == [2, 1])
    assert here.nothing_left()


async def test_a_bench_that_grows_while_one_waits_is_waited_for() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    await settle()
    here.bench(4 * SOON)
    await asyncio.sleep(2 * SOON)
    assert here.served == []
    await until(lambda: here.served == [(1, here.keys[0])])
    assert here.is_over()
    assert here.nothing_left()


# Leaving.


async def test_a_waiter_whose_patience_ends_is_refused_and_gives_up_its_place() -> None:
    here = Here()
    here.bench(SOON)
    here.join(1)
    await until(lambda: here.order == [1])
    here.join(2, seconds=HEAD_START + SOON)
    here.join(3)
    here.bench(HEAD_START + 2 * SOON)
    await until(lambda: here.served[1:] == [(2, None)])
    assert here.queues.waiting == 1
    await until(lambda: here.served[2:] == [(3, here.keys[0])])
    assert here.nothing_left()


async def test_a_request_that_is_cancelled_gives_up_its_place() -> None:
    here = Here()
    here.bench(SOON)
    first = here.join(1)
    here.join(2)
    await settle()
    first.cancel()
    await settle()
    assert here.queues.waiting == 1
    await until(lambda: here.served == [(2, here.keys[0])])
    assert first.cancelled()
    assert here.nothing_left()


async def test_a_request_that_is_cancelled_gives_back_the_key_that_it_was_just_given() -> None:
    here = Here()
    here.bench(PATIENT / 2)
    first = here.join(1)
    here.join(2)
    await settle()
    here.rotator.clear_bench(here.keys[0], BenchPlace.MODEL, FLASH)
    here.join(3)
    asyncio.get_running_loop().call_soon(first.cancel)
    await until(lambda: here.order == [2])
    assert first.cancelled()
    here.answered()
    await until(lambda: here.order == [2, 3])
    assert here.nothing_left()


async def test_when_all_are_cancelled_nothing_is_left() -> None:
    here = Here(2)
    here.bench(PATIENT / 2)
    waiters = [here.join(arrival) for arrival in range(10)]
    await settle()
    assert here.queues.waiting == 10
    for waiter in waiters:
        waiter.cancel()
    await settle()
    assert all(waiter.cancelled() for waiter in waiters)
    assert here.reserved() == 0
    await until(here.nothing_left)


async def test_when_patience_ends_for_all_nothing_is_left() -> None:
    here = Here()
    here.bench(SOON)
    await here.join(0)
    here.bench(SOON)
    waiters = [here.join(arrival, seconds=2 * SOON) for arrival in range(1, 6)]
    await settle()
    here.bench(60)
    assert await asyncio.gather(*waiters) == [None] * 5
    assert here.nothing_left()


# Reservations, where a quota is known.


def learned(here: Here, requests: int, window: float, *ago: float, key: int = 0) -> None:
    """A key has so many calls in a window (seconds), and made some so many seconds ago."""
    now = here.clock()
    limiter = here.keys[key].project.limiter(FLASH)
    limiter.quotas["PerMinute"] = Quota(60.0, limit=requests, told=True, window=window, measured=True)
    for seconds in sorted(ago, reverse=True):
        limiter.add(now - seconds, now, mine=False)


async def test_a_place_is_a_call_that_is_reserved_when_one_falls_out_of_the_window() -> None:
    here = Here()
    learned(here, 3, 1.0, 0.95, 0.9, 0.85)
    for arrival in range(3):
        here.join(arrival)
    await settle()
    assert (here.order, here.reserved()) == ([], 3)
    began = here.clock()
    await until(lambda: here.order == [0])
    assert 0.04 <= here.clock() - began < 0.1
    await until(lambda: here.order == [0, 1, 2])
    assert 0.14 <= here.clock() - began < 0.25
    assert here.nothing_left()


async def test_a_newcomer_is_told_the_time_after_all_that_are_reserved() -> None:
    here = Here()
    learned(here, 2, 10.0, 8.0, 6.0)
    here.join(1)
    await settle()
    turn = here.rotator.next_turn(FLASH)
    assert turn
    assert turn[1] - here.clock() == pytest.approx(4.0, abs=0.1)
    here.join(2, seconds=3.9)
    await settle()
    assert here.served == [(2, None)]


async def test_those_behind_move_up_when_one_leaves() -> None:
    here = Here()
    learned(here, 2, 1.0, 0.95, 0.5)
    first = here.join(1)
    here.join(2)
    await settle()
    first.cancel()
    began = here.clock()
    await until(lambda: here.order == [2])
    assert here.clock() - began < 0.3
    assert here.nothing_left()


async def test_who_was_told_to_come_back_finds_room_that_newcomers_do_not_get() -> None:
    here = Here()
    learned(here, 1, PATIENT, 0.1)  # free in 98 % of the time that one may wait
    now = here.clock()
    here.queues.expected.add(FLASH, now + SOON)
    here.join(1)
    await settle()
    assert here.served == [(1, None)]
    await asyncio.sleep(SOON)
    back = here.join(2)
    await settle()
    assert here.queues.waiting == 1
    here.join(3)
    await settle()
    assert here.served == [(1, None), (3, None)]
    back.cancel()


async def test_nobody_is_turned_away_for_the_sake_of_someone_who_does_not_come() -> None:
    here = Here()
    learned(here, 1, PATIENT, 0.1)
    here.queues.expected.add(FLASH, here.clock() + SOON)
    await asyncio.sleep(0.4)
    waiter = here.join(1)
    await settle()
    assert here.queues.waiting == 1
    waiter.cancel()


async def test_who_is_expected_for_invented_models_is_forgotten() -> None:
    here = Here()
    for number in range(2000):
        here.queues.expected.add(f"invented-{number}", here.clock() + 0.001)
        if not number % 100:
            await asyncio.sleep(0.002)
    assert len(here.queues.expected) < 600


# Shares.


async def test_a_newcomer_of_another_client_comes_first_and_the_last_who_would_be_too_late_is_refused() -> (
    None
):
    here = Here()
    learned(here, 3, 10.0, 9.5, 9.0, 8.5)
    for arrival in range(3):
        here.join(arrival, client="one")
    await settle()
    here.join(3, client="another")
    await settle()
    assert here.served == [(2, None)]
    await until(lambda: here.order == [0, 3, 1])
    assert here.nothing_left()


async def test_a_client_has_a_share_by_its_weight() -> None:
    here = Here()
    here.queues.set_weights({"one": 2.0})
    learned(here, 6, 10.0, 9.9, 9.8, 9.7, 9.6, 9.5, 9.4)
    for arrival in range(4):
        here.join(arrival, client="one")
    for arrival in range(4, 6):
        here.join(arrival, client="another")
    await until(lambda: here.order == [0, 4, 1, 2, 5, 3])


async def test_an_owner_takes_over_a_call_that_is_reserved_with_its_key() -> None:
    here = Here(2)
    learned(here, 2, 10.0, 9.5, 8.5)
    learned(here, 2, 10.0, 9.0, 8.0, key=1)
    for arrival in range(4):
        here.join(arrival)
    await settle()
    owners = here.join(4, only=here.keys[1])
    await settle()
    assert here.served == [(3, None)]
    assert await owners is here.keys[1]
    assert here.order == [0, 1, 2, 4]
    assert here.nothing_left()


async def test_an_owner_that_comes_first_takes_the_first_call_with_its_key() -> None:
    here = Here(2)
    learned(here, 2, 10.0, 9.5, 8.5)
    learned(here, 2, 10.0, 9.0, 8.0, key=1)
    for arrival in range(3):
        here.join(arrival, client="one")
    await settle()
    here.join(4, only=here.keys[1], client="another")
    await until(lambda: here.order == [0, 4, 1, 2])
    assert here.nothing_left()


async def test_an_owner_whose_key_has_no_call_in_time_is_refused_and_nobody_gives_way() -> None:
    here = Here(2)
    learned(here, 1, 10.0, 9.5)
    learned(here, 1, 10.0, 1.0, key=1)
    here.join(1)
    await settle()
    here.join(2, only=here.keys[1])
    await settle()
    assert here.served == [(2, None)]
    await until(lambda: here.order == [1])
    assert here.nothing_left()


async def test_once_requests_are_refused_the_calls_of_a_key_are_spread_over_its_window() -> None:
    here = Here()
    learned(here, 3, 6.0, 5.9, 5.8, 5.7)
    for arrival in range(4):
        here.join(arrival)
    await until(lambda: here.order == [0, 1, 2])
    assert here.served[0] == (3, None)
    await asyncio.sleep(5.0)
    moments = []
    for arrival in range(4, 7):
        here.join(arrival)
    for count in range(4, 7):
        await until(lambda: len(here.order) == count)  # noqa: B023 - it is over before the next
        moments.append(here.clock())
    assert min(moments[1] - moments[0], moments[2] - moments[1]) == pytest.approx(1.8, abs=0.1)


async def test_those_who_are_told_to_retry_are_told_as_many_moments_as_there_are_calls() -> None:
    here = Here(2)
    learned(here, 3, 6.0, 3.0, 2.0, 1.0)
    learned(here, 3, 6.0, 3.0, 2.0, 1.0, key=1)
    told = [here.queues.retry_after(FLASH, here.clock() + 3.0, "one") for _ in range(20)]
    assert told[0] == 3
    assert told[-1] == pytest.approx(3 + 20, abs=3)
    assert here.queues.retry_after(PRO, here.clock() + 3.0, "one") == 3
