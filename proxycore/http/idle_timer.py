"""Idle timeouts. They are the only ones that end a transfer: its total duration is never limited."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls `on_timeout` with the limit when `reset` was not called for that many seconds.

    It calls `busy` first; if that returns True, the transfer counts as active. There is one timer for the
    whole transfer: `reset` only records the time, which the timer compares when it fires. So a chunk costs an
    assignment, not a timer.
    """

    def __init__(self, busy: Callable[[], bool], on_timeout: Callable[[float], None]) -> None:
        self._callbacks: tuple[Callable[[], bool], Callable[[float], None]] | None = (busy, on_timeout)
        self._loop = asyncio.get_running_loop()
        self._limit = 0.0
        self._latest = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, limit: float) -> None:
        """Start the timer with a limit in seconds, which replaces any former one."""
        self._cancel()
        self._limit = limit
        self.reset()
        self._timer = self._loop.call_later(limit, self._check)

    def reset(self) -> None:
        """Record activity: the idle time counts from now."""
        self._latest = self._loop.time()

    def stop(self) -> None:
        """Stop for good, and drop the callbacks, whose owners refer to this timer: no cycle remains."""
        self._cancel()
        self._callbacks = None

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._callbacks is None:
            return
        busy, on_timeout = self._callbacks
        if busy():
            self.reset()
        idle = self._loop.time() - self._latest
        if idle >= self._limit:
            on_timeout(self._limit)
        else:
            self._timer = self._loop.call_later(self._limit - idle, self._check)
