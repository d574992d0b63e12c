"""A scheduler: the moment it is now, and callbacks after a while, by one and the same clock."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxycore.clock import Clock


class Timer(Protocol):
    """A callback that is to come."""

    def cancel(self) -> None:
        """Drop the callback; without effect once it was called."""


class Scheduler(Protocol):
    """What anything that waits needs to know of time. Moments and delays are seconds."""

    def now(self) -> float:
        """Return the steady moment, comparable with those of the clock that made it."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after so many seconds; soon, but not before this returns, if they are 0 or less."""


class LoopScheduler:
    """The moments of a clock, and the timers of the running event loop.

    The loop's own clock is used for delays only: it may stand still while the machine is suspended, and its
    moments have another origin.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        """Return the clock's moment."""
        return self._clock()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)
