"""What became of requests, slot by slot of time, and their times to first byte. Pure.

A request counts in the slot in which it arrived, and so does its time to first byte. The last hour is counted
here, by minute, in counters like the others, with the minute as a label: so they add up over processes. Slots
of longer times are in the state file (`storage.slots`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxycore.clock import Clock
from proxycore.http.access_record import AccessRecord, RequestOutcome, failed_over
from proxycore.stats.counters import Counters, quantile_in

Json = dict[str, Any]

FIRST_BYTE_BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 120, 300)
"""Seconds: the buckets of times to first byte."""

MINUTES = 60
"""Minutes that are kept."""

OUTCOMES: dict[str, str] = {
    RequestOutcome.SERVED: "served",
    RequestOutcome.CLIENT_ERROR: "client_errors",
    RequestOutcome.REFUSED: "refused",
    RequestOutcome.FAILED: "failed",
    RequestOutcome.LEFT: "left",
    RequestOutcome.CUT: "cut",
}
"""The members of sums by outcome."""

_FAILED_OVER = "failed_over"
_MEMBERS = ("served", _FAILED_OVER, "refused", "failed", "client_errors", "left", "cut")
_NAMES = ("minute.ended", "minute.refusals", "minute.first_byte.bucket", "minute.first_byte.sum")
_YES, _NO = "1", ""  # labels


class Ending(NamedTuple):
    """How a request ended. `status` is that of the response, 499 if the client left.

    `failed_over` is whether it was served after another key had failed.
    """

    outcome: str
    status: int
    failed_over: bool


def _no_values() -> list[int]:
    return [0] * (len(FIRST_BYTE_BOUNDS) + 1)


@dataclass(slots=True)
class Slot:
    """The requests that arrived in a slot of time, which began at `time`, in seconds since the epoch.

    `first_bytes` has how many times to first byte are in each bucket of `FIRST_BYTE_BOUNDS`.
    """

    time: int
    ended: Counter[Ending] = field(default_factory=Counter)
    first_bytes: list[int] = field(default_factory=_no_values)

    def json(self) -> Json:
        """Return the sums: requests by how they ended, each counted once, and the quantiles."""
        counts = dict.fromkeys(_MEMBERS, 0)
        for ending, n in self.ended.items():
            counts[_FAILED_OVER if ending.failed_over else OUTCOMES[ending.outcome]] += n
        return {
            "time": self.time,
            **counts,
            "first_byte": self._quantile(0.5),
            "first_byte_p95": self._quantile(0.95),
        }

    def _quantile(self, share: float) -> float | None:
        seconds = quantile_in(FIRST_BYTE_BOUNDS, self.first_bytes, share)
        return None if seconds is None else round(seconds, 3)


class History:
    """Counts what becomes of the requests of each minute. `clock` returns the moment, in seconds.

    Minutes are the steady clock's: setting the wall clock neither mixes nor loses any.
    """

    def __init__(self, counters: Counters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._label = ""  # of the latest minute
        self._begins = self._ends = 0.0  # when it does

    def ended(self, record: AccessRecord, outcome: str) -> None:
        """Count a request that has ended."""
        over = _YES if failed_over(outcome, record.key, record.tried) else _NO
        self._counters.add("minute.ended", self._minute(record.since), outcome, str(record.status), over)

    def refusal(self) -> None:
        """Count a call that the upstream refused now."""
        self._counters.add("minute.refusals", self._minute(self._clock()))

    def first_byte(self, record: AccessRecord, seconds: float) -> None:
        """Count the time to first byte of a response."""
        self._counters.measure("minute.first_byte", FIRST_BYTE_BOUNDS, seconds, self._minute(record.since))

    def _minute(self, moment: float) -> str:
        """Return the label of the minute that a moment is in."""
        if self._begins <= moment < self._ends:
            return self._label
        minute = int(moment // 60)
        if moment < self._begins:
            return str(minute)
        self._label, self._begins, self._ends = str(minute), 60.0 * minute, 60.0 * (minute + 1)
        forget_old(self._counters, moment)
        return self._label


def forget_old(counters: Counters, now: float) -> None:
    """Drop the minutes that are more than an hour old at the moment `now`."""
    oldest = int(now // 60) - MINUTES
    for name in _NAMES:
        counters.forget(name, [labels for labels in counters.of(name) if int(labels[0]) <= oldest])


def last_hour(counters: Counters, clock: Clock) -> list[Slot]:
    """Return the last hour by minute, the oldest first, the current one last.

    Their times are the minutes of the wall clock in which they began.
    """
    minutes = {str(minute): Slot(_time_of(minute, clock)) for minute in _minutes(clock)}
    for (label, outcome, status, over), n in counters.of("minute.ended").items():
        if slot := minutes.get(label):
            slot.ended[Ending(outcome, int(status), over == _YES)] += int(n)
    for labels, counts, _ in counters.measured("minute.first_byte", FIRST_BYTE_BOUNDS):
        if slot := minutes.get(labels[0]):
            slot.first_bytes = counts
    return list(minutes.values())


def last_hour_json(counters: Counters, clock: Clock) -> list[Json]:
    """Return the last hour as the status has it: with all requests, and refusals by the upstream."""
    refusals = counters.of("minute.refusals")
    return [
        slot.json() | {"requests": slot.ended.total(), "refusals": int(refusals.get((str(minute),), 0))}
        for minute, slot in zip(_minutes(clock), last_hour(counters, clock), strict=True)
    ]


def _minutes(clock: Clock) -> range:
    current = int(clock() // 60)
    return range(current - MINUTES + 1, current + 1)


def _time_of(minute: int, clock: Clock) -> int:
    return int(clock.to_wall(minute * 60) // 60) * 60
