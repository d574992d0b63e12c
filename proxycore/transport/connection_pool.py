"""The connections to the upstream that are open, and those among them that wait for a request.

taken    serves a request          kept when the response has ended, if it may serve another
idle     waits for a request       of those through the same outbound proxy, the latest one is taken first;
                                   closed after `IDLE_SECONDS`, by one timer for all, and at once when the
                                   upstream closes it
"""

import asyncio
import select
from typing import Generic, Protocol, TypeVar

from proxycore.transport.messages import UpstreamError, broken_off

IDLE_SECONDS = 110.0
"""Seconds that a connection is kept without use: less than the two minutes of many servers and NATs."""

MOST_IDLE = 512
"""Idle connections; with more, the one that has waited longest is closed."""

# What is there to be read from an idle connection, if only its end, makes it useless.
_POLL = select.poll() if hasattr(select, "poll") else None


class Connection(Protocol):
    """What the pool needs of a connection."""

    descriptor: int  # of its socket
    generation: int
    kept_since: float
    proxy: str | None  # the outbound proxy that it goes through

    def close(self) -> None:
        """Close the connection, and remove it from the pool."""
        ...

    def abort(self, error: UpstreamError) -> None:
        """The same, at once, whatever it is doing."""
        ...


C = TypeVar("C", bound=Connection)


class ConnectionPool(Generic[C]):
    """All open connections to one origin. Belongs to the running event loop."""

    def __init__(self) -> None:
        self.open: set[C] = set()
        self._idle: list[C] = []  # in the order in which they became idle
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.generation = 0

    def take(self, proxy: str | None) -> C | None:
        """An idle connection through this outbound proxy, or through none; None if there is no such one.

        The upstream has not closed it.
        """
        idle = self._idle
        for place in range(len(idle) - 1, -1, -1):
            connection = idle[place]
            if connection.proxy != proxy:
                continue
            del idle[place]
            if not _is_readable(connection.descriptor):
                return connection
            connection.close()
        return None

    def keep(self, connection: C) -> None:
        """Keep a connection that has become idle."""
        if connection.generation != self.generation:
            connection.close()
            return
        connection.kept_since = self._loop.time()
        self._idle.append(connection)
        if len(self._idle) > MOST_IDLE:
            self._idle[0].close()
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_SECONDS, self._close_old)

    def remove(self, connection: C) -> None:
        """Forget a connection that is closed."""
        self.open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def renew(self) -> None:
        """Keep none of the present connections: close those that are idle, and the others when they are."""
        self.generation += 1
        for connection in list(self._idle):
            connection.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Close all connections at once."""
        self.renew()
        for connection in list(self.open):
            connection.abort(broken_off("(the program ends)"))

    def _close_old(self) -> None:
        oldest = self._loop.time() - IDLE_SECONDS
        while self._idle and self._idle[0].kept_since <= oldest:
            self._idle[0].close()
        self._timer = None
        if self._idle:
            wait = self._idle[0].kept_since - oldest
            self._timer = self._loop.call_later(wait, self._close_old)


def _is_readable(descriptor: int) -> bool:
    if _POLL is None:
        return False
    _POLL.register(descriptor, select.POLLIN)
    try:
        return bool(_POLL.poll(0))
    finally:
        _POLL.unregister(descriptor)
