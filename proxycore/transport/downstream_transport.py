"""A client's connection below HTTP: writing with backpressure, waiting with a deadline, and closing."""

import asyncio
import math
import socket
import struct

from tornado.iostream import StreamClosedError

from proxycore.transport.open_connections import OpenConnections

MOST_UNSENT = 16 * 1024
"""Bytes that wait for a client before whoever writes has to wait as well."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class DownstreamTransport(asyncio.Protocol):
    """One of a server's `connections`, with a client at `remote_ip`; `protocol` is `http` or `https`.

    `closed` is whether nothing can be written any more: what was written before may still be on its way.
    `written` is the result of a write for which nobody has to wait. `deadline` is the moment of the loop's
    time at which the connection will have waited for too long.
    """

    __slots__ = (
        "_catching_up",
        "_connections",
        "_transport",
        "_watched",
        "application",
        "closed",
        "deadline",
        "protocol",
        "remote_ip",
        "written",
    )

    def __init__(self, connections: OpenConnections, remote_ip: str, protocol: str) -> None:
        self.application = connections.application
        self.written = connections.written
        self.remote_ip = remote_ip
        self.protocol = protocol
        self.closed = False
        self.deadline = math.inf
        self._connections = connections
        self._transport: asyncio.Transport
        self._catching_up: asyncio.Future[None] | None = None  # while the client is slower than who writes
        self._watched: int | None = None  # the file number, while reading is paused

    def on_lost(self) -> None:
        """Called when the client has disconnected, or the connection is closed."""

    def on_deadline(self) -> None:
        """It has waited for too long: close it, or abort it if it does not even close."""
        self.deadline = math.inf
        if self.closed:
            self._transport.abort()
        else:
            self.close()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the client."""
        self._transport = transport  # type: ignore[assignment] # uvloop's is none of asyncio's classes
        self._transport.set_write_buffer_limits(MOST_UNSENT)
        self._connections.add(self)
        self.wait(self._connections.idle_timeout)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Tell everybody who has to do with the connection."""
        self.closed = True
        self._unwatch()
        self._connections.remove(self)
        if self._catching_up and not self._catching_up.done():
            self._catching_up.set_exception(StreamClosedError())
            self._catching_up.exception()  # nobody has to look at it
        self.on_lost()

    def pause_writing(self) -> None:
        """Let those who write wait for the client."""
        self._catching_up = self._connections.loop.create_future()

    def resume_writing(self) -> None:
        """Let those who write go on."""
        catching_up, self._catching_up = self._catching_up, None
        if catching_up and not catching_up.done():
            catching_up.set_result(None)

    # What those who use the connection ask for.

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and wait for the client."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes. Returns a future if the client has to catch up before more are written."""
        if self.closed:
            return None
        self._transport.write(data)
        return self._catching_up

    def pause(self) -> None:
        """Read nothing for now; a disconnect is noticed all the same."""
        if self._watched is None and not self.closed:
            self._transport.pause_reading()
            self._watched = self._transport.get_extra_info("socket").fileno()
            self._connections.watch.add(self._watched, self.disconnect)

    def resume(self) -> None:
        """Read on."""
        if self._watched is not None and not self.closed:
            self._unwatch()
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        if not self.closed:
            self.closed = True
            self._unwatch()
            self.wait(self._connections.idle_timeout)
            self._transport.close()

    def abort(self, *, reset: bool) -> None:
        """Close the connection now; with `reset`, so that the client sees that something is missing."""
        if reset and not self.closed:
            accepted: socket.socket = self._transport.get_extra_info("socket")
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.closed = True
        self._unwatch()
        self._transport.abort()

    def disconnect(self) -> None:
        """The client is gone: nothing that it has sent before matters."""
        if not self.closed:
            self.abort(reset=False)
            self.on_lost()

    def wait(self, seconds: float) -> None:
        """Wait for the client for so many seconds; then `on_deadline` is called."""
        self.deadline = deadline = self._connections.loop.time() + seconds
        if deadline < self._connections.next_sweep:
            self._connections.sweep_at(deadline)

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._connections.watch.remove(self._watched, self.disconnect)
            self._watched = None
