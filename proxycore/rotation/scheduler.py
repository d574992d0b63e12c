"""A scheduler: tells the time and calls back after a delay, by one clock."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxycore.clock import Clock


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Drop the callback; without effect once it was called."""


class Scheduler(Protocol):
    """The clock and the timers of what waits. Moments and delays are seconds."""

    def now(self) -> float:
        """Return the current moment, on the scale of the scheduler's clock."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` after so many seconds; for 0 or less soon, but not before this returns."""


class LoopScheduler:
    """The moments of a clock, and the timers of the running event loop.

    The loop's own clock is used for delays only: it may stand still while the machine is suspended, and its
    moments have another origin.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        """Return the current moment of the clock."""
        return self._clock()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)
