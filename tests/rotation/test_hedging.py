"""Which late requests are sent a second time: after how long, and how many."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.rotation.hedging import Hedging
from tests.support.clocks import TurnedClock

KIND = "gemini-2.5-flash", True


def learned(*times: float, clock: TurnedClock | None = None) -> Hedging:
    hedging = Hedging(0.05, clock or TurnedClock())
    for seconds in times:
        hedging.learn(KIND, seconds)
    return hedging


@pytest.mark.parametrize("scale", [0.01, 0.3, 5.0, 100.0])
def test_a_request_is_late_after_the_95th_percentile_give_or_take_a_tenth(scale: float) -> None:
    draw = random.Random(1)  # noqa: S311 - the same times every time
    times = [draw.lognormvariate(0.0, 0.5) * scale for _ in range(900)]
    assert learned(*times).patience(KIND) == pytest.approx(sorted(times)[855], rel=0.1)


def test_fifty_times_have_to_be_known() -> None:
    assert learned(*[1.0] * 49).patience(KIND) is None
    assert learned(*[1.0] * 50).patience(KIND) == pytest.approx(1.0, rel=0.1)


def test_kinds_are_learned_apart() -> None:
    hedging = learned(*[1.0] * 50)
    assert hedging.patience((KIND[0], False)) is None
    assert hedging.patience(("gemini-2.5-pro", True)) is None


def test_times_that_change_are_learned_again() -> None:
    hedging = learned(*[0.1] * 5000)
    for _ in range(500):
        hedging.learn(KIND, 3.0)
    assert hedging.patience(KIND) == pytest.approx(3.0, rel=0.1)
    for _ in range(5000):
        hedging.learn(KIND, 0.1)
        hedging.patience(KIND)
    assert hedging.patience(KIND) == pytest.approx(0.1, rel=0.1)


def test_times_are_forgotten_after_a_while() -> None:
    clock = TurnedClock()
    hedging = learned(*[1.0] * 1000, clock=clock)
    clock.turn(600.0)
    assert hedging.patience(KIND) is not None
    clock.turn(1800.0)
    assert hedging.patience(KIND) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_any_time_can_be_learned(seconds: float) -> None:
    assert learned(*[seconds] * 50).patience(KIND) is not None


def test_invented_models_take_no_memory_and_no_place_of_others() -> None:
    hedging = learned(*[1.0] * 50)
    for number in range(1000):
        hedging.learn((f"invented-{number}", False), 1.0)
    assert hedging.patience(KIND) is not None
    assert len(hedging._times) == 128


@given(st.sampled_from([0.01, 0.05, 0.5, 1.0]), st.lists(st.booleans(), max_size=500))
def test_no_more_than_the_share_is_spent(share: float, late: list[bool]) -> None:
    hedging, spent = Hedging(share, TurnedClock()), 0
    for count, is_late in enumerate(late, 1):
        hedging.earn()
        if is_late and hedging.affordable:
            hedging.spend()
            spent += 1
        assert spent <= share * count + 1e-9


def test_ten_are_saved_up_at_most() -> None:
    hedging, spent = Hedging(1.0, TurnedClock()), 0
    for _ in range(1000):
        hedging.earn()
    while hedging.affordable:
        hedging.spend()
        spent += 1
    assert spent == 10


@pytest.mark.parametrize("seed", range(5))
def test_two_late_calls_in_a_hundred_are_hidden_by_five_hedges_in_a_hundred(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - the same times every time

    def call() -> float:
        return draw.lognormvariate(0.0, 0.35) * (10.0 if draw.random() < 0.02 else 1.0)

    hedging, alone, hedged, hedges = Hedging(0.05, TurnedClock()), [], [], 0
    for _ in range(10_000):
        hedging.earn()
        seconds = call()
        alone.append(seconds)
        patience = hedging.patience(KIND)
        if patience is not None and seconds > patience and hedging.affordable:
            hedging.spend()
            hedges += 1
            seconds = min(seconds, patience + call())
        hedging.learn(KIND, seconds)
        hedged.append(seconds)
    assert sorted(hedged)[9900] <= 0.4 * sorted(alone)[9900]
    assert hedges <= 500
