"""The cases in which a pool of keys is tried: what quotas do, what others do, and how refusals are told."""

from collections.abc import Iterator
from dataclasses import replace

from tests.support.google_quotas import Delay, Habits, KeyPlan, Others
from tests.support.google_windows import Counting
from tests.support.scenario import MINUTE, Scenario

EQUAL = (KeyPlan(),) * 10
UNEQUAL = tuple(KeyPlan(quota) for quota in (5, 8, 11, 14, 18, 23, 29, 37, 47, 60))


def others(keys: tuple[KeyPlan, ...], some: Others, every: int = 1) -> tuple[KeyPlan, ...]:
    """Return the keys with other users of each, or of every so many."""
    return tuple(key if number % every else replace(key, others=some) for number, key in enumerate(keys))


def raised(before: int, after: int, at: float) -> tuple[KeyPlan, ...]:
    """Return ten keys whose quota is raised at a moment."""
    return (KeyPlan(before, raised_at=at, raised_to=after),) * 10


def _clean() -> Iterator[tuple[str, Scenario]]:
    for name, keys in ("equal", EQUAL), ("unequal", UNEQUAL):
        for load in 0.7, 0.95, 1.3:
            yield f"clean {name} {load:.0%}", Scenario(keys=keys, load=load)


def _told() -> Iterator[tuple[str, Scenario]]:
    plain = Scenario(keys=EQUAL, load=0.95)
    for name, habits in {
        "RetryInfo missing": Habits(delay=Delay.MISSING),
        "RetryInfo 10 to 60 s too long": Habits(delay=Delay.LONG),
        "RetryInfo an hour": Habits(delay=Delay.HOUR),
        "RetryInfo in whole seconds": Habits(delay=Delay.WHOLE),
        "no quotaValue": Habits(value=False),
    }.items():
        yield name, replace(plain, habits=habits)
    yield "refused calls are counted", replace(plain, load=0.8, habits=Habits(counts_refused=True))


def _cases() -> Iterator[tuple[str, Scenario]]:
    yield from _clean()
    yield (
        "others 30 % of all keys",
        Scenario(keys=others(EQUAL, Others(0.3)), load=0.66 / 0.7, end=40 * MINUTE),
    )
    yield (
        "after others on half the keys",
        Scenario(
            keys=others(EQUAL, Others(0.8, 0.0, 20 * MINUTE), 2),
            load=0.95,
            begin=23 * MINUTE,
            end=120 * MINUTE,
        ),
    )
    yield (
        "3 x 1000, after others of 3 min",
        Scenario(
            keys=others((KeyPlan(1000),) * 3, Others(0.8, 2 * MINUTE, 5 * MINUTE)),
            load=0.95,
            begin=8 * MINUTE,
            end=20 * MINUTE,
        ),
    )
    yield (
        "raised from 5 to 50",
        Scenario(keys=raised(5, 50, 10 * MINUTE), load=0.95, begin=20 * MINUTE, end=40 * MINUTE),
    )
    yield from _told()


CASES: dict[str, Scenario] = dict(_cases())
"""The cases, with windows that slide."""


def counted(scenario: Scenario, counting: Counting) -> Scenario:
    """Return a scenario in which Google counts so."""
    return replace(scenario, habits=replace(scenario.habits, counting=counting))
