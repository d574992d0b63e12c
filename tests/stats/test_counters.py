"""What is counted, and the quantiles that are read off it."""

import pytest

from proxycore.stats.counters import Counters, quantile_in


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
    ("counts", "median", "most"),
    [
        ([], None, None),
        ([0, 0, 0], None, None),
        ([2, 0, 0], 0.5, 0.95),
        ([0, 2, 0], 1.5, 1.95),
        ([1, 1, 0], 1.0, 1.9),
        ([19, 1, 0], 10 / 19, 1.0),
        ([0, 0, 9], 2.0, 2.0),
    ],
)
def test_a_quantile_is_found_within_its_bucket(
    counts: list[int], median: float | None, most: float | None
) -> None:
    assert quantile_in((1.0, 2.0), counts, 0.5) == pytest.approx(median)
    assert quantile_in((1.0, 2.0), counts, 0.95) == pytest.approx(most)
