"""The windows in which Google may count: sliding, from minute to minute, a bucket that refills, and a day.

What is counted is an amount: 1 for a request, or the tokens of a prompt. Times are moments in seconds.
"""

import math
from collections import deque
from enum import Enum
from typing import Protocol

_PARTS = 1e-9  # of an amount: what rounding may leave


class Window(Protocol):
    """What was spent of a quota. `limit` is the amount that may be spent in `period` seconds."""

    limit: float
    period: float

    def wait(self, now: float, amount: float) -> float:
        """Return in how many seconds there is room for this amount, if nothing else is spent; 0 means now.

        It is infinite for more than the limit.
        """

    def spend(self, now: float, amount: float) -> None:
        """Spend an amount, whether there is room for it or not."""

    def left(self, now: float) -> float:
        """Return what may be spent now."""


class Sliding:
    """Counts what was spent in the last `period` seconds, at any moment."""

    def __init__(self, limit: float, period: float) -> None:
        self.limit, self.period = limit, period
        self._spent: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Return in how many seconds there is room."""
        excess = amount - self.left(now)
        if excess <= 0:
            return 0.0
        free_at = now if amount <= self.limit else math.inf
        for at, spent in self._spent if amount <= self.limit else ():
            free_at, excess = at + self.period, excess - spent
            if excess <= 0:
                break
        return free_at - now

    def spend(self, now: float, amount: float) -> None:
        """Spend an amount."""
        self._spent.append((now, amount))
        self._used += amount

    def left(self, now: float) -> float:
        """Return what may be spent now."""
        spent = self._spent
        while spent and spent[0][0] <= now - self.period:
            self._used -= spent.popleft()[1]
        return self.limit - self._used


class Fixed:
    """Counts from one full minute of the clock to the next."""

    def __init__(self, limit: float, period: float) -> None:
        self.limit, self.period = limit, period
        self._begun = -math.inf
        self._used = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Return in how many seconds there is room."""
        if amount > self.limit:
            return math.inf
        return 0.0 if amount <= self.left(now) else self._begun + self.period - now

    def spend(self, now: float, amount: float) -> None:
        """Spend an amount."""
        self.left(now)
        self._used += amount

    def left(self, now: float) -> float:
        """Return what may be spent now."""
        begun = math.floor(now / self.period) * self.period
        if begun != self._begun:
            self._begun, self._used = begun, 0.0
        return self.limit - self._used


class Bucket:
    """Holds up to `limit`, and is refilled evenly, so that it is full after `period` seconds."""

    def __init__(self, limit: float, period: float) -> None:
        self.limit, self.period = limit, period
        self._level = limit
        self._at = math.inf

    def wait(self, now: float, amount: float) -> float:
        """Return in how many seconds there is room."""
        if amount > self.limit:
            return math.inf
        return max(0.0, amount - self.left(now)) * self.period / self.limit

    def spend(self, now: float, amount: float) -> None:
        """Spend an amount; the bucket is empty at worst."""
        self._level = max(0.0, self.left(now) - amount)

    def left(self, now: float) -> float:
        """Return what may be spent now."""
        passed = max(0.0, now - self._at)
        self._level = min(self.limit, self._level + passed * self.limit / self.period)
        self._at = now
        return self._level + _PARTS * self.limit


class Day:
    """Counts until a moment, and anew after it. Of `limit`, `left` may be spent before that."""

    def __init__(self, limit: float, left: float, ends: float) -> None:
        self.limit, self.period = limit, 86_400.0
        self._left, self._ends = left, ends

    def wait(self, now: float, amount: float) -> float:
        """Return in how many seconds there is room."""
        return 0.0 if amount <= self.left(now) else self._ends - now

    def spend(self, now: float, amount: float) -> None:
        """Spend an amount."""
        self._left = self.left(now) - amount

    def left(self, now: float) -> float:
        """Return what may be spent now."""
        if now >= self._ends:
            self._left, self._ends = self.limit, self._ends + self.period
        return self._left


class Counting(Enum):
    """How a quota of a minute is counted."""

    SLIDING = Sliding
    FIXED = Fixed
    BUCKET = Bucket

    def window(self, limit: float, period: float) -> Window:
        """Return a window of which nothing is spent."""
        made: Window = self.value(limit, period)
        return made
