"""What the connections of a server share: the application, one timer for all that wait, and their count."""

import asyncio
import contextlib
import math
from typing import Protocol

from tornado.web import Application

from proxycore.transport.disconnect import DisconnectWatch

_PAUSE = 0.25  # seconds between two looks at all connections


class _Connection(Protocol):
    @property
    def deadline(self) -> float:
        """The moment of the loop's time at which it has waited for too long."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and wait for the client."""

    def on_deadline(self) -> None:
        """It has waited for too long."""

    def close(self) -> None:
        """Close the connection when what was written is sent."""

    def abort(self, *, reset: bool) -> None:
        """Close the connection now."""


class OpenConnections:
    """The open connections of a server for `application`. Belongs to the running event loop.

    A connection that waits writes down until when, which costs nothing more: the timer is set to the first of
    these moments. `idle_timeout` is the seconds that a connection may be without a request.
    """

    def __init__(self, application: Application, idle_timeout: float) -> None:
        self.application = application
        self.idle_timeout = idle_timeout
        self.loop = asyncio.get_running_loop()
        self.watch = DisconnectWatch()
        self.written: asyncio.Future[None] = self.loop.create_future()
        self.written.set_result(None)
        self.next_sweep = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[_Connection] = set()
        self._all_closed: asyncio.Event | None = None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and wait for clients."""
        return sum(connection.unsent_bytes for connection in self._connections)

    def add(self, connection: _Connection) -> None:
        """A connection was opened."""
        self._connections.add(connection)

    def remove(self, connection: _Connection) -> None:
        """A connection was closed."""
        self._connections.discard(connection)
        if self._all_closed and not self._connections:
            self._all_closed.set()

    def sweep_at(self, moment: float) -> None:
        """Look at all connections at this moment of the loop's time, which is before `next_sweep`."""
        if self._timer:
            self._timer.cancel()
        self.next_sweep = moment
        self._timer = self.loop.call_at(moment, self._sweep)

    async def close(self, seconds: float) -> None:
        """Close all connections, once what was written is sent, or after so many seconds."""
        self._all_closed = asyncio.Event()
        for connection in list(self._connections):
            connection.close()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), seconds)
        for connection in list(self._connections):
            connection.abort(reset=False)
        self.watch.close()
        if self._timer:
            self._timer.cancel()

    def _sweep(self) -> None:
        self._timer, self.next_sweep = None, math.inf
        now, earliest = self.loop.time(), math.inf
        for connection in list(self._connections):
            if connection.deadline <= now:
                connection.on_deadline()
            earliest = min(earliest, connection.deadline)
        if earliest < self.next_sweep:
            self.sweep_at(max(earliest, now + _PAUSE))
