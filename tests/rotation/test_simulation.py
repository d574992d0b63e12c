"""A pool near its limit: nothing is wasted, whoever waits waits in order, and what is told is true.

On a simulated clock; tests/bench/quotas.py measures the same over sockets.
"""

import math
from collections.abc import Callable

import pytest

from tests.support.old_simulation import Simulation

pytestmark = pytest.mark.no_cover  # it would take three times as long, for lines that other tests run as well
EQUAL = [15] * 10
UNEQUAL = [5, 8, 11, 14, 18, 23, 29, 37, 47, 60]
SEEDS = [1, 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_at_70_percent_all_are_served_and_hardly_a_call_is_refused(seed: int) -> None:
    figures = Simulation(EQUAL, 0.7, seed=seed).run()
    assert figures.share == 1
    assert figures.calls_for_each <= 1.01


@pytest.mark.parametrize("window", [60.0, 6.0])
def test_at_95_percent_nearly_all_are_served_with_hardly_a_call_refused(window: float) -> None:
    runs = [Simulation(EQUAL, 0.95, window, window / 3, measured=20, seed=seed).run() for seed in SEEDS]
    assert sum(run.served for run in runs) / sum(run.asked for run in runs) >= 0.995
    assert max(run.calls_for_each for run in runs) <= 1.03


@pytest.mark.parametrize("seed", SEEDS)
def test_at_130_percent_the_quota_is_used_up_in_order_and_clients_that_retry_as_asked_are_served(
    seed: int,
) -> None:
    figures = Simulation(EQUAL, 1.3, measured=20, seed=seed).run()
    assert figures.used.total() / (20 * sum(EQUAL)) >= 0.97
    assert figures.calls_for_each <= 1.03
    assert figures.in_order >= 0.99
    assert len(figures.back) > 100
    assert sum(figures.back) / len(figures.back) >= 0.9


def test_at_95_percent_unequal_keys_are_spent_alike() -> None:
    runs = [Simulation(UNEQUAL, 0.95, measured=20, seed=seed).run() for seed in SEEDS]
    used = [sum(run.used[str(n)] for run in runs) for n in range(len(UNEQUAL))]
    whole = sum(used) / sum(UNEQUAL)
    for calls, quota in zip(used, UNEQUAL, strict=True):
        assert calls / quota == pytest.approx(whole, rel=0.05)


def test_keys_of_one_project_share_its_quota() -> None:
    figures = Simulation([15] * 20, 0.95, keys_each=5, measured=20).run()
    assert figures.share >= 0.995
    assert figures.calls_for_each <= 1.03


@pytest.mark.parametrize("load", [0.95, 1.3])
def test_workers_that_publish_to_each_other_do_nearly_as_well_as_one(load: float) -> None:
    one = [Simulation(EQUAL, load, measured=15, seed=seed).run() for seed in SEEDS[:1]]
    four = [Simulation(EQUAL, load, measured=15, seed=seed, workers=4).run() for seed in SEEDS[:1]]
    assert sum(run.served for run in four) >= 0.98 * sum(run.served for run in one)
    for alone, together in zip(one, four, strict=True):
        assert together.calls_for_each <= alone.calls_for_each + 0.03
        assert together.used.total() >= 0.97 * alone.used.total()


def test_what_others_spend_on_a_key_is_left_to_them() -> None:
    figures = Simulation(EQUAL, 0.8, measured=30, stranger="0").run()
    assert figures.share >= 0.995
    assert figures.calls_for_each <= 1.05


def test_windows_that_do_not_slide_waste_little_either() -> None:
    figures = Simulation(EQUAL, 0.95, measured=30, fixed=True).run()
    assert figures.share >= 0.98
    assert figures.calls_for_each <= 1.05


@pytest.mark.parametrize("window", [60.0, 6.0])
@pytest.mark.parametrize("tell", [math.ceil, math.floor])
def test_times_in_whole_seconds_waste_little_either(window: float, tell: Callable[[float], float]) -> None:
    figures = Simulation(EQUAL, 0.95, window, window / 3, measured=20, tell=tell).run()
    assert figures.share >= 0.99
    assert figures.calls_for_each <= 1.03


def test_a_key_whose_quota_is_not_known_is_never_held_back() -> None:
    figures = Simulation([15] * 9 + [100_000], 0.001, measured=5).run()
    assert figures.share == 1
    assert figures.calls_for_each <= 1.03
