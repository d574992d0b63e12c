"""Times to first byte, as a histogram that forgets. Pure. Times are seconds."""

import math
from array import array

_SHORTEST = 0.001  # seconds: all shorter times count as this
_WIDTH = math.log(1.1)  # of a bucket, as a logarithm: a time is known to a tenth
_BUCKETS = 140  # up to ten minutes
_HALF_LIFE = 300.0  # seconds after which a time counts half
_MOST = 1000.0  # times that count in full: with more, all count half
_LEAST = 50.0  # times without which nothing is known
_STALE = 16  # times after which the percentile is computed again

_LOG_SHORTEST = math.log(_SHORTEST)
_log = math.log


class FirstByteTimes:
    """The times to first byte of one kind of call, and their 95th percentile."""

    __slots__ = ("_counts", "_halved_at", "_percentile", "_stale", "_total")

    def __init__(self, now: float) -> None:
        self._counts = array("d", bytes(8 * _BUCKETS))
        self._total = 0.0
        self._halved_at = now
        self._percentile: float | None = None
        self._stale = 0  # times since the percentile was computed

    def add(self, seconds: float) -> None:
        """Count a time."""
        place = int((_log(seconds) - _LOG_SHORTEST) / _WIDTH) if seconds > _SHORTEST else 0
        self._counts[place if place < _BUCKETS else _BUCKETS - 1] += 1.0
        self._total += 1.0
        self._stale += 1

    def percentile(self, now: float) -> float | None:
        """Return the 95th percentile, None while too few times are known. `now` is a moment."""
        if now - self._halved_at >= _HALF_LIFE:
            self._halve(int((now - self._halved_at) / _HALF_LIFE))
            self._halved_at = now
        if self._stale >= _STALE or (self._percentile is None and self._stale):
            if self._total > _MOST:
                self._halve(1)
            self._compute()
        return self._percentile

    def _halve(self, times: int) -> None:
        factor = 0.5**times
        self._counts = array("d", [count * factor for count in self._counts])
        self._total *= factor
        self._compute()

    def _compute(self) -> None:
        self._stale = 0
        self._percentile = None
        if self._total < _LEAST:
            return
        above = 0.05 * self._total
        for place in range(_BUCKETS - 1, -1, -1):
            count = self._counts[place]
            if count >= above:
                # Inside a bucket times are taken to be spread evenly, by their logarithm.
                self._percentile = _SHORTEST * math.exp(_WIDTH * (place + 1 - above / count))
                return
            above -= count
