"""Windows: what was counted against a rate within its period. Pure.

All moments are the clock's, in seconds.
"""

from collections import deque
from collections.abc import Sequence

from proxycore.clock import Clock
from proxycore.rotation.bench import end_of_day
from proxycore.stats.limits.client_limits import Period, Rate

_EXACT = 1000  # counts with a moment of their own; then those of a thousandth of the period share one
_WRITTEN = 100  # moments that are written down

Entry = tuple[float, int]
"""A moment, and how much was counted then."""


class SlidingWindow:
    """The counts of the last period, whenever it is looked at: of no period more than the rate is permitted.

    Counts that share a moment have that of the last one: they leave the window a little late, never early.
    """

    def __init__(self, rate: Rate) -> None:
        self.used = 0
        self._seconds = rate.period.seconds
        self._log: deque[Entry] = deque()

    def roll(self, now: float) -> None:
        """Drop what has left the window."""
        log, begin = self._log, now - self._seconds
        while log and log[0][0] <= begin:
            self.used -= log.popleft()[1]

    def add(self, count: int, at: float) -> None:
        """Count so many at a moment, which is no earlier than the last one."""
        log = self._log
        self.used += count
        if log:
            at = max(at, log[-1][0])
            if at == log[-1][0] or (len(log) >= _EXACT and at - log[-2][0] < self._seconds / _EXACT):
                log[-1] = (at, log[-1][1] + count)
                return
        log.append((at, count))

    def remove(self, count: int, at: float) -> None:
        """Take back what was counted at a moment, unless it has left the window."""
        log = self._log
        place = len(log) - 1
        while place > 0 and log[place - 1][0] >= at:
            place -= 1
        if place >= 0 and log[place][0] >= at:
            taken = min(count, log[place][1])
            log[place] = (log[place][0], log[place][1] - taken)
            self.used -= taken

    def opens_at(self, amount: int, now: float) -> float:
        """When fewer than `amount` will be counted; `now` if that is so already."""
        used = self.used
        if used < amount:
            return now
        for at, count in self._log:
            used -= count
            if used < amount:
                return at + self._seconds
        return now + self._seconds  # nothing is permitted at all

    def used_at(self, now: float) -> int:
        """What is counted without the requests that wait for a later moment."""
        waiting = 0
        for at, count in reversed(self._log):
            if at <= now:
                break
            waiting += count
        return self.used - waiting

    def entries(self) -> list[Entry]:
        """What is counted, for writing down: a hundred moments at most."""
        grain, found = self._seconds / _WRITTEN, list[Entry]()
        begun = 0.0
        for at, count in self._log:
            if found and len(self._log) > _WRITTEN and at - begun < grain:
                found[-1] = (at, found[-1][1] + count)
            elif count:
                found.append((at, count))
                begun = at
        return found

    def restore(self, entries: Sequence[Entry]) -> None:
        """Count what was written down, before anything else."""
        for at, count in sorted(entries):
            self.add(count, at)


class DayWindow:
    """The counts of one of Google's days, which begin at midnight in Los Angeles."""

    def __init__(self, clock: Clock) -> None:
        self.used = 0
        self._clock = clock
        self._last = clock()
        self._ends = end_of_day(self._last, clock)

    def roll(self, now: float) -> None:
        """Begin a new day, if the last one has ended."""
        if now >= self._ends:
            self.used, self._last = 0, now
            self.update_day_end()

    def update_day_end(self) -> None:
        """Recompute the end of the day by the wall clock as it is set now."""
        self._ends = end_of_day(self._last, self._clock)

    def add(self, count: int, at: float) -> None:  # noqa: ARG002 - as of the other window
        """Count so many."""
        self.used += count

    def remove(self, count: int, at: float) -> None:
        """Take back what was counted at a moment of this day."""
        if self._ends - at <= Period.DAY.seconds:
            self.used = max(0, self.used - count)

    def opens_at(self, amount: int, now: float) -> float:
        """When fewer than `amount` will be counted; `now` if that is so already."""
        return now if self.used < amount else self._ends

    def used_at(self, now: float) -> int:  # noqa: ARG002 - as of the other window
        """What is counted."""
        return self.used

    def entries(self) -> list[Entry]:
        """What is counted, for writing down, with a moment of the day."""
        return [(self._last, self.used)] if self.used else []

    def restore(self, entries: Sequence[Entry]) -> None:
        """Count what was written down, if that was today."""
        now = self._clock()
        self.used += sum(count for at, count in entries if end_of_day(at, self._clock) > now)


Window = SlidingWindow | DayWindow


def window_of(rate: Rate, clock: Clock) -> Window:
    """Return an empty window for a rate."""
    return DayWindow(clock) if rate.period is Period.DAY else SlidingWindow(rate)
