"""What is kept of a thousand limiters, and what is forgotten once it does not count any more."""

import random
import tracemalloc

import pytest

from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.call_log import NO_CALLS
from proxycore.rotation.case import Case
from proxycore.rotation.key import KeySpec, keys_of
from proxycore.rotation.other_usage import NOBODY
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

MODELS = [f"gemini-{number}" for number in range(50)]
LIMIT = Limit("PerMinute", 4, 60.0)
SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.0, limits=(LIMIT,))
BARE = Verdict("refused", Reaction.COMPARE, BenchScope.MODEL)
LARGEST = 800  # bytes for a limiter whose quota was learned, whose calls have all been forgotten


def rotator(count: int, clock: TurnedClock) -> Rotator:
    keys = keys_of(KeySpec(f"{number}", f"secret-{number}") for number in range(count))
    backoffs = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
    source = random.Random(1)  # noqa: S311 - seeded, so that the test is the same every time
    return Rotator(keys, backoffs, clock=clock, source=source)


def serve(here: Rotator, clock: TurnedClock, calls: int) -> None:
    """Each key serves each model so many times, half a second apart."""
    for model in MODELS:
        for key in here.keys:
            for _ in range(calls):
                here.apply(here.call(key, model, spends=True), HEALTHY)
        clock.turn(0.5)


def refuse(here: Rotator) -> None:
    for model in MODELS:
        for key in here.keys:
            here.apply(here.call(key, model, spends=True), SPENT)


def wait(here: Rotator, clock: TurnedClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.turn(1.0)
        here.forget_old()


@pytest.mark.parametrize("calls", [0, 3])
def test_a_quota_that_was_learned_takes_little_memory(calls: int) -> None:
    clock = TurnedClock()
    here = rotator(20, clock)
    tracemalloc.start()
    try:
        serve(here, clock, calls)
        refuse(here)
        wait(here, clock, 400)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / (20 * len(MODELS)) <= LARGEST


def test_what_was_learned_outlives_the_calls_and_benches_that_taught_it() -> None:
    clock = TurnedClock()
    here = rotator(2, clock)
    serve(here, clock, 4)
    refuse(here)
    limiters = [key.project.limiters[model] for key in here.keys for model in MODELS]
    learned = [limiter.quotas_to_json() for limiter in limiters]
    wait(here, clock, 1000)
    assert [limiter.quotas_to_json() for limiter in limiters] == learned
    assert {limiter.bench for limiter in limiters} == {None}
    assert [limiter for limiter in limiters if limiter.log is not NO_CALLS] == []
    assert [key.project.limiters[model] for key in here.keys for model in MODELS] == limiters


def test_of_models_that_only_served_nothing_is_kept() -> None:
    clock = TurnedClock()
    here = rotator(2, clock)
    serve(here, clock, 3)
    wait(here, clock, 400)
    assert [key.project.limiters for key in here.keys] == [{}, {}]


def test_a_call_that_is_open_for_minutes_is_not_forgotten() -> None:
    clock = TurnedClock()
    here = rotator(1, clock)
    call = here.call(here.keys[0], MODELS[0], spends=True)
    wait(here, clock, 400)
    assert here.keys[0].project.limiters[MODELS[0]].log.open == [call.at]


def test_a_bench_is_remembered_for_as_long_as_the_longest_doubling() -> None:
    clock = TurnedClock()
    here = rotator(1, clock)
    here.apply(here.call(here.keys[0], MODELS[0], spends=True), SPENT)
    limiter = here.keys[0].project.limiters[MODELS[0]]
    wait(here, clock, 620)
    assert limiter.bench
    wait(here, clock, 320)
    assert limiter.bench is None


def choices(seed: int, *, forgets: bool) -> list[object]:
    """Which keys are chosen, and which would be next, in nine minutes in which keys serve and are refused."""
    clock, chance, found = TurnedClock(), random.Random(seed), list[object]()  # noqa: S311 - repeatable
    here, end = rotator(6, clock), clock.now + 540.0
    while clock.now < end:
        model = chance.choice(MODELS[:3])
        key, turn = here.pick(model), here.next_turn(model)
        found.append((key and key.name, turn and (turn[0].name, turn[1])))
        verdict = chance.choice([HEALTHY, HEALTHY, HEALTHY, SPENT, BARE])
        if key:
            here.apply(here.call(key, model, spends=True), verdict, Case("client", "m", str(len(found))))
        clock.turn(chance.choice([0.05, 0.1, 3.0]) if chance.random() < 0.99 else 100.0)
        for _ in range(300 if forgets else 0):
            here.forget_old()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_forgetting_changes_no_choice(seed: int) -> None:
    remembered = choices(seed, forgets=False)
    assert len(remembered) > 50
    assert choices(seed, forgets=True) == remembered


def test_what_all_limiters_share_for_none_stays_empty() -> None:
    clock = TurnedClock()
    here = rotator(2, clock)
    for _ in range(3):
        serve(here, clock, 2)
        refuse(here)
        wait(here, clock, 400)
    one, other = (key.project for key in here.keys)
    one.absorb(other)
    assert (len(NO_CALLS), NO_CALLS.open) == (0, [])
    assert (NOBODY.level, NOBODY.average) == (0.0, 0.0)
