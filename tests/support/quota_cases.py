"""The cases in which a pool of keys is tried: what quotas do, what others do, and how refusals are told."""

from collections.abc import Iterator
from dataclasses import replace

from tests.support.google_quotas import DayPlan, Delay, Habits, KeyPlan, Others
from tests.support.google_windows import Counting
from tests.support.scenario import MINUTE, Client, Conversations, Prompts, Scenario

EQUAL = (KeyPlan(),) * 10
UNEQUAL = tuple(KeyPlan(quota) for quota in (5, 8, 11, 14, 18, 23, 29, 37, 47, 60))


def load(share: float) -> tuple[Client, ...]:
    """Return one client with this load."""
    return (Client("one", share),)


def tight(projects: tuple[KeyPlan, ...], share: float) -> Scenario:
    """Return a scenario in which requests wait long enough for the bound to serve all of them at 95 %."""
    return Scenario(projects=projects, clients=load(share), max_wait=20.0)


def others(projects: tuple[KeyPlan, ...], some: Others, every: int = 1) -> tuple[KeyPlan, ...]:
    """Return the projects with other users of each, or of every so many."""
    return tuple(
        plan if number % every else replace(plan, others=some) for number, plan in enumerate(projects)
    )


def _clean() -> Iterator[tuple[str, Scenario]]:
    for name, projects in ("equal", EQUAL), ("unequal", UNEQUAL):
        for share in 0.7, 0.95, 1.3:
            yield f"clean {name} {share:.0%}", tight(projects, share)
    for number in 2, 4:
        yield (
            f"clean, {number} processes, 95%",
            replace(tight(EQUAL, 0.95), processes=number),
        )


def _shared() -> Iterator[tuple[str, Scenario]]:
    yield (
        "others 30 % of all keys",
        Scenario(projects=others(EQUAL, Others(0.3)), clients=load(0.66 / 0.7), end=40 * MINUTE),
    )
    yield (
        "after others on half the keys",
        Scenario(
            projects=others(EQUAL, Others(0.8, 0.0, 20 * MINUTE), 2),
            clients=load(0.95),
            begin=23 * MINUTE,
            end=120 * MINUTE,
        ),
    )
    yield (
        "3 x 1000, after others of 3 min",
        Scenario(
            projects=others((KeyPlan(1000),) * 3, Others(0.8, 2 * MINUTE, 5 * MINUTE)),
            clients=load(0.95),
            begin=8 * MINUTE,
            end=20 * MINUTE,
        ),
    )
    yield (
        "raised from 5 to 50",
        Scenario(
            projects=(KeyPlan(5, raised_at=10 * MINUTE, raised_to=50),) * 10,
            clients=load(1.1),
            begin=20 * MINUTE,
            end=40 * MINUTE,
        ),
    )
    yield (
        "lowered from 50 to 5",
        Scenario(
            projects=(KeyPlan(50, raised_at=10 * MINUTE, raised_to=5),) * 10,
            clients=load(0.95),
            max_wait=20.0,
            begin=12 * MINUTE,
            end=40 * MINUTE,
        ),
    )
    yield (
        "Redis away for 60 s",
        replace(
            tight(EQUAL, 0.95),
            processes=2,
            apart=(10 * MINUTE, 11 * MINUTE),
            begin=13 * MINUTE,
            end=25 * MINUTE,
        ),
    )


def _told() -> Iterator[tuple[str, Scenario]]:
    plain = tight(EQUAL, 0.95)
    for name, habits in {
        "RetryInfo missing": Habits(delay=Delay.MISSING),
        "RetryInfo 10 to 60 s too long": Habits(delay=Delay.LONG),
        "RetryInfo an hour": Habits(delay=Delay.HOUR),
        "RetryInfo in whole seconds": Habits(delay=Delay.CEILING),
        "no quotaValue": Habits(value=False),
    }.items():
        yield name, replace(plain, habits=habits)
    yield (
        "refused calls are counted",
        replace(plain, clients=load(0.8), habits=Habits(counts_refused=True)),
    )


def _storms() -> Iterator[tuple[str, Scenario]]:
    # Seven requests a second: a retry budget is spent, and quotas are not.
    plenty = Scenario(projects=(KeyPlan(1000),) * 10, clients=load(0.04))
    for share in 0.45, 0.6:
        yield f"503 on {share:.0%} of calls", replace(plenty, habits=Habits(overloaded=share))


def _day() -> Iterator[tuple[str, Scenario]]:
    midnight = 6 * MINUTE
    for late in 0.2, 1.0, 5.0, 30.0:
        day = DayPlan(250, 20, midnight, late)
        yield (
            f"a new day after {late:g} s",
            Scenario(
                projects=(KeyPlan(day=day),) * 10,
                clients=load(0.95),
                begin=midnight,
                end=midnight + 25 * MINUTE,
            ),
        )


def _prompts() -> Iterator[tuple[str, Scenario]]:
    for tokens, median in (60_000, 20_000.0), (250_000, 40_000.0):
        yield (
            f"{tokens:,} tokens a minute",
            Scenario(
                projects=(KeyPlan(1000, tokens=tokens),) * 10, clients=load(0.95), prompts=Prompts(median)
            ),
        )


def _clients() -> Iterator[tuple[str, Scenario]]:
    yield (
        "a light client beside a heavy one",
        Scenario(projects=EQUAL, clients=(Client("light", 0.1), Client("heavy", 3.0))),
    )
    for share in 0.2, 1.0:
        yield (
            f"130 %, {share:.0%} return as told",
            Scenario(projects=EQUAL, clients=load(1.3), returning=share),
        )
    yield (
        "conversations",
        Scenario(projects=EQUAL, clients=load(0.6), conversations=Conversations(), begin=8 * MINUTE),
    )
    yield "20 % owned, 110 %", Scenario(projects=EQUAL, clients=load(1.1), bound=0.2)


CASES: dict[str, Scenario] = dict(
    case for cases in (_clean, _shared, _told, _storms, _day, _prompts, _clients) for case in cases()
)
"""The cases, with windows that slide."""


def counted(scenario: Scenario, counting: Counting) -> Scenario:
    """Return a scenario in which Google counts so."""
    return replace(scenario, habits=replace(scenario.habits, counting=counting))
