"""A pool near its limit: nothing is wasted, whoever waits waits in order, and what is told is true.

On a simulated clock; tests/bench/quotas.py measures the same over sockets.
"""

from dataclasses import replace

import pytest

from tests.support.google_quotas import Delay, Habits, KeyPlan, Others
from tests.support.google_windows import Counting
from tests.support.quota_cases import EQUAL, UNEQUAL, load
from tests.support.scenario import Scenario
from tests.support.simulation import Simulation
from tests.support.simulation_figures import Figures

pytestmark = pytest.mark.no_cover  # it would take three times as long, for lines that other tests run as well
SEEDS = [1, 2]


def run(scenario: Scenario, seed: int = 1) -> Figures:
    return Simulation(scenario, seed).run()


def scenario(share: float, *, minutes: int = 12, period: float = 60.0) -> Scenario:
    habits = Habits(period=period)
    return Scenario(
        projects=EQUAL,
        clients=load(share),
        habits=habits,
        begin=3 * period,
        end=(3 + minutes) * period,
        max_wait=period / 3,
        latency=0.01,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_at_70_percent_all_are_served_and_hardly_a_call_is_refused(seed: int) -> None:
    figures = run(scenario(0.7), seed)
    assert figures.served == 1
    assert figures.calls_per_answer <= 1.01


@pytest.mark.parametrize("period", [60.0, 6.0])
def test_at_95_percent_nearly_all_are_served_with_hardly_a_call_refused(period: float) -> None:
    runs = [run(scenario(0.95, minutes=20, period=period), seed) for seed in SEEDS]
    assert sum(one.answers for one in runs) / sum(len(one.records) for one in runs) >= 0.995
    assert max(one.calls_per_answer for one in runs) <= 1.03


@pytest.mark.parametrize("seed", SEEDS)
def test_at_130_percent_the_quota_is_used_up_in_order_and_clients_that_retry_as_asked_are_served(
    seed: int,
) -> None:
    figures = run(replace(scenario(1.3, minutes=20), returning=0.2), seed)
    assert figures.used >= 0.97
    assert figures.calls_per_answer <= 1.03
    assert figures.in_order >= 0.99
    assert len(figures.returns) > 100
    assert figures.served_again >= 0.9


def test_at_95_percent_unequal_keys_are_spent_alike() -> None:
    runs = [run(replace(scenario(0.95, minutes=20), projects=UNEQUAL), seed) for seed in SEEDS]
    whole = sum(one.used for one in runs)
    for shares in zip(*(one.shares for one in runs), strict=True):
        assert sum(shares) == pytest.approx(whole, rel=0.05)


def test_keys_of_one_project_share_its_quota() -> None:
    figures = run(replace(scenario(0.95, minutes=20), projects=(KeyPlan(keys=5),) * 20))
    assert figures.served >= 0.995
    assert figures.calls_per_answer <= 1.03


@pytest.mark.parametrize("share", [0.95, 1.3])
def test_workers_that_publish_to_each_other_do_nearly_as_well_as_one(share: float) -> None:
    alone = run(scenario(share, minutes=15))
    together = run(replace(scenario(share, minutes=15), processes=4))
    assert together.answers >= 0.98 * alone.answers
    assert together.calls_per_answer <= alone.calls_per_answer + 0.03
    assert together.used >= 0.97 * alone.used


def test_what_others_spend_on_a_key_is_left_to_them() -> None:
    shared = replace(EQUAL[0], others=Others(0.5))
    figures = run(replace(scenario(0.8 / 0.95, minutes=30), projects=(shared, *EQUAL[1:])))
    assert figures.served >= 0.995
    assert figures.calls_per_answer <= 1.05


def test_windows_that_do_not_slide_waste_little_either() -> None:
    figures = run(replace(scenario(0.95, minutes=30), habits=Habits(Counting.FIXED)))
    assert figures.served >= 0.98
    assert figures.calls_per_answer <= 1.05


@pytest.mark.parametrize("period", [60.0, 6.0])
@pytest.mark.parametrize("delay", [Delay.CEILING, Delay.FLOOR])
def test_times_in_whole_seconds_waste_little_either(period: float, delay: Delay) -> None:
    whole = scenario(0.95, minutes=20, period=period)
    figures = run(replace(whole, habits=replace(whole.habits, delay=delay)), seed=2)
    assert figures.served >= 0.99
    assert figures.calls_per_answer <= 1.03


def test_a_key_whose_quota_is_not_known_is_never_held_back() -> None:
    figures = run(replace(scenario(0.001, minutes=5), projects=(*EQUAL[1:], KeyPlan(100_000))))
    assert figures.served == 1
    assert figures.calls_per_answer <= 1.03
