"""What it costs to choose a key, and to find out when the next one is ready: microseconds, medians.

    python -m tests.bench.choice

For 10 and 1,000 keys: all fresh; all with a quota that was learned and is half spent; nine of ten at rest;
all at rest. The clock stands still, and what a choice changes (a call that counts) is part of its cost.

Then 200 models at random with 1,000 keys, once with a quota of each model on every hundredth key, once on
every key: the 99th percentile too, and the memory of it all in MB.
"""

import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from statistics import median, quantiles

from proxycore.gemini.verdict import Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

MODEL = "gemini-2.5-flash"
_MODELS = [f"gemini-{number}" for number in range(200)]
_ROUNDS = 200
_QUOTA = 1000
_SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.5)
_LEARNED = Verdict(
    "quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 1.5, limits=(Limit("PerMinute", _QUOTA, 60.0),)
)


def pool(count: int) -> tuple[Rotator, TurnedClock]:
    """So many keys, each of a project of its own."""
    clock = TurnedClock()
    backoffs = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
    keys = keys_of(KeySpec(f"{n}", f"secret-{n}") for n in range(count))
    return Rotator(keys, backoffs, clock=clock, source=random.Random(1)), clock  # noqa: S311 - a load


def rest(rotator: Rotator, keys: list[Key]) -> None:
    """These keys are refused."""
    for key in keys:
        rotator.apply(rotator.call(key, MODEL, spends=True), _SPENT)


def fresh(count: int) -> Rotator:
    """Nothing is known of any key."""
    return pool(count)[0]


def learned(count: int) -> Rotator:
    """All quotas are known, and half spent."""
    rotator, clock = pool(count)
    for key in rotator.keys:
        for _ in range(_QUOTA // 2 if count < 100 else 5):
            rotator.call(key, MODEL, spends=True)
        clock.now += 0.001
        rotator.apply(rotator.call(key, MODEL, spends=True), _LEARNED)
    clock.now += 5.0
    return rotator


def mostly_resting(count: int) -> Rotator:
    """Nine of ten rest."""
    rotator, _ = pool(count)
    rest(rotator, list(rotator.keys)[count // 10 :])
    return rotator


def resting(count: int) -> Rotator:
    """All rest."""
    rotator, _ = pool(count)
    rest(rotator, list(rotator.keys))
    return rotator


def many_models(limited: int) -> Rotator:
    """Of 1,000 keys so many have a quota for each of the models, which is learned; all have served."""
    rotator, clock = pool(1000)
    for model in _MODELS:
        for key in rotator.keys[:: 1000 // limited]:
            call = rotator.call(key, model, spends=True)
            rotator.apply(call, _LEARNED)
    clock.now += 5.0
    return rotator


def choose(rotator: Rotator, model: str = MODEL) -> None:
    """One choice as a request makes it."""
    key = rotator.pick(model)
    if key:
        rotator.call(key, model, spends=True)
    else:
        rotator.next_turn(model)


def costs(rotator: Rotator, models: Sequence[str]) -> list[float]:
    """Microseconds for choices of these models."""
    times = []
    for model in models:
        began = time.perf_counter()
        choose(rotator, model)
        times.append(1e6 * (time.perf_counter() - began))
    return times


def cost(rotator: Rotator) -> float:
    """Microseconds for one choice."""
    return median(costs(rotator, [MODEL] * _ROUNDS))


def of_many_models(limited: int) -> str:
    """Median, 99th percentile and memory with 200 models."""
    models = random.Random(2).choices(_MODELS, k=20 * _ROUNDS)  # noqa: S311 - a load
    tracemalloc.start()
    rotator = many_models(limited)
    costs(rotator, models)
    megabytes = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    times = costs(rotator, models)
    return f"{median(times):>10.1f}{quantiles(times, n=100)[-1]:>12.1f}{megabytes:>8.1f}\n"


def main() -> int:
    """Prints a line for each state of the keys."""
    states: tuple[Callable[[int], Rotator], ...] = (fresh, learned, mostly_resting, resting)
    sys.stdout.write(f"{'µs for a choice':<20}{'10 keys':>10}{'1,000 keys':>12}\n")
    for state in states:
        few, many = (cost(state(count)) for count in (10, 1000))
        sys.stdout.write(f"{state.__name__.replace('_', ' '):<20}{few:>10.1f}{many:>12.1f}\n")
    sys.stdout.write(f"\n{'200 models, 1,000 keys':<30}{'median':>10}{'99 %':>12}{'MB':>8}\n")
    for limited in (10, 1000):
        sys.stdout.write(f"{f'{limited:,} keys with quotas':<30}{of_many_models(limited)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
