"""Idle timeouts: the only ones that end a transfer. How long it takes in all is never limited."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls `too_long` with the limit when nothing happened for that many seconds.

    Before that it calls `busy`, which returns whether there is a reason to go on waiting. There is one timer
    for the whole transfer: activity only records the moment (`reset`), which the timer compares when it
    fires. So a chunk costs an assignment, not a timer.
    """

    def __init__(self, busy: Callable[[], bool], too_long: Callable[[float], None]) -> None:
        self._callbacks: tuple[Callable[[], bool], Callable[[float], None]] | None = (busy, too_long)
        self._loop = asyncio.get_running_loop()
        self._limit = 0.0
        self._latest = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, limit: float) -> None:
        """Begin to count, with a limit of so many seconds, which replaces any former one."""
        self._cancel()
        self._limit = limit
        self.reset()
        self._timer = self._loop.call_later(limit, self._check)

    def reset(self) -> None:
        """Count from now: something happened."""
        self._latest = self._loop.time()

    def stop(self) -> None:
        """Stop for good, and drop the callbacks, whose owners mostly hold this timer, too."""
        self._cancel()
        self._callbacks = None

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._callbacks is None:
            return
        busy, too_long = self._callbacks
        if busy():
            self.reset()
        idle = self._loop.time() - self._latest
        if idle >= self._limit:
            too_long(self._limit)
        else:
            self._timer = self._loop.call_later(self._limit - idle, self._check)
