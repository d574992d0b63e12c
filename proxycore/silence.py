"""Watching for silence: the only thing that ends a transfer by time."""

import asyncio
from collections.abc import Callable


class Silence:
    """Calls `too_long` when nothing was heard for the seconds that are being watched for.

    `busy` is asked before that, and says whether there is a reason to go on waiting. One timer serves the
    whole transfer: whoever hears something writes down the moment (`heard`), and the timer looks at it
    when it fires. So a chunk costs an assignment, not a timer.
    """

    def __init__(self, busy: Callable[[], bool], too_long: Callable[[float], None]) -> None:
        self._callbacks: tuple[Callable[[], bool], Callable[[float], None]] | None = (busy, too_long)
        self._loop = asyncio.get_running_loop()
        self._limit = 0.0
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, limit: float) -> None:
        """From now on, `limit` seconds of silence are too long."""
        self._cancel()
        self._limit = limit
        self.heard()
        self._timer = self._loop.call_later(limit, self._look)

    def heard(self) -> None:
        """There was a sign of life."""
        self._heard = self._loop.time()

    def stop(self) -> None:
        """Stops watching for good, and lets go of who was to be told: they mostly hold this, too."""
        self._cancel()
        self._callbacks = None

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._callbacks is None:
            return
        busy, too_long = self._callbacks
        if busy():
            self.heard()
        quiet = self._loop.time() - self._heard
        if quiet >= self._limit:
            too_long(self._limit)
        else:
            self._timer = self._loop.call_later(self._limit - quiet, self._look)
