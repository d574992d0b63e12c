"""The progress of a request's body: what the head announces, whether it has arrived, and its idle timeout."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from tornado.httputil import HTTPHeaders

from proxycore.http.idle_timer import IdleTimer

CLIENT_IDLE_TIMEOUT = 75.0
"""Seconds that a client may take between two pieces of a request, or leave a connection idle."""


class BodyState(Enum):
    """How much of a request's body has arrived."""

    EXPECTED = auto()  # none of it yet
    ARRIVING = auto()
    READ = auto()  # all of it, or no more of it will be read


class IncomingBody:
    """Tracks the body of a request with these header fields, whose framing is valid.

    `announced` is whether there is a body at all, and `announced_bytes` its Content-Length, 0 without one.
    """

    __slots__ = ("_arrived_at", "_headers", "_loop", "_state", "_timer", "announced", "announced_bytes")

    def __init__(self, headers: HTTPHeaders) -> None:
        self._headers = headers
        self._state = BodyState.EXPECTED
        self._timer: IdleTimer | None = None
        self._loop = asyncio.get_running_loop()
        self._arrived_at = 0.0  # when a piece arrived last
        self.announced_bytes = int(headers.get("Content-Length", "0"))
        self.announced = self.announced_bytes > 0 or "Transfer-Encoding" in headers

    def watch(self, busy: Callable[[], bool], on_timeout: Callable[[float], None]) -> None:
        """Call `on_timeout` when no byte arrives for `CLIENT_IDLE_TIMEOUT` seconds while not `busy`."""
        self._timer = IdleTimer(
            CLIENT_IDLE_TIMEOUT, lambda: self._loop.time() if busy() else self._arrived_at, on_timeout
        )

    def mark_arrival(self) -> None:
        """Record that a piece of the body has arrived."""
        if self._state is BodyState.EXPECTED:
            self._state = BodyState.ARRIVING
        self._arrived_at = self._loop.time()

    def mark_read(self) -> None:
        """Record that the body is complete, or that no more of it will be read."""
        self._state = BodyState.READ
        self.stop_watching()

    def stop_watching(self) -> None:
        """Stop the idle timer for good."""
        if self._timer:
            self._timer.stop()

    @property
    def is_read(self) -> bool:
        """Whether the body is complete, or no more of it will be read."""
        return self._state is BodyState.READ

    @property
    def is_coming(self) -> bool:
        """Whether the client is sending the body, or will do so without waiting for a `100 Continue`."""
        if self._state is BodyState.EXPECTED:
            return self.announced and "Expect" not in self._headers
        return self._state is BodyState.ARRIVING
