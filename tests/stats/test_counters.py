"""What is counted, and the histories and medians that are read off it."""

import pytest

from proxycore.stats.counters import Counters, median_in
from proxycore.stats.history import FIRST_BYTE_BOUNDS, History, last_hour
from tests.support.clocks import TurnedClock


def test_counts_of_several_processes_add_up_by_name_and_labels() -> None:
    one, other, total = Counters(), Counters(), Counters()
    one.add("requests", "served", "2")
    one.add("requests", "served", "2")
    other.add("requests", "served", "2", n=3)
    other.add("requests", "left", "1")
    for counters in (one, other):
        total.merge(counters.drain())
    assert dict(total.of("requests")) == {("served", "2"): 5, ("left", "1"): 1}
    assert total.sums("requests", 0) == {("served",): 5, ("left",): 1}
    assert total.sums("requests") == {(): 6}


def test_what_was_taken_is_not_taken_again() -> None:
    counters, total = Counters(), Counters()
    counters.add("attempts")
    total.merge(counters.drain())
    total.merge(counters.drain())
    counters.add("attempts")
    total.merge(counters.drain())
    assert dict(total.of("attempts")) == {(): 2}
    assert total.entries() == [("attempts", (), 2)]


def test_a_measurement_counts_in_the_first_bucket_that_it_fits() -> None:
    counters = Counters()
    for seconds in (0.1, 0.2, 0.2, 5.0):
        counters.measure("duration", (0.1, 0.2, 1.0), seconds, "flash")
    ((labels, counts, total),) = counters.measured("duration", (0.1, 0.2, 1.0))
    assert (labels, counts) == (("flash",), [1, 2, 0, 1])
    assert total == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([], None), ([0, 0, 0], None), ([2, 0, 0], 0.5), ([0, 2, 0], 1.5), ([1, 1, 0], 1.0), ([0, 0, 9], 2.0)],
)
def test_a_median_is_found_within_its_bucket(counts: list[int], expected: float | None) -> None:
    assert median_in((1.0, 2.0), counts) == expected


def test_the_last_hour_has_every_minute_and_forgets_older_ones() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for _ in range(3):
        history.request()
    history.refusal()
    history.first_byte(0.45)
    clock.turn(60)
    history.request()
    minutes = last_hour(counters, clock)
    assert len(minutes) == 60
    assert [minute["requests"] for minute in minutes[-3:]] == [0, 3, 1]
    assert [minute["refusals"] for minute in minutes[-3:]] == [0, 1, 0]
    assert minutes[-1]["time"] == clock() // 60 * 60
    assert minutes[-2]["first_byte"] == pytest.approx(0.4, abs=0.1)
    assert minutes[-1]["first_byte"] is None
    clock.turn(3600)
    history.request()
    assert counters.sums("minute.requests") == {(): 1}
    assert list(counters.measured("minute.first_byte", FIRST_BYTE_BOUNDS)) == []
    assert [minute["requests"] for minute in last_hour(counters, clock)][-2:] == [0, 1]


@pytest.mark.parametrize("seconds", [0.002, 0.03, 0.4, 4.0, 40.0])
def test_the_last_hours_first_bytes_are_right_in_their_order_of_magnitude(seconds: float) -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for _ in range(10):
        history.first_byte(seconds)
    told = last_hour(counters, clock)[-1]["first_byte"]
    assert seconds / 2 <= told <= seconds * 2
