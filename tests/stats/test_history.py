"""What became of the requests of each minute of the last hour."""

import pytest

from proxycore.http.access_record import AccessRecord, AttemptRecord, RequestOutcome, failed_over
from proxycore.stats.counters import Counters
from proxycore.stats.history import FIRST_BYTE_BOUNDS, Ending, History, last_hour, last_hour_json
from tests.support.clocks import TurnedClock


def record(since: float, status: int = 200, key: str = "1", *tried: tuple[str, str]) -> AccessRecord:
    """A request that has ended, with the key and the verdict of each attempt."""
    attempts = [AttemptRecord(name, since, verdict=verdict) for name, verdict in tried]
    return AccessRecord("", since, key=key, status=status, tried=attempts)


def test_the_last_hour_has_every_minute_and_forgets_older_ones() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for _ in range(3):
        history.ended(record(clock()), RequestOutcome.SERVED)
    history.refusal()
    history.first_byte(record(clock()), 0.45)
    clock.turn(60)
    history.ended(record(clock()), RequestOutcome.SERVED)
    minutes = last_hour_json(counters, clock)
    assert len(minutes) == 60
    assert [minute["requests"] for minute in minutes[-3:]] == [0, 3, 1]
    assert [minute["refusals"] for minute in minutes[-3:]] == [0, 1, 0]
    assert minutes[-1]["time"] == clock() // 60 * 60
    assert minutes[-2]["first_byte"] == pytest.approx(0.4, abs=0.1)
    assert minutes[-1]["first_byte"] is None
    clock.turn(3600)
    history.ended(record(clock()), RequestOutcome.SERVED)
    assert counters.sums("minute.ended") == {(): 1}
    assert list(counters.measured("minute.first_byte", FIRST_BYTE_BOUNDS)) == []
    assert [minute["requests"] for minute in last_hour_json(counters, clock)][-2:] == [0, 1]


def test_each_request_of_a_minute_counts_in_one_member() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for outcome in RequestOutcome:
        history.ended(record(clock()), outcome)
    history.ended(record(clock(), 200, "2", ("1", "failover"), ("2", "served")), RequestOutcome.SERVED)
    minute = last_hour_json(counters, clock)[-1]
    members = ("served", "failed_over", "refused", "failed", "client_errors", "left", "cut")
    assert [minute[name] for name in members] == [1] * 7
    assert minute["requests"] == 7


def test_a_request_counts_in_the_minute_in_which_it_arrived() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    early = record(clock())
    clock.turn(120)
    history.ended(record(clock(), 503), RequestOutcome.FAILED)
    history.first_byte(early, 110.0)
    history.ended(early, RequestOutcome.SERVED)
    minutes = last_hour(counters, clock)
    assert [dict(minute.ended) for minute in minutes[-3:]] == [
        {Ending("served", 200, failed_over=False): 1},
        {},
        {Ending("failed", 503, failed_over=False): 1},
    ]
    assert [sum(minute.first_bytes) for minute in minutes[-3:]] == [1, 0, 0]


def test_a_request_that_arrived_more_than_an_hour_ago_is_in_no_minute() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    early = record(clock())
    clock.turn(3660)
    history.ended(record(clock()), RequestOutcome.SERVED)
    history.ended(early, RequestOutcome.SERVED)
    assert sum(minute.ended.total() for minute in last_hour(counters, clock)) == 1
    clock.turn(60)
    history.refusal()
    assert counters.sums("minute.ended") == {(): 1}


def test_counts_of_several_processes_add_up() -> None:
    clock, total = TurnedClock(), Counters()
    for _ in range(3):
        counters = Counters()
        history = History(counters, clock)
        history.ended(record(clock()), RequestOutcome.SERVED)
        history.first_byte(record(clock()), 0.25)
        total.merge(counters.drain())
    minute = last_hour(total, clock)[-1]
    assert (minute.ended.total(), sum(minute.first_bytes)) == (3, 3)


@pytest.mark.parametrize("seconds", [0.002, 0.03, 0.4, 4.0, 40.0])
def test_the_last_hours_first_bytes_are_right_in_their_order_of_magnitude(seconds: float) -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for _ in range(10):
        history.first_byte(record(clock()), seconds)
    told = last_hour_json(counters, clock)[-1]
    for name in ("first_byte", "first_byte_p95"):
        assert seconds / 2 <= told[name] <= seconds * 2.5


def test_the_slowest_first_bytes_show_in_the_95th_percentile_only() -> None:
    clock, counters = TurnedClock(), Counters()
    history = History(counters, clock)
    for seconds in [0.4] * 90 + [15.0] * 10:
        history.first_byte(record(clock()), seconds)
    told = last_hour_json(counters, clock)[-1]
    assert 0.3 <= told["first_byte"] <= 0.5
    assert told["first_byte_p95"] == pytest.approx(15)


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([], False),
        ([("2", "served")], False),
        ([("1", "failover"), ("2", "served")], True),
        ([("2", "retry"), ("2", "served")], False),
        ([("2", "retry"), ("1", "retry"), ("2", "served")], True),
        ([("1", "abandoned"), ("2", "served")], False),
        ([("2", "served"), ("1", "abandoned")], False),
    ],
    ids=str,
)
def test_a_request_failed_over_if_another_key_had_failed(
    tried: list[tuple[str, str]], expected: bool
) -> None:
    attempts = record(0.0, 200, "2", *tried).tried
    assert failed_over(RequestOutcome.SERVED, "2", attempts) is expected
    assert failed_over(RequestOutcome.CUT, "2", attempts) is False
