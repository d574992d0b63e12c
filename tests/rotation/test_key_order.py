"""Groups of keys: a later one is used only when no key of an earlier one can serve within a second."""

import random
from collections import Counter

import pytest

from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff
from proxycore.rotation.calls import Call
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.search import Search
from proxycore.rotation.wait_queues import WaitQueues
from tests.support.clocks import TurnedClock
from tests.support.turned_scheduler import TurnedScheduler

FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"
BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
RANKS = {"free1": 0, "free2": 0, "paid1": 1, "paid2": 1, "last": 2}
MAX_WAIT = 10.0


class Here:
    """Two free keys before two paid ones, and a last one."""

    def __init__(self, max_wait: float = MAX_WAIT) -> None:
        self.clock = TurnedClock()
        self.specs = [KeySpec(name, f"secret-{name}", rank=rank) for name, rank in RANKS.items()]
        source = random.Random(7)  # noqa: S311 - seeded, so that the test is the same every time
        self.rotator = Rotator(keys_of(self.specs), BACKOFFS, clock=self.clock, source=source)
        self.queues = WaitQueues(self.rotator, max_wait, TurnedScheduler(self.clock))

    def key(self, name: str) -> Key:
        return next(key for key in self.rotator.keys if key.name == name)

    def rest(self, seconds: float, *names: str) -> None:
        for name in names:
            bench = Bench("quota exhausted", self.clock() + seconds)
            self.rotator.set_bench(self.key(name), BenchPlace.MODEL, bench, FLASH)

    def picked(self, avoid: frozenset[Key] = frozenset(), model: str = FLASH) -> set[str | None]:
        picks = [self.rotator.pick(model, avoid) for _ in range(50)]
        return {key.name if key else None for key in picks}

    def next_turn(self) -> tuple[str, float]:
        """The name of the key whose turn is next, and in how many seconds."""
        turn = self.rotator.next_turn(FLASH)
        assert turn
        return turn[0].name, round(turn[1] - self.clock(), 3)

    async def wait(self, seconds: float) -> Call | None:
        return await self.queues.wait(FLASH, 1, frozenset(), seconds)


FREE, PAID = {"free1", "free2"}, {"paid1", "paid2"}


def test_the_first_group_is_used_while_one_of_its_keys_is_ready() -> None:
    here = Here()
    assert here.picked() == FREE
    here.rest(30, "free1")
    assert here.picked() == {"free2"}
    here.rest(30, "free2")
    assert here.picked() == PAID
    assert here.picked(model=PRO) == FREE
    here.rest(30, "paid1", "paid2")
    assert here.picked() == {"last"}
    here.clock.turn(30.5)
    assert here.picked() == FREE


def test_a_key_that_is_ready_within_a_second_is_waited_for() -> None:
    here = Here()
    here.rest(30, "free1")
    here.rest(5, "free2")
    assert here.picked() == PAID
    here.clock.turn(4.1)
    assert here.picked() == {None}
    assert here.next_turn() == ("free2", 0.9)


def test_the_next_turn_is_that_of_a_later_group_if_it_comes_more_than_a_second_earlier() -> None:
    here = Here()
    here.rest(9, "free1", "free2")
    here.rest(5, "paid1")
    here.rest(7.5, "paid2")
    here.rest(7, "last")
    assert here.next_turn() == ("paid1", 5.0)
    here.rest(8.5, "paid1")
    assert here.next_turn() == ("paid2", 7.5)  # the last comes half a second earlier
    here.rest(7.9, "free1")
    assert here.next_turn() == ("free1", 7.9)


def test_a_request_goes_on_to_a_later_group_once_it_was_refused_by_all_of_an_earlier_one() -> None:
    here = Here()
    free = frozenset({here.key("free1"), here.key("free2")})
    assert here.picked(free) == PAID
    assert here.picked(free | {here.key("paid1"), here.key("paid2")}) == {"last"}
    assert here.picked(frozenset(here.rotator.keys)) == {None}


def test_a_preference_counts_within_the_group_whose_turn_it_is() -> None:
    here = Here()
    paid, free = here.key("paid2").project, here.key("free2").project
    assert {here.rotator.pick(FLASH, prefer=free) for _ in range(20)} == {here.key("free2")}
    assert here.key("paid2") not in {here.rotator.pick(FLASH, prefer=paid) for _ in range(20)}
    here.rest(30, "free1", "free2")
    assert {here.rotator.pick(FLASH, prefer=paid) for _ in range(20)} == {here.key("paid2")}
    assert here.rotator.pick(FLASH, only=here.key("last")) is here.key("last")


def test_keys_of_one_project_go_together() -> None:
    specs = [KeySpec("one", "secret-1", "shop", rank=1), KeySpec("two", "secret-2", rank=0)]
    specs.append(KeySpec("three", "secret-3", "shop", rank=2))
    here = Here()
    here.rotator.change(keys_of(specs, here.rotator.keys), BACKOFFS, MAX_WAIT)
    two = here.key("two")
    assert here.picked() == {"two"}
    assert here.picked(frozenset({two})) == {"one", "three"}


def test_a_reload_changes_the_order() -> None:
    here = Here()
    assert here.picked() == FREE
    specs = [KeySpec(spec.name, spec.secret, rank=-spec.rank) for spec in here.specs]
    here.rotator.change(keys_of(specs, here.rotator.keys), BACKOFFS, MAX_WAIT)
    assert here.picked() == {"last"}


def test_a_learned_quota_of_the_first_group_is_spent_before_the_next_is_used() -> None:
    here = Here()
    limit = Limit("PerMinute", 5, 60.0)
    spent = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 5.0, limits=(limit,))
    for name in FREE:
        here.clock.turn(61)
        for _ in range(5):
            here.rotator.apply(here.rotator.call(here.key(name), FLASH, spends=True), HEALTHY)
            here.clock.turn(11)
        here.rotator.apply(here.rotator.call(here.key(name), FLASH, spends=True), spent)
    here.clock.turn(120)
    served = Counter[str]()
    for _ in range(25):
        call = here.rotator.acquire(FLASH, spends=True)
        assert call
        here.rotator.apply(call, HEALTHY)
        served[call.key.name] += 1
        here.clock.turn(0.1)
    assert [served[name] for name in sorted(FREE)] == [5, 5]
    assert served["paid1"] + served["paid2"] == 15


def test_a_search_tries_every_key_those_of_the_first_group_first() -> None:
    here = Here()
    search = Search(FLASH, "refused without a reason", here.clock(), here.clock())
    here.rotator.searches.begin(search)
    tried = []
    for _ in RANKS:
        here.clock.turn(0.2)
        key = here.rotator.pick(FLASH)
        assert key
        search.count_try(key)
        search.end_try(here.clock(), alike=False)
        tried.append(key.name)
    assert (set(tried[:2]), set(tried[2:4]), tried[4:]) == (FREE, PAID, ["last"])


@pytest.mark.usefixtures("io_loop")
async def test_a_request_that_cannot_wait_is_served_by_a_later_group() -> None:
    here = Here()
    here.rest(30, "free1")
    here.rest(0.9, "free2")
    assert here.rotator.acquire(FLASH, spends=True) is None
    for seconds in (0.0, 0.5):
        call = await here.wait(seconds)
        assert call
        assert call.key.name in PAID
