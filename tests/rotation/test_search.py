"""The search for a key that serves: how it is paced, whom it asks, and what ends it."""

import itertools
import random

import pytest

from proxycore.clock import Clock
from proxycore.gemini.verdict import (
    HEALTHY,
    NOT_GOOGLE,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.peers.replicator import Replicator
from proxycore.peers.update import Update
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.search import Search
from proxycore.rotation.wait_queues import WaitQueues
from tests.support.clocks import TurnedClock

FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"
BARE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
DEAD = Verdict("API key not valid or expired", Reaction.FAILOVER, BenchScope.RETIRED)


class Pool:
    """Some keys, and requests of several clients that are refused or served."""

    def __init__(self, count: int, clock: Clock | None = None, seed: int = 3, patience: float = 10.0) -> None:
        self.clock = clock if isinstance(clock, TurnedClock) else TurnedClock()
        self.rotator = Rotator(
            keys_of(KeySpec(str(n), f"secret-{n}") for n in range(count)),
            {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff},
            clock=self.clock,
            source=random.Random(seed),  # noqa: S311 - seeded, so that the test is the same every time
            patience=patience,
        )
        self.requests = 0

    @property
    def search(self) -> Search | None:
        return self.rotator.searches.get(FLASH)

    def answer(self, key: Key, verdict: Verdict, model: str = FLASH) -> None:
        self.requests += 1
        case = Case(request=str(self.requests))
        self.rotator.apply(self.rotator.call(key, model, spends=True), verdict, case)

    def begin(self) -> Search:
        """One request is refused by key after key, until a search begins."""
        case = Case(request="the first")
        for key in self.rotator.keys:
            if not self.rotator.searches:
                self.rotator.apply(self.rotator.call(key, FLASH, spends=True), BARE, case)
        (search,) = self.rotator.searches.values()
        return search

    def tries(self, seconds: float, verdict: Verdict = BARE, step: float = 0.005) -> list[tuple[float, Key]]:
        """When and with which key it tries in this time, if there is always a request that wants to."""
        tries, end = [], self.clock() + seconds
        while self.clock() < end:
            if key := self.rotator.pick(FLASH):
                tries.append((self.clock(), key))
                self.answer(key, verdict)
            self.clock.turn(step)
        return tries


def pauses(tries: list[tuple[float, Key]], since: float) -> list[float]:
    moments = [since, *(at for at, _ in tries)]
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def test_three_projects_that_refuse_with_none_that_served_begin_a_search_and_bench_no_key_longer() -> None:
    here = Pool(8)
    search = here.begin()
    assert len(search.tried) == 3
    assert here.rotator.pick(FLASH) is None
    assert here.rotator.pick(PRO)
    here.clock.turn(1.0)
    assert all(key.ready_at(FLASH) <= here.clock() for key in here.rotator.keys)


def test_pauses_grow_from_50_ms_to_a_second() -> None:
    here = Pool(8)
    search = here.begin()
    found = pauses(here.tries(20.0), search.since)
    for pause, expected in zip(found, (0.05, 0.2, 0.8, 1.0, 1.0, 1.0), strict=False):
        assert expected <= pause <= expected + 0.011


@pytest.mark.parametrize("count", [12, 50, 200])
def test_in_a_large_cold_pool_all_are_tried_while_a_request_may_wait(count: int) -> None:
    here = Pool(count)
    began = here.begin().since
    tries = here.tries(10.0, step=0.001)
    first = tries[: count - 3]
    assert len({key for _, key in first}) == count - 3  # those not tried come first
    assert first[-1][0] - began < 10.0


def test_a_true_outage_of_fifty_keys_that_had_served_costs_few_calls() -> None:
    here = Pool(50)
    for key in here.rotator.keys:
        here.answer(key, HEALTHY)
    here.clock.turn(61.0)  # they are no witnesses any more, but known to serve
    here.begin()
    assert len(here.tries(10.0)) <= 17


def test_the_project_that_was_tried_least_is_next() -> None:
    here = Pool(5)
    here.begin()
    tries = [key for _, key in here.tries(12.0)]
    assert set(tries[:2]) == set(here.rotator.keys[3:])  # the first three had refused before
    assert set(tries[2:7]) == set(tries[7:12]) == set(here.rotator.keys)


def test_only_one_try_is_on_at_a_time() -> None:
    here = Pool(5)
    here.begin()
    here.clock.turn(0.06)
    key = here.rotator.pick(FLASH)
    assert key
    call = here.rotator.call(key, FLASH, spends=True)
    here.clock.turn(0.2)
    assert here.rotator.pick(FLASH) is None
    here.rotator.apply(call, BARE, Case(request="another"))
    assert here.rotator.pick(FLASH) is None
    here.clock.turn(0.2)
    assert here.rotator.pick(FLASH)


def test_a_try_that_is_open_for_long_ends_it() -> None:
    here = Pool(5)
    here.begin()
    here.clock.turn(0.06)
    key = here.rotator.pick(FLASH)
    assert key
    here.rotator.call(key, FLASH, spends=True)
    here.clock.turn(0.31)
    assert here.rotator.pick(FLASH)
    assert not here.rotator.searches


def test_a_served_try_ends_it_at_once() -> None:
    here = Pool(5)
    here.begin()
    here.clock.turn(0.06)
    key = here.rotator.pick(FLASH)
    assert key
    here.answer(key, HEALTHY)
    assert not here.rotator.searches
    assert here.rotator.pick(FLASH)


def test_a_call_from_before_it_that_is_served_makes_its_project_the_next_at_once() -> None:
    here = Pool(8)
    early = here.rotator.call(here.rotator.keys[7], FLASH, spends=True)
    here.clock.turn(0.02)
    search = here.begin()
    here.tries(3.0)
    assert search.pause == 1.0
    here.rotator.apply(early, HEALTHY)
    if here.rotator.searches:
        assert here.rotator.pick(FLASH) is here.rotator.keys[7]


@pytest.mark.parametrize("verdict", [UPSTREAM_FAILURE, NOT_GOOGLE], ids=lambda verdict: verdict.reason)
def test_an_inconclusive_response_does_not_end_it(verdict: Verdict) -> None:
    here = Pool(5)
    search = here.begin()
    here.clock.turn(0.06)
    key = here.rotator.pick(FLASH)
    assert key
    here.answer(key, verdict)
    assert here.search is search
    assert here.rotator.pick(FLASH) is None


def test_it_is_an_outage_when_all_were_tried_in_vain_by_several_requests() -> None:
    here = Pool(5)
    search = here.begin()
    for last in (False, True):
        assert not search.outage
        here.clock.turn(0.21)
        key = here.rotator.pick(FLASH)
        assert key
        here.answer(key, BARE)
        assert search.outage is last
    here.clock.turn(0.99)
    assert here.rotator.pick(FLASH) is None  # it is looked at once a second
    assert "upstream outage suspected for gemini-2.5-flash" in search.thought
    assert "outage" in repr(search)


def test_one_request_alone_makes_no_outage() -> None:
    here = Pool(5)
    search, case = here.begin(), Case(request="the first")
    for _ in range(20):
        here.clock.turn(1.0)
        key = here.rotator.pick(FLASH)
        assert key
        here.rotator.apply(here.rotator.call(key, FLASH, spends=True), BARE, case)
    assert not search.outage


def test_one_that_nobody_needs_any_more_ends() -> None:
    here = Pool(5)
    search = here.begin()
    here.clock.turn(60.0)
    assert here.search is search
    assert here.rotator.searches.holding(FLASH) is search
    here.clock.turn(0.1)
    assert here.rotator.pick(FLASH)
    assert not here.rotator.searches


def test_keys_that_had_served_and_are_called_dead_together_are_searched_for_all_lanes() -> None:
    here = Pool(6)
    for key in here.rotator.keys:
        here.answer(key, HEALTHY)
    for key in here.rotator.keys[:3]:
        here.answer(key, DEAD)
    assert set(here.rotator.searches) == {None}
    assert here.rotator.pick(PRO) is None
    assert not any(key.retired or key.whole for key in here.rotator.keys)
    here.clock.turn(0.06)
    trial = here.rotator.pick(PRO)
    assert trial
    here.answer(trial, HEALTHY, PRO)
    assert not here.rotator.searches


def test_two_processes_search_as_one() -> None:
    clock = TurnedClock()
    pools = [Pool(12, clock, seed) for seed in (1, 2)]
    told: list[tuple[int, Update]] = []
    replicators = [
        Replicator(
            pool.rotator,
            WaitQueues(pool.rotator, 10.0, LoopScheduler(clock)),
            AffinityTable(clock),
            publish=lambda update, number=number: told.append((number, update)),  # type: ignore[misc]
            clock=clock,
            process_id=str(number),
        )
        for number, pool in enumerate(pools)
    ]

    def deliver() -> None:
        while told:
            number, update = told.pop(0)
            replicators[1 - number].apply([update])

    pools[0].begin()
    deliver()
    tries: list[Key] = []
    began = clock()
    while clock() < began + 9.0:
        for pool in pools:
            if key := pool.rotator.pick(FLASH):
                deliver()
                tries.append(next(one for one in pools[0].rotator.keys if one.name == key.name))
                pool.answer(key, BARE)
                deliver()
        clock.turn(0.005)
    assert len(set(tries[:9])) == 9  # none is tried twice while another is untried
    assert len(tries) <= 9 + 9
    assert all(pool.search and pool.search.outage for pool in pools)
    clock.turn(1.1)
    last = pools[1].rotator.pick(FLASH)
    assert last
    pools[1].answer(last, HEALTHY)
    deliver()
    assert not any(pool.rotator.searches for pool in pools)
