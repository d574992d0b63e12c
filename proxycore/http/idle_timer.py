"""Idle timeouts. They are the only ones that end a transfer: its total duration is never limited."""

import asyncio
from collections.abc import Callable


class Activity:
    """When a transfer was active last, in the loop's time: `at`, which its owner sets."""

    __slots__ = ("_loop", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.at = 0.0

    @property
    def idle(self) -> float:
        """Seconds since then."""
        return self._loop.time() - self.at


class IdleTimer:
    """Calls `on_timeout` with the limit when the transfer was not active for that many seconds.

    It calls `last_active` first, which returns when the transfer was active last, in the loop's time. The
    timer starts at once, and there is one for the whole transfer: activity does not touch it, its owner only
    records the time. So a chunk costs an assignment, not a timer or a call. `limit` is in seconds.
    """

    __slots__ = ("_callbacks", "_loop", "_started", "_timer", "limit")

    def __init__(
        self, limit: float, last_active: Callable[[], float], on_timeout: Callable[[float], None]
    ) -> None:
        self._callbacks: tuple[Callable[[], float], Callable[[float], None]] | None = (
            last_active,
            on_timeout,
        )
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.restart(limit)

    def restart(self, limit: float) -> None:
        """Let the idle time count from now, with a limit in seconds."""
        self._cancel()
        self.limit = limit
        self._started = self._loop.time()
        self._timer = self._loop.call_later(limit, self._check)

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
        last_active, on_timeout = self._callbacks
        idle = self._loop.time() - max(self._started, last_active())
        if idle >= self.limit:
            on_timeout(self.limit)
        else:
            self._timer = self._loop.call_later(self.limit - idle, self._check)
