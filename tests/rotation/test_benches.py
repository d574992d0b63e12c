"""What rests beside a key and its quotas: large prompts, pages of an origin; and who is chosen less."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from proxycore.gemini.verdict import HEALTHY, UPSTREAM_FAILURE, Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.rotation.bench import BenchPlace, ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.key import KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"
TOO_LARGE = Verdict("token quota exhausted", Reaction.TOKENS, BenchScope.MODEL, 30.0)
REFERRER = Verdict("referrer", Reaction.COMPARE, BenchScope.ORIGIN, backoff=Backoff.FORBIDDEN)
PAGE, OTHER_PAGE = "https://shop.example", "https://other.example"


class Pool:
    """Some keys, and what requests come to."""

    def __init__(self, count: int) -> None:
        self.clock = TurnedClock()
        self.rotator = Rotator(
            keys_of(KeySpec(str(n), f"secret-{n}") for n in range(count)),
            {
                Backoff.QUOTA: ExponentialBackoff(10.0, 600.0),
                Backoff.FORBIDDEN: ExponentialBackoff(300.0, 86_400.0),
            },
            clock=self.clock,
            source=random.Random(5),  # noqa: S311 - seeded, so that the test is the same every time
        )
        self.keys = self.rotator.keys

    def say(self, number: int, verdict: Verdict, case: Case, lane: str = FLASH, tokens: int = 0) -> None:
        call = self.rotator.call(self.keys[number], lane, spends=True, tokens=tokens)
        self.rotator.apply(call, verdict, case)

    def unfit(self, origin: str = "") -> set[str]:
        return {key.name for key in self.rotator.unfit(origin)}

    def takes(self, tokens: int, lane: str = FLASH) -> set[str]:
        """The keys that take a prompt of so many tokens now."""
        now = self.clock()
        return {key.name for key in self.keys if key.ready_at(lane, tokens) <= now}


# Sizes.


def test_a_refusal_of_tokens_says_nothing_of_smaller_prompts_nor_of_other_models() -> None:
    here = Pool(2)
    here.say(0, TOO_LARGE, Case(), tokens=1000)
    assert here.takes(1000) == here.takes(5000) == {"1"}
    assert here.takes(999) == {"0", "1"}
    assert here.takes(5000, PRO) == {"0", "1"}
    assert here.takes(5000, f"{FLASH}+google_search") == {"1"}  # that spends the model's quotas
    assert here.rotator.pick(FLASH, {here.keys[1]}, tokens=999) is here.keys[0]
    assert here.rotator.pick(FLASH, {here.keys[1]}, tokens=1000) is None


def test_it_ends_after_the_retry_delay() -> None:
    here = Pool(1)
    here.say(0, TOO_LARGE, Case(), tokens=1000)
    assert here.rotator.next_turn(FLASH, tokens=1000) == (here.keys[0], here.clock() + 30.0)
    assert here.rotator.next_turn(FLASH, tokens=999) == (here.keys[0], here.clock())
    here.clock.turn(29.9)
    assert here.takes(1000) == set()
    here.clock.turn(0.1)
    assert here.takes(1000) == {"0"}


def test_the_smallest_that_was_refused_is_the_limit_and_the_longest_time_holds() -> None:
    here = Pool(1)
    here.say(0, TOO_LARGE, Case(), tokens=1000)
    here.clock.turn(10.0)
    short = Verdict("token quota exhausted", Reaction.TOKENS, BenchScope.MODEL, 5.0)
    here.say(0, short, Case(), tokens=400)
    here.say(0, TOO_LARGE, Case(), tokens=2000)
    assert here.takes(400) == set()
    assert here.takes(399) == {"0"}
    assert here.rotator.next_turn(FLASH, tokens=400) == (here.keys[0], here.clock() + 30.0)


def test_the_first_that_is_fit_again_is_waited_for() -> None:
    here = Pool(2)
    here.say(0, TOO_LARGE, Case(), tokens=1000)
    here.clock.turn(10.0)
    here.say(1, TOO_LARGE, Case(), tokens=1000)
    assert here.takes(1000) == set()
    assert here.rotator.next_turn(FLASH, tokens=1000) == (here.keys[0], here.clock() + 20.0)


def test_a_prompt_goes_where_its_tokens_fit() -> None:
    here = Pool(3)
    limit = Limit("TokensPerMinute", 1000, 60.0, of_tokens=True)
    refusal = replace(TOO_LARGE, seconds=50.0, limits=(limit,))
    for number, used in enumerate((900, 500, 200)):
        here.rotator.call(here.keys[number], FLASH, spends=True, tokens=used)
        here.clock.turn(1.0)
        here.say(number, refusal, Case(), tokens=1000 - used + 1)
    assert {here.rotator.pick(FLASH, tokens=700) for _ in range(20)} == {here.keys[2]}
    assert here.rotator.pick(FLASH, tokens=900) is None
    key, at = here.rotator.next_turn(FLASH, tokens=950) or (None, 0.0)
    assert key is here.keys[0]
    assert at - here.clock() == pytest.approx(48.0, abs=1.5)
    here.clock.turn(50.0)
    assert here.rotator.pick(FLASH, tokens=1001) is not None  # fits nowhere: Google tells


# Origins.


def refuse_page(here: Pool, number: int, served_by: int, origin: str = PAGE) -> None:
    case = Case(origin=origin)
    here.say(number, REFERRER, case)
    here.say(served_by, HEALTHY, case)


def test_a_key_for_other_pages_is_benched_for_this_origin_only() -> None:
    here = Pool(2)
    refuse_page(here, 0, 1)
    assert here.unfit(PAGE) == {"0"}
    assert here.unfit(OTHER_PAGE) == here.unfit() == set()
    assert here.keys[0].ready_at(FLASH) <= here.clock()
    assert here.keys[0].state(here.clock()) == "ready"
    here.clock.turn(9.9)
    assert here.unfit(PAGE) == {"0"}
    assert here.rotator.fit_at(FLASH, PAGE) == here.keys[0].origins[PAGE].benched_until
    here.clock.turn(1.2)
    assert here.unfit(PAGE) == set()


def test_it_doubles_each_time_for_its_origin_alone() -> None:
    here = Pool(2)
    for seconds in (10.0, 600.0, 1200.0, 2400.0):  # short until it is proved
        refuse_page(here, 0, 1)
        assert seconds <= here.keys[0].origins[PAGE].benched_until - here.clock() <= seconds + 1.0
        here.clock.turn(seconds + 1.0)
    refuse_page(here, 0, 1, OTHER_PAGE)
    assert here.keys[0].origins[OTHER_PAGE].strikes == 1


def test_an_origin_that_was_released_is_served_again() -> None:
    here = Pool(2)
    refuse_page(here, 0, 1)
    here.rotator.clear_bench(here.keys[0], BenchPlace.ORIGIN, PAGE)
    assert here.unfit(PAGE) == set()
    assert here.keys[0].origins == {}


def test_of_origins_without_end_the_latest_are_remembered() -> None:
    here = Pool(2)
    for number in range(500):
        refuse_page(here, 0, 1, f"https://page-{number}.example")
    assert len(here.keys[0].origins) == 64
    assert len(here.rotator._barred) == 64
    assert here.unfit("https://page-499.example") == {"0"}


# Those that fail where others serve.


def fail(here: Pool, number: int, served_by: int) -> None:
    case = Case()
    here.say(number, UPSTREAM_FAILURE, case)
    here.say(served_by, HEALTHY, case)


def share(here: Pool, number: int, lane: str = FLASH) -> float:
    """Its share of the choice, next to that of one other key."""
    counts = Counter(here.rotator.pick(lane) for _ in range(8000))
    return counts[here.keys[number]] / 8000


def test_a_key_that_fails_where_others_serve_gets_less_of_the_choice_down_to_a_probe() -> None:
    here = Pool(2)
    assert share(here, 0) == pytest.approx(1 / 2, abs=0.03)
    for weight in (1 / 4, 1 / 16, 1 / 64, 1 / 64):
        fail(here, 0, 1)
        assert here.keys[0].project.reliability(FLASH, here.clock()) == pytest.approx(weight)
        assert share(here, 0) == pytest.approx(weight / (1 + weight), abs=0.025)
    assert share(here, 0) > 0.005
    assert share(here, 0, PRO) == pytest.approx(1 / 2, abs=0.03)


def test_when_nobody_serves_the_request_no_key_gets_less() -> None:
    here, case = Pool(2), Case()
    here.say(0, UPSTREAM_FAILURE, case)
    here.say(1, UPSTREAM_FAILURE, case)
    here.say(0, HEALTHY, case)  # its own trouble is over, the other's is not known to be its own fault
    assert here.keys[0].project.reliability(FLASH, here.clock()) == 1.0


def test_it_recovers_with_what_it_serves_and_with_time() -> None:
    here = Pool(2)
    for _ in range(4):
        fail(here, 0, 1)
    project, before = here.keys[0].project, 0.0
    for _ in range(6):
        here.say(0, HEALTHY, Case())
        assert before <= project.reliability(FLASH, here.clock())
        before = project.reliability(FLASH, here.clock())
    assert before > 0.8
    for _ in range(4):
        fail(here, 0, 1)
    here.clock.turn(60.0)
    assert project.reliability(FLASH, here.clock()) == pytest.approx(1 / 16, rel=0.5)
    here.clock.turn(600.0)
    assert project.reliability(FLASH, here.clock()) > 0.99


# Strikes.


@pytest.mark.parametrize(
    ("rest", "place", "about"),
    [
        (BenchScope.MODEL, BenchPlace.MODEL, FLASH),
        (BenchScope.KEY, BenchPlace.WHOLE, ""),
        (BenchScope.RETIRED, BenchPlace.WHOLE, ""),
    ],
)
def test_a_bench_knows_when_the_first_of_its_strikes_began(
    rest: BenchScope, place: BenchPlace, about: str
) -> None:
    here, refused = Pool(2), Verdict("refused", Reaction.FAILOVER, rest)

    def strike() -> tuple[int, float]:
        here.say(0, refused, Case())
        bench = here.keys[0].bench_at(place, about)
        assert bench is not None
        here.clock.turn(bench.benched_until - here.clock() + 0.5)
        return bench.strikes, bench.since

    here.say(1, HEALTHY, Case())
    began = here.clock()
    assert [strike(), strike()] == [(1, began), (2, began)]
    here.say(0, HEALTHY, Case())
    again = here.clock()
    assert again > began
    assert [strike(), strike()] == [(1, again), (2, again)]


def test_a_retirement_began_when_the_key_was_first_called_dead_however_often_it_is_probed() -> None:
    here, dead = Pool(2), Verdict("suspended or leaked", Reaction.FAILOVER, BenchScope.RETIRED)
    here.say(1, HEALTHY, Case())
    key, began = here.keys[0], here.clock()
    while not key.retired:
        here.say(0, dead, Case())
        here.clock.turn(60.0)
    for _ in range(3):
        assert key.retired.since == began
        here.rotator.put_off_probe(key)
        here.clock.turn(key.retired.benched_until - here.clock() + 1.0)


def test_a_suspicion_that_is_confirmed_began_with_the_first_strike() -> None:
    here, vague = Pool(3), Verdict("no reason", Reaction.COMPARE, BenchScope.MODEL)
    began = here.clock()
    for strikes in (1, 2):
        case = Case()
        here.say(0, vague, case)
        here.say(1, HEALTHY, case)
        bench = here.keys[0].bench_at(BenchPlace.MODEL, FLASH)
        assert bench is not None
        assert (bench.suspected, bench.strikes, bench.since) == (False, strikes, began)
        here.clock.turn(bench.benched_until - here.clock() + 60.0)
