"""The last hour, minute by minute: requests, refusals, and times to first byte. Pure.

They are counters like the others, with the minute as their label, and so add up over processes.
"""

from collections.abc import Callable
from typing import Any

from proxycore.clock import Clock
from proxycore.stats.counters import Counters, median_in

FIRST_BYTE_BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 120, 300)
"""Seconds: the buckets of times to first byte."""

MINUTES = 60
"""Minutes that are kept."""

_NAMES = ("minute.requests", "minute.refusals", "minute.first_byte.bucket", "minute.first_byte.sum")


class History:
    """Counts what happens in the current minute. `clock` returns the moment, in seconds.

    Minutes are the steady clock's: setting the wall clock neither mixes nor loses any.
    """

    def __init__(self, counters: Counters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._minute = ""  # the current one, as a label
        self._ends = 0.0  # when it ends

    def request(self) -> None:
        """Count a request that has ended."""
        self._counters.add("minute.requests", self._current())

    def refusal(self) -> None:
        """Count a call that the upstream refused."""
        self._counters.add("minute.refusals", self._current())

    def first_byte(self, seconds: float) -> None:
        """Count a time to first byte."""
        self._counters.measure("minute.first_byte", FIRST_BYTE_BOUNDS, seconds, self._current())

    def _current(self) -> str:
        """Return the current minute's label."""
        now = self._clock()
        if now >= self._ends:
            minute = int(now // 60)
            self._minute, self._ends = str(minute), 60.0 * (minute + 1)
            forget_old(self._counters, now)
        return self._minute


def forget_old(counters: Counters, now: float) -> None:
    """Drop the minutes that are more than an hour old at the moment `now`."""
    oldest = int(now // 60) - MINUTES
    for name in _NAMES:
        counters.forget(name, [labels for labels in counters.of(name) if int(labels[0]) <= oldest])


def last_hour(counters: Counters, clock: Clock) -> list[dict[str, Any]]:
    """Return the minutes as JSON for the status page, the oldest first, the current one last.

    `time` is the minute of the wall clock in which it began, in seconds since the epoch.
    """
    current = int(clock() // 60)
    requests, refusals = counters.of("minute.requests"), counters.of("minute.refusals")
    measured = {
        labels[0]: counts for labels, counts, _ in counters.measured("minute.first_byte", FIRST_BYTE_BOUNDS)
    }
    return [
        {
            "time": int(clock.to_wall(minute * 60) // 60) * 60,
            "requests": int(requests.get((str(minute),), 0)),
            "refusals": int(refusals.get((str(minute),), 0)),
            "first_byte": median_in(FIRST_BYTE_BOUNDS, measured.get(str(minute), ())),
        }
        for minute in range(current - MINUTES + 1, current + 1)
    ]
