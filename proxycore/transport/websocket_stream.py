"""What a WebSocket handler reads from and writes to: as much of Tornado's `IOStream` as it uses."""

import asyncio

from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError

from proxycore.transport.downstream import Downstream

_READ_AHEAD = 64 * 1024  # bytes that are read before somebody wants them


class WebSocketStream:
    """A client's connection that speaks no HTTP any more. `disconnected` is done when it is closed."""

    def __init__(self, connection: Downstream) -> None:
        self.io_loop = IOLoop.current()
        self._loop = asyncio.get_running_loop()
        self.disconnected: asyncio.Future[None] = self._loop.create_future()
        self._connection = connection
        self._received = bytearray()
        self._wanted: tuple[int, asyncio.Future[bytes]] | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes from the client."""
        self._received += data
        self._serve()
        if self._wanted is None and len(self._received) > _READ_AHEAD:
            self._connection.pause()

    def lost(self) -> None:
        """The connection is closed. What has come before it can still be read."""
        if not self.disconnected.done():
            self.disconnected.set_result(None)
        self._serve()

    def read_bytes(self, size: int) -> "asyncio.Future[bytes]":
        """Read so many bytes; the future fails with StreamClosedError at the connection's end."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._wanted = size, future
        self._serve()
        if self._wanted is not None:
            self._connection.resume()
        return future

    def write(self, data: bytes) -> "asyncio.Future[None]":
        """Write bytes; the future is done when more can be written. Raises StreamClosedError when closed."""
        if self.closed():
            raise StreamClosedError
        return self._connection.send(bytes(data)) or self._connection.written

    def set_nodelay(self, value: bool) -> None:
        """Nothing: connections send without delay anyway."""

    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self.disconnected.done()

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        if not self.closed():
            self._connection.close()
            self.lost()

    def _serve(self) -> None:
        if self._wanted is None:
            return
        size, future = self._wanted
        if len(self._received) >= size:
            self._wanted = None
            if not future.done():
                future.set_result(bytes(self._received[:size]))
            del self._received[:size]
        elif self.closed():
            self._wanted = None
            if not future.done():
                future.set_exception(StreamClosedError())
                future.exception()  # nobody may be waiting any more
