"""Which key serves, and for how long one rests."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    HEALTHY,
    NOT_GOOGLE,
    NOT_OWNER,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

DAY = 86_400.0
FLASH, PRO = "gemini-2.0-flash", "gemini-2.5-pro"
DOUBLINGS = {
    Backoff.QUOTA: ExponentialBackoff(10.0, 600.0),
    Backoff.FORBIDDEN: ExponentialBackoff(300.0, DAY),
}
FORBIDDEN = Verdict("not permitted", Reaction.FAILOVER, BenchScope.KEY, backoff=Backoff.FORBIDDEN)
DEAD = Verdict("suspended", Reaction.FAILOVER, BenchScope.RETIRED)


def quota(seconds: float | None = None) -> Verdict:
    return Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, seconds)


class LeastJitter(random.Random):
    """No jitter at all: what is left is the bench itself."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - random.Random's signature
        return a


class MostJitter(random.Random):
    """As much jitter as there can be."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - random.Random's signature
        return b


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


class Answered(Rotator):
    """A rotator whose calls are answered as soon as they are made."""

    @property
    def dead(self) -> bool:
        """Whether no key could ever serve."""
        return self.ready_at("") is None

    def answer(self, key: Key, model: str, verdict: Verdict) -> Bench | None:
        return self.apply(self.call(key, model, spends=True), verdict)


def rotator(
    clock: TurnedClock, keys: int = 1, source: random.Random | None = None, projects: tuple[str, ...] = ()
) -> Answered:
    told = projects or ("",) * keys
    made = keys_of(KeySpec(str(n), f"secret-of-key-{n}", project) for n, project in enumerate(told, 1))
    return Answered(made, DOUBLINGS, clock=clock, source=source or LeastJitter(1))


def bench(key: Key, model: str = FLASH) -> Bench | None:
    return key.project.limiters[model].bench


def rest_of(key: Key, model: str, clock: TurnedClock) -> float:
    """Seconds until the key may be used for the model again."""
    return max(key.ready_at(model) - clock(), 0.0)


def pass_bench(key: Key, model: str, clock: TurnedClock) -> None:
    clock.turn(rest_of(key, model, clock))


# The choice.


def test_every_ready_key_is_as_likely_as_any_other(clock: TurnedClock) -> None:
    here = rotator(clock, 4, random.Random(11))  # noqa: S311 - seeded, so that the test is the same every time
    counts = Counter(here.pick(FLASH) for _ in range(4000))
    assert set(counts) == set(here.keys)
    assert all(900 < count < 1100 for count in counts.values()), counts


def test_the_choice_stays_even_among_those_that_are_left(clock: TurnedClock) -> None:
    here = rotator(clock, 4, random.Random(11))  # noqa: S311 - seeded, so that the test is the same every time
    first, second, third, fourth = here.keys
    here.answer(first, FLASH, quota(60))
    counts = Counter(here.pick(FLASH, {second}) for _ in range(4000))
    assert set(counts) == {third, fourth}
    assert all(1850 < count < 2150 for count in counts.values()), counts


def test_a_choice_does_not_follow_from_the_one_before(clock: TurnedClock) -> None:
    here = rotator(clock, 2, random.Random(11))  # noqa: S311 - seeded, so that the test is the same every time
    picks = [here.pick(FLASH) for _ in range(4000)]
    repeats = sum(one is following for one, following in pairwise(picks))
    assert 1800 < repeats < 2200


def test_without_a_ready_key_there_is_no_choice(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    assert rotator(clock, 0).pick(FLASH) is None
    assert here.pick(FLASH, set(here.keys)) is None
    for key in here.keys:
        here.answer(key, FLASH, quota(60))
    assert here.pick(FLASH) is None


# Benches.


def test_a_quota_benches_the_key_for_that_model_and_for_no_other(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    tired, other = here.keys
    here.answer(tired, FLASH, quota(60))
    assert {here.pick(FLASH) for _ in range(50)} == {other}
    assert {here.pick(PRO) for _ in range(50)} == {tired, other}


def test_a_403_benches_the_key_for_every_model(clock: TurnedClock) -> None:
    here = rotator(clock)
    here.answer(here.keys[0], FLASH, FORBIDDEN)
    assert here.pick(FLASH) is None
    assert here.pick(PRO) is None
    assert here.pick("") is None
    assert not here.usable


def test_a_key_is_ready_again_when_its_bench_has_passed_and_not_before(clock: TurnedClock) -> None:
    here = rotator(clock)
    here.answer(here.keys[0], FLASH, quota(60))
    clock.turn(59.999)
    assert here.pick(FLASH) is None
    clock.turn(0.001)
    assert here.pick(FLASH) is here.keys[0]


@pytest.mark.parametrize(
    ("told", "bench"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (34.07, 34.07), (90_000, 90_000)]
)
def test_a_bench_lasts_for_the_retry_delay_but_at_least_a_second(
    clock: TurnedClock, told: float, bench: float
) -> None:
    here = rotator(clock)
    here.answer(here.keys[0], FLASH, quota(told))
    assert rest_of(here.keys[0], FLASH, clock) == pytest.approx(bench)


@pytest.mark.parametrize(
    "verdict", [CLIENT_ERROR, REGION_BLOCKED, NOT_GOOGLE, UPSTREAM_FAILURE, NOT_OWNER], ids=lambda v: v.reason
)
def test_what_is_no_keys_fault_changes_nothing(clock: TurnedClock, verdict: Verdict) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, quota())
    before = repr(key)
    assert here.answer(key, FLASH, verdict) is None
    assert repr(key) == before
    assert here.answer(key, PRO, verdict) is None
    assert here.pick(PRO) is key


@given(st.floats(0, 90_000), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_jitter_never_shortens_a_bench_and_is_at_most_a_second(told: float, seed: int) -> None:
    clock = TurnedClock()
    here = rotator(clock, source=random.Random(seed))  # noqa: S311 - any seed will do
    here.answer(here.keys[0], FLASH, quota(told))
    rest, least = rest_of(here.keys[0], FLASH, clock), max(told, 1.0)
    assert least - 1e-6 <= rest <= least + min(0.05 * least, 1.0) + 1e-6


def test_jitter_there_is_so_that_keys_do_not_come_back_in_step(clock: TurnedClock) -> None:
    here = rotator(clock, 10, random.Random(11))  # noqa: S311 - seeded, so that the test is the same every time
    for key in here.keys:
        here.answer(key, FLASH, quota(60))
    assert len({key.ready_at(FLASH) for key in here.keys}) == 10


# Strikes.


@pytest.mark.parametrize(
    ("verdict", "rests"),
    [
        (quota(), [10, 20, 40, 80, 160, 320, 600, 600]),
        (FORBIDDEN, [300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, 86_400, 86_400]),
    ],
    ids=["quota", "forbidden"],
)
def test_a_bench_without_a_retry_delay_doubles_with_every_strike_up_to_the_longest(
    clock: TurnedClock, verdict: Verdict, rests: list[float]
) -> None:
    here = rotator(clock)
    key = here.keys[0]
    for strike, rest in enumerate(rests, 1):
        fresh = here.answer(key, FLASH, verdict)
        assert fresh is not None
        assert fresh.strikes == strike
        assert rest_of(key, FLASH, clock) == pytest.approx(rest)
        pass_bench(key, FLASH, clock)


def test_thousands_of_strikes_do_no_harm() -> None:
    backoff = ExponentialBackoff(10.0, 600.0)
    assert [backoff.seconds(strikes) for strikes in (1, 2, 7, 2000, 10**9)] == [10, 20, 600, 600, 600]


@pytest.mark.parametrize("verdict", [quota(), FORBIDDEN], ids=lambda v: v.backoff.value)
def test_twenty_refusals_at_once_are_one_strike(clock: TurnedClock, verdict: Verdict) -> None:
    here = rotator(clock)
    key = here.keys[0]
    news = [here.answer(key, FLASH, verdict) for _ in range(20)]
    assert isinstance(news[0], Bench)
    assert news[1:] == [None] * 19
    first = DOUBLINGS[verdict.backoff].first
    assert rest_of(key, FLASH, clock) == pytest.approx(first)
    pass_bench(key, FLASH, clock)
    again = here.answer(key, FLASH, verdict)
    assert again is not None
    assert again.strikes == 2


def test_refusals_at_once_do_not_move_a_bench_by_their_jitter(clock: TurnedClock) -> None:
    here = rotator(clock, source=MostJitter())
    key = here.keys[0]
    here.answer(key, FLASH, quota())
    until = key.ready_at(FLASH)
    clock.turn(5)
    here.answer(key, FLASH, quota())
    assert key.ready_at(FLASH) == until


def test_a_longer_retry_delay_extends_a_bench_and_a_shorter_one_does_not_shorten_it(
    clock: TurnedClock,
) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, quota(30))
    here.answer(key, FLASH, Verdict("daily quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 5000.0))
    assert rest_of(key, FLASH, clock) == pytest.approx(5000)
    rest = bench(key)
    assert rest
    assert (rest.reason, rest.strikes) == ("daily quota exhausted", 1)
    here.answer(key, FLASH, quota(30))
    assert rest_of(key, FLASH, clock) == pytest.approx(5000)
    rest = bench(key)
    assert rest
    assert (rest.reason, rest.strikes) == ("daily quota exhausted", 1)


def test_a_success_clears_the_strikes(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    for _ in range(3):
        here.answer(key, FLASH, quota())
        pass_bench(key, FLASH, clock)
        here.answer(key, FLASH, FORBIDDEN)
        pass_bench(key, FLASH, clock)
    here.answer(key, FLASH, HEALTHY)
    here.answer(key, FLASH, quota())
    assert rest_of(key, FLASH, clock) == pytest.approx(10)
    pass_bench(key, FLASH, clock)
    here.answer(key, FLASH, FORBIDDEN)
    assert rest_of(key, FLASH, clock) == pytest.approx(300)


@pytest.mark.parametrize("verdict", [quota(), FORBIDDEN], ids=["model", "whole key"])
def test_a_success_that_comes_late_keeps_a_bench_that_runs_and_its_strikes(
    clock: TurnedClock, verdict: Verdict
) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, verdict)
    pass_bench(key, FLASH, clock)
    here.answer(key, FLASH, verdict)
    before = rest_of(key, FLASH, clock)
    here.answer(key, FLASH, HEALTHY)
    assert rest_of(key, FLASH, clock) == before
    pass_bench(key, FLASH, clock)
    third = here.answer(key, FLASH, verdict)
    assert third is not None
    assert third.strikes == 3


def test_a_success_on_one_model_says_nothing_about_another(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, quota())
    pass_bench(key, FLASH, clock)
    here.answer(key, PRO, HEALTHY)
    fresh = here.answer(key, FLASH, quota())
    assert fresh is not None
    assert fresh.strikes == 2


def test_strikes_on_one_model_say_nothing_about_another(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    for _ in range(3):
        here.answer(key, FLASH, quota())
        pass_bench(key, FLASH, clock)
    fresh = here.answer(key, PRO, quota())
    assert fresh is not None
    assert fresh.strikes == 1


def test_a_key_is_benched_until_the_last_of_its_benches_has_ended(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, quota(1000))
    here.answer(key, PRO, FORBIDDEN)
    assert rest_of(key, FLASH, clock) == pytest.approx(1000)
    assert rest_of(key, PRO, clock) == pytest.approx(300)


def test_invented_models_do_not_fill_the_memory(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    for number in range(2000):
        here.answer(key, f"invented-{number}", quota(1))
        clock.turn(2)
    # What is remembered is what rested within the longest doubling, ten minutes, and nothing older.
    assert len(key.project.limiters) <= 302
    assert "invented-1999" in key.project.limiters


def test_models_that_do_not_exist_are_not_remembered(clock: TurnedClock) -> None:
    here = rotator(clock)
    for number in range(100):
        here.answer(here.keys[0], f"invented-{number}", CLIENT_ERROR)
    assert here.keys[0].project.limiters == {}


def test_calls_that_were_served_are_not_remembered_for_long(clock: TurnedClock) -> None:
    here = rotator(clock)
    for number in range(300):
        here.answer(here.keys[0], f"model-{number}", HEALTHY)
        clock.turn(1)
    assert len(here.keys[0].project.limiters) < 80


def test_of_models_without_end_the_latest_are_remembered(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    for number in range(2000):
        here.answer(key, f"invented-{number}", quota(30))
        here.answer(key, FLASH, HEALTHY)
    limiters = key.project.limiters
    assert len(limiters) <= 64
    assert "invented-1999" in limiters
    assert FLASH in limiters


def test_what_nothing_is_known_of_is_forgotten_before_a_bench(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, "served", HEALTHY)
    here.answer(key, FLASH, quota(DAY))
    here.answer(key, "served as well", HEALTHY)
    for number in range(64):
        here.answer(key, f"invented-{number}", HEALTHY)
    assert rest_of(key, FLASH, clock) == pytest.approx(DAY)
    assert len(key.project.limiters) == 64


def test_memory_is_not_cleaned_of_a_bench_that_runs(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    here.answer(key, FLASH, quota(DAY))
    clock.turn(5000)
    here.answer(key, PRO, quota(1))
    assert rest_of(key, FLASH, clock) == pytest.approx(DAY - 5000)


# Retirement.


def retire(here: Answered, key: Key, clock: TurnedClock) -> None:
    """Answers so often that this key is dead that it is believed, whatever is said of others."""
    for seconds in (0, 2, 10, 60):
        clock.turn(seconds)
        here.answer(key, FLASH, DEAD)
    assert key.retired


def test_a_key_that_is_called_dead_once_is_benched_for_two_seconds(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    dead, living = here.keys
    fresh = here.answer(dead, FLASH, DEAD)
    assert fresh is not None
    assert (fresh.reason, fresh.strikes, dead.state(clock())) == ("suspended", 1, "benched")
    assert {here.pick(FLASH) for _ in range(50)} == {living}
    assert {here.pick(PRO) for _ in range(50)} == {living}
    clock.turn(1.999)
    assert {here.pick(FLASH) for _ in range(50)} == {living}
    clock.turn(0.001)
    assert {here.pick(FLASH) for _ in range(50)} == {living, dead}


def test_a_key_that_is_called_dead_repeatedly_is_benched_longer_every_time(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    dead = here.keys[0]
    for strikes, rest in enumerate([2, 10, 60, 600, 3600, DAY, DAY], 1):
        fresh = here.answer(dead, FLASH, DEAD)
        assert fresh is not None
        assert fresh.strikes == strikes
        assert fresh.benched_until - clock() == rest
        assert (dead.retired is fresh) is (strikes >= 3)
        if dead.retired:  # as the trial does when it begins
            here.set_bench(dead, BenchPlace.RETIRED, replace(fresh, benched_until=clock()))
            here.clear_bench(dead, BenchPlace.RETIRED)
        clock.turn(rest)


def test_calls_that_find_a_key_dead_while_it_is_benched_change_nothing(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    dead = here.keys[0]
    calls = [here.call(dead, model, spends=True) for model in (FLASH, PRO, FLASH)]
    assert here.apply(calls[0], DEAD) is not None
    assert here.apply(calls[1], DEAD) is None
    clock.turn(1.999)
    assert here.apply(calls[2], DEAD) is None
    assert dead.deaths.times == 1
    assert dead.usable_at == pytest.approx(clock() + 0.001)


def test_a_death_that_was_undone_is_no_strike_when_it_is_said_again_at_once(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    dead = here.keys[0]
    here.answer(dead, FLASH, DEAD)
    here.clear_bench(dead, BenchPlace.WHOLE)
    clock.turn(1)
    fresh = here.answer(dead, FLASH, DEAD)
    assert fresh is not None
    assert (fresh.strikes, fresh.benched_until - clock()) == (1, 2)


def test_a_key_that_is_served_a_model_is_not_dead_and_the_next_death_is_the_first(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    key = here.keys[0]
    for seconds in (2, 10):
        here.answer(key, FLASH, DEAD)
        clock.turn(seconds)
    for served in here.keys:
        here.answer(served, FLASH, HEALTHY)
    fresh = here.answer(key, FLASH, DEAD)
    assert fresh is not None
    assert fresh.strikes == 1


def test_a_served_call_that_was_sent_before_a_death_does_not_undo_it(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    key = here.keys[0]
    early = here.call(key, FLASH, spends=True)
    clock.turn(1)
    here.answer(key, FLASH, DEAD)
    here.apply(early, HEALTHY)
    assert key.deaths.times == 1
    assert key.state(clock()) == "benched"


def test_a_list_that_is_served_frees_a_retired_key_and_keeps_what_was_counted(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    key = here.keys[0]
    retire(here, key, clock)
    deaths = key.deaths.times
    here.apply(here.call(key, "", spends=False), HEALTHY)
    assert not key.retired
    assert key.deaths.times == deaths
    clock.turn(3600)
    fresh = here.answer(key, FLASH, DEAD)
    assert fresh is not None
    assert key.retired is fresh
    assert fresh.strikes == deaths + 1


@pytest.mark.parametrize("apart", [1.0, 5.0, 90.0, 1000.0])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_when_all_keys_are_called_dead_they_are_retired_after_a_minute_however_often_they_are_asked(
    clock: TurnedClock, count: int, apart: float
) -> None:
    here = rotator(clock, count)
    began = clock()
    while not here.dead:
        assert clock() < began + 60 + 12 * count + 6 * apart * count
        if key := here.pick(FLASH):
            here.answer(key, FLASH, DEAD)
        clock.turn(apart)


def test_no_request_is_sent_with_a_retired_key(clock: TurnedClock) -> None:
    here = rotator(clock)
    retire(here, here.keys[0], clock)
    clock.turn(10 * DAY)
    assert [here.pick(model) for model in (FLASH, PRO, "")] == [None, None, None]
    assert here.dead


def test_a_retired_key_comes_back_when_it_is_served(clock: TurnedClock) -> None:
    here = rotator(clock)
    key = here.keys[0]
    retire(here, key, clock)
    here.answer(key, "", HEALTHY)
    assert [here.pick(model) for model in (FLASH, PRO, FLASH)] == [key, key, key]
    assert here.usable
    assert not here.dead


def test_a_trial_that_is_refused_for_another_reason_is_no_success(clock: TurnedClock) -> None:
    here = rotator(clock)
    retire(here, here.keys[0], clock)
    here.answer(here.keys[0], FLASH, quota(1))
    clock.turn(10)
    assert here.pick(FLASH) is None
    assert here.dead


def test_nobody_waits_for_a_retired_key(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    dead, tired = here.keys
    retire(here, dead, clock)
    here.answer(tired, FLASH, quota(90_000))
    assert here.ready_at(FLASH) == clock() + 90_000
    retire(here, tired, clock)
    assert here.ready_at(FLASH) is None


# What there is to tell.


def test_ready_at_is_the_first_moment_at_which_any_key_is_ready(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    soon, late = here.keys
    here.answer(soon, FLASH, quota(30))
    here.answer(late, FLASH, quota(50))
    assert here.ready_at(FLASH) == pytest.approx(clock() + 30)
    assert here.ready_at(FLASH, {soon}) == pytest.approx(clock() + 50)
    assert here.ready_at(FLASH, set(here.keys)) is None
    ready = here.ready_at(PRO)
    assert ready is not None
    assert ready <= clock()


def test_without_keys_nothing_is_usable_and_all_is_dead(clock: TurnedClock) -> None:
    here = rotator(clock, 0)
    assert (here.usable, here.dead, here.ready_at(FLASH)) == (False, True, None)


def test_a_benched_key_is_not_dead(clock: TurnedClock) -> None:
    here = rotator(clock)
    here.answer(here.keys[0], FLASH, FORBIDDEN)
    assert (here.usable, here.dead) == (False, False)
    pass_bench(here.keys[0], FLASH, clock)
    assert (here.usable, here.dead) == (True, False)


def test_a_key_that_is_benched_for_one_model_is_usable(clock: TurnedClock) -> None:
    here = rotator(clock)
    here.answer(here.keys[0], FLASH, quota(60))
    assert (here.usable, here.dead) == (True, False)


def test_one_living_key_keeps_the_rotator_alive(clock: TurnedClock) -> None:
    here = rotator(clock, 2)
    retire(here, here.keys[0], clock)
    assert (here.usable, here.dead) == (True, False)
    retire(here, here.keys[1], clock)
    assert (here.usable, here.dead) == (False, True)


def test_a_repr_tells_the_state_and_no_secret(clock: TurnedClock) -> None:
    here = rotator(clock, 4)
    retire(here, here.keys[0], clock)
    here.answer(here.keys[1], FLASH, FORBIDDEN)
    here.answer(here.keys[2], FLASH, quota(60))
    assert repr(here) == "<Rotator 4 keys, 1 benched, 1 retired>"
    for thing in (here, *here.keys):
        assert "secret" not in repr(thing)
        assert "secret" not in str(thing)
    assert "name='1'" in repr(here.keys[0])


def test_keys_are_told_apart_even_if_they_look_the_same() -> None:
    assert Key("1", "same") != Key("1", "same")
    assert len({Key("1", "same"), Key("1", "same")}) == 2


# Other keys.


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_to_removed_keys_they_are_not_chosen_again(seed: int, clock: TurnedClock) -> None:
    source = random.Random(seed)  # noqa: S311 - seeded, so that the test is the same every time
    here = rotator(clock, 1, source)
    verdicts = (HEALTHY, UPSTREAM_FAILURE, quota(5), replace(quota(5), project="70001"), DEAD, FORBIDDEN)
    ever: dict[str, Key] = {}
    for _ in range(60):
        told = [
            KeySpec(f"{n}", f"secret-{n}", source.choice(["", "", "shop"]))
            for n in range(8)
            if source.random() < 0.5
        ]
        here.change(keys_of(told, here.keys), DOUBLINGS, 10.0)
        ever |= {key.secret: key for key in here.keys}
        for key in ever.values():
            here.apply(here.call(key, FLASH, spends=True), source.choice(verdicts))
        clock.turn(source.uniform(0, 40))
        assert {key for project in here.projects for key in project.keys} == set(here.keys)
        chosen = {here.pick(FLASH) for _ in range(20)} | {here.pick("another-model") for _ in range(20)}
        assert chosen - {None} <= set(here.keys)
        if turn := here.next_turn(FLASH):
            assert turn[0] in here.keys
