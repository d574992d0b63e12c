"""A scheduler whose time a test turns; what is due meanwhile is called in order."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.clocks import TurnedClock


@dataclass(order=True)
class _Timer:
    at: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class TurnedScheduler:
    """A scheduler on a turned clock: callbacks are called only in `turn`."""

    def __init__(self, clock: TurnedClock) -> None:
        self._clock = clock
        self._timers: list[_Timer] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._clock()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(self.now() + seconds, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    @property
    def pending(self) -> int:
        """How many timers are still to fire."""
        return sum(not timer.cancelled for timer in self._timers)

    def turn(self, seconds: float) -> None:
        end = self.now() + seconds
        while self._timers and self._timers[0].at <= end:
            timer = heapq.heappop(self._timers)
            self._clock.now += max(0.0, timer.at - self.now())
            if not timer.cancelled:
                timer.callback()
        self._clock.now += max(0.0, end - self.now())
