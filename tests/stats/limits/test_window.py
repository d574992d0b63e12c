"""What was counted leaves a window after its period, and a day at Google's midnight."""

import pytest

from proxycore.rotation.bench import end_of_day
from proxycore.stats.limits.client_limits import Counted, Period, Rate
from proxycore.stats.limits.window import SlidingWindow, window_of
from tests.support.clocks import TurnedClock


def rate(amount: int, period: Period) -> Rate:
    return Rate(Counted.REQUESTS, amount, period)


def test_a_count_leaves_after_the_period_and_not_before() -> None:
    window = SlidingWindow(rate(2, Period.MINUTE))
    window.add(1, 100.0)
    window.add(1, 110.0)
    assert window.opens_at(2, 120.0) == 160.0
    window.roll(159.9)
    assert window.used == 2
    window.roll(160.0)
    assert window.used == 1
    assert window.opens_at(1, 160.0) == 170.0


def test_what_is_taken_back_is_that_of_its_moment() -> None:
    window = SlidingWindow(rate(3, Period.MINUTE))
    for at in (100.0, 110.0, 120.0):
        window.add(1, at)
    window.remove(1, 110.0)
    window.roll(161.0)
    assert window.used == 1
    assert window.opens_at(1, 161.0) == 180.0
    window.remove(1, 100.0)  # it has left by itself
    assert window.used == 1


def test_of_many_counts_none_leaves_early_and_none_a_hundredth_late() -> None:
    window = SlidingWindow(rate(1, Period.MINUTE))
    for number in range(6000):
        window.add(1, number / 100)
    for now in (60.5, 75.0, 90.0, 119.0):
        window.roll(now)
        inside = 6000 - int((now - 60) * 100)
        assert inside - 1 <= window.used <= inside + 60
    window.roll(120.1)
    assert window.used == 0
    assert not window.entries()


def test_a_window_that_is_written_down_counts_the_same_afterwards() -> None:
    window, later = SlidingWindow(rate(1, Period.HOUR)), SlidingWindow(rate(1, Period.HOUR))
    for number in range(500):
        window.add(2, number * 7.0)
    written = window.entries()
    assert len(written) <= 101
    later.restore(written)
    assert later.used == window.used == 1000
    for now in (3700.0, 5000.0, 7000.0):
        window.roll(now)
        later.roll(now)
        assert 0 <= later.used - window.used <= 20


@pytest.mark.parametrize("hours", [0, 5, 13])
def test_a_day_ends_at_googles_midnight(hours: int) -> None:
    clock = TurnedClock()
    clock.turn(hours * 3600)
    window = window_of(rate(5, Period.DAY), clock)
    ends = end_of_day(clock(), clock)
    window.add(5, clock())
    assert window.opens_at(5, clock()) == ends
    clock.turn(ends - clock() - 1)
    window.roll(clock())
    assert window.used == 5
    written = window.entries()
    clock.turn(1)
    window.roll(clock())
    assert window.used == 0
    window.restore(written)  # they are of yesterday
    assert window.used == 0
