"""The calls of one project for one model: when each was sent, or will be, and how many tokens it took. Pure.

Times are the clock's moments, in seconds.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import accumulate

REMEMBERED = 75.0
"""Seconds that calls are remembered: longer than the longest window of a quota, but for the day."""

_PRUNED = 5.0  # seconds between two times that old calls are forgotten: each time the others are moved


class CallLog:
    """Calls in order of time. `sums` are the tokens of all calls up to each one.

    `open` are the moments of those whose responses are awaited here and have not begun, in order.
    """

    __slots__ = ("_forgotten", "moments", "open", "sums")

    def __init__(self, moments: Iterable[float] = ()) -> None:
        self.moments = list(moments)
        self.sums = [0] * len(self.moments)
        self.open: list[float] = []
        self._forgotten = 0  # tokens of the calls before the first one

    def __len__(self) -> int:
        return len(self.moments)

    def add(self, at: float, now: float, tokens: int = 0) -> int:
        """Add a call; return its index. Forgets calls that are too old to matter."""
        moments, sums = self.moments, self.sums
        if moments and moments[0] < now - REMEMBERED - _PRUNED:
            old = bisect_right(moments, now - REMEMBERED)
            self._forgotten = sums[old - 1]
            del moments[:old], sums[:old]
        if not moments or at >= moments[-1]:
            moments.append(at)
            sums.append((sums[-1] if sums else self._forgotten) + tokens)
            return len(moments) - 1
        place = bisect_right(moments, at)
        moments.insert(place, at)
        sums.insert(place, self._base(place))
        self._change(place, tokens)
        return place

    def remove(self, at: float) -> bool:
        """Remove the call of this moment; returns whether it was there."""
        place = self.place(at)
        if place < 0:
            return False
        self._change(place, -self.tokens(place, place + 1))
        del self.moments[place], self.sums[place]
        return True

    def begin(self, at: float) -> None:
        """Record that the call of this moment is open."""
        insort(self.open, at)

    def end(self, at: float) -> None:
        """Record that the call of this moment is not open any more, if it was."""
        place = bisect_left(self.open, at)
        if place < len(self.open) and self.open[place] == at:
            del self.open[place]

    def open_within(self, begin: float, end: float) -> list[float]:
        """Return the open calls from `begin` to before `end`."""
        return self.open[bisect_left(self.open, begin) : bisect_left(self.open, end)]

    def set_tokens(self, at: float, tokens: int) -> None:
        """Correct the tokens of the call of this moment, if it is remembered."""
        place = self.place(at)
        if place >= 0:
            self._change(place, tokens - self.tokens(place, place + 1))

    def place(self, at: float) -> int:
        """Return the index of the call of this moment; -1 if there is none."""
        place = bisect_left(self.moments, at)
        return place if place < len(self.moments) and self.moments[place] == at else -1

    def after(self, moment: float) -> int:
        """Return the index of the first call after this moment."""
        return bisect_right(self.moments, moment)

    def tokens(self, begin: int, end: int) -> int:
        """Return the tokens of the calls with indexes from `begin` to before `end`."""
        return self.sums[end - 1] - self._base(begin) if end > begin else 0

    def latest_with_tokens(self, end: int, tokens: int) -> int:
        """Return the latest index from which the calls before `end` have so many tokens; -1 if none."""
        if self.tokens(0, end) < tokens:
            return -1
        return bisect_right(self.sums, self.sums[end - 1] - tokens, 0, end)

    def part(self, begin: int, end: int, without: Iterable[float]) -> "CallLog":
        """Return the calls with these indexes, but for those of the moments `without`."""
        skipped, found = frozenset(without), CallLog()
        for place in range(begin, end):
            if self.moments[place] not in skipped:
                found.add(self.moments[place], self.moments[place], self.tokens(place, place + 1))
        return found

    def merge(self, other: "CallLog") -> None:
        """Add all calls of another log."""
        self.open = sorted(self.open + other.open)
        mine = [(at, self.tokens(n, n + 1)) for n, at in enumerate(self.moments)]
        both = sorted(mine + [(at, other.tokens(n, n + 1)) for n, at in enumerate(other.moments)])
        self.moments, self._forgotten = [at for at, _ in both], 0
        self.sums = list(accumulate(tokens for _, tokens in both))

    def _base(self, place: int) -> int:
        return self.sums[place - 1] if place else self._forgotten

    def _change(self, place: int, tokens: int) -> None:
        if tokens:
            sums = self.sums
            for index in range(place, len(sums)):
                sums[index] += tokens


NO_CALLS = CallLog()
"""The log of all that have no calls. It is shared: who adds a call makes a log of its own."""
