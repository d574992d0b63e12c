"""The body of a request while it arrives: what its head announces, how much has come, whether it stalls."""

from collections.abc import Callable
from enum import Enum, auto

from tornado.httputil import HTTPHeaders

from proxycore.http.idle_timer import IdleTimer

CLIENT_IDLE_TIMEOUT = 75.0
"""Seconds that a client may take between two pieces of a request, or keep an idle connection."""


class BodyState(Enum):
    """How much of a request's body has arrived."""

    EXPECTED = auto()  # none of it yet
    ARRIVING = auto()
    READ = auto()  # all of it, or nothing more is read


class IncomingBody:
    """Tracks the body that follows the head with these fields, which are valid.

    `announced` is whether a body follows at all, and `announced_bytes` its size as far as the head says.
    """

    __slots__ = ("_headers", "_state", "_timer", "announced", "announced_bytes")

    def __init__(self, headers: HTTPHeaders) -> None:
        self._headers = headers
        self._state = BodyState.EXPECTED
        self._timer: IdleTimer | None = None
        self.announced_bytes = int(headers.get("Content-Length", "0"))
        self.announced = self.announced_bytes > 0 or "Transfer-Encoding" in headers

    def watch(self, busy: Callable[[], bool], too_long: Callable[[float], None]) -> None:
        """Call `too_long` when nothing arrives for `CLIENT_IDLE_TIMEOUT` seconds in which `busy` is false."""
        self._timer = IdleTimer(busy, too_long)
        self._timer.start(CLIENT_IDLE_TIMEOUT)

    def arrive(self) -> None:
        """Note that a piece of the body has arrived."""
        if self._state is BodyState.EXPECTED:
            self._state = BodyState.ARRIVING
        if self._timer:
            self._timer.reset()

    def close(self) -> None:
        """Note that the body is whole, or that nothing more of it is read."""
        self._state = BodyState.READ
        self.stop_watching()

    def stop_watching(self) -> None:
        """Stop the idle timer for good."""
        if self._timer:
            self._timer.stop()

    @property
    def is_read(self) -> bool:
        """Whether nothing more of the body is read."""
        return self._state is BodyState.READ

    @property
    def is_coming(self) -> bool:
        """Whether the client is sending the body, or will without waiting for a `100 Continue`."""
        if self._state is BodyState.EXPECTED:
            return self.announced and "Expect" not in self._headers
        return self._state is BodyState.ARRIVING
