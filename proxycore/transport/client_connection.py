"""One connection to the upstream: a request goes out, a response comes in, and then the next.

state     event                                             next
IDLE      a request is started                              HEAD
IDLE      anything arrives, the upstream closes             CLOSED
HEAD      the head of an interim response                   HEAD
HEAD      the response's head                               BODY
BODY      the body's end, all is sent, it may be kept       IDLE      the request is finished
BODY      the body's end                                    CLOSED    the same
BODY      the connection's end, which is the body's         CLOSED    the same
HEAD, BODY   malformed, closed, lost, aborted               CLOSED    the request has failed
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, cast

from proxycore.transport.chunked_body import ChunkedBody
from proxycore.transport.connection_pool import ConnectionPool
from proxycore.transport.messages import UpstreamError, broken_off, malformed
from proxycore.transport.request_writer import BodyWriter
from proxycore.transport.response_head import (
    MOST_HEAD,
    Framing,
    MalformedError,
    ResponseHead,
    find_end,
    framing,
    parse_head,
)

READ_SIZE = 64 * 1024
"""Bytes that are read at once."""

_RECEIVED = memoryview(bytearray(READ_SIZE))  # all connections share it: it is emptied at once


class State(Enum):
    """What a connection does."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    CLOSED = auto()


class Request(Protocol):
    """What a connection needs of the request that it serves."""

    method: str
    on_head: Callable[[ResponseHead], None] | None
    streaming_callback: Callable[[bytes], None] | None

    def write(self, transport: asyncio.Transport) -> BodyWriter | None:
        """Write the request, as `write_request`."""
        ...

    def finish(self, error: UpstreamError | None) -> None:
        """The response is complete, or has failed."""
        ...


class ClientConnection(asyncio.BufferedProtocol):
    """A connection that belongs to a pool from the moment that it is open.

    `proxy` is the outbound proxy that it goes through, None without one.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chunked",
        "_framing",
        "_head_size",
        "_left",
        "_persistent",
        "_pool",
        "_request",
        "_state",
        "_transport",
        "descriptor",
        "generation",
        "kept_since",
        "proxy",
    )

    def __init__(self, pool: "ConnectionPool[ClientConnection]", proxy: str | None) -> None:
        self._pool = pool
        self.proxy = proxy
        self.generation = pool.generation
        self.kept_since = 0.0
        self.descriptor = -1
        self._state = State.IDLE
        self._transport: asyncio.Transport
        self._request: Request | None = None
        self._body: BodyWriter | None = None  # until the request is written whole
        self._buffer = b""  # of a head that is incomplete
        self._head_size = 0  # bytes of interim heads
        self._framing = Framing.NONE
        self._left = 0  # bytes of a body whose length is known
        self._chunked: ChunkedBody | None = None  # made for the first chunked body
        self._persistent = False

    # What a client asks for.

    def start(self, request: Request) -> None:
        """Send a request. The connection is idle."""
        self._request, self._state = request, State.HEAD
        self._head_size = 0
        body = self._body = request.write(self._transport)
        if body:
            body.write()

    def pause(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    @property
    def upload_progress(self) -> int:
        """A number of bytes that grows while the upstream reads the request."""
        return self._body.progress if self._body else 0

    def close(self) -> None:
        """Close the connection, which serves no request."""
        self._leave()
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # the upstream may never read the rest of the request
        else:
            self._transport.close()

    def abort(self, error: UpstreamError) -> None:
        """Close the connection at once; its request has failed with this error, if it serves one."""
        self._fail(error)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.descriptor = transport.get_extra_info("socket").fileno()
        self._pool.open.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """The buffer to read into."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read into the buffer."""
        self.data_received(_RECEIVED[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take bytes, which may be overwritten after this call."""
        if self._state is State.BODY:
            self._read_body(data)
        elif self._state is State.HEAD:
            self._read_head(bytes(data))
        elif self._state is State.IDLE:
            self.close()  # nothing was asked

    def eof_received(self) -> None:
        """The upstream has closed the connection, properly if it speaks TLS."""
        if self._state is State.BODY and self._framing is Framing.CLOSE:
            self._end(may_keep=False)
        elif self._state is not State.CLOSED:
            self._fail(broken_off("(the connection was closed)"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended in any other way."""
        if self._state is not State.CLOSED:
            self._fail(broken_off(f"({exc})" if exc else "(the connection was closed)"))

    def pause_writing(self) -> None:
        """Write no more of the request for now: the upstream does not read it."""
        if self._body:
            self._body.pause()

    def resume_writing(self) -> None:
        """Write on."""
        if self._body:
            self._body.resume()

    # The response.

    def _read_head(self, data: bytes) -> None:
        searched = len(self._buffer)
        if searched:
            data = self._buffer + data
        try:
            while found := find_end(data, searched, MOST_HEAD - self._head_size):
                searched, end = 0, found[1]
                self._head_size += end
                head = parse_head(data[: found[0]])
                data = data[end:]
                if head:
                    self._begin_body(head, data)
                    return
                if not data:
                    break
            self._buffer = data
        except MalformedError as error:
            self._fail(malformed(str(error)))

    def _begin_body(self, head: ResponseHead, data: bytes) -> None:
        request = self._request
        assert request is not None  # noqa: S101 - by the state
        assert request.on_head is not None  # noqa: S101 - the same
        self._framing, self._left = framing(head, request.method)
        self._state, self._buffer = State.BODY, b""
        self._persistent = head.persistent
        if head.status >= 400 and self._body:
            self._body.stop()  # the upstream wants no more of the request (RFC 9112 §9.5)
        if self._framing is Framing.CHUNKED:
            if self._chunked is None:
                self._chunked = ChunkedBody()
            else:
                self._chunked.begin()
        request.on_head(head)
        if self._request is not request:
            return  # it was ended meanwhile
        if self._framing is Framing.NONE:
            self._end(may_keep=not data)
        elif data:
            self._read_body(data)

    def _read_body(self, data: bytes | memoryview) -> None:
        request = self._request
        assert request is not None  # noqa: S101 - by the state
        assert request.streaming_callback is not None  # noqa: S101 - the same
        if self._framing is Framing.CHUNKED:
            self._read_chunks(request, request.streaming_callback, data)
        elif self._framing is Framing.CLOSE:
            request.streaming_callback(bytes(data))
        else:
            left = self._left = self._left - len(data)
            request.streaming_callback(bytes(data) if left >= 0 else bytes(data[:left]))
            if left <= 0 and self._request is request:
                self._end(may_keep=not left)

    def _read_chunks(self, request: Request, take: Callable[[bytes], None], data: bytes | memoryview) -> None:
        chunked = self._chunked
        assert chunked is not None  # noqa: S101 - by the framing
        if chunk := chunked.feed(data):
            take(chunk)
            if self._request is not request:
                return  # it was ended meanwhile
        if chunked.fault:
            self._fail(malformed("its chunks are not valid", f"({chunked.fault})"))
        elif chunked.ended:
            self._end(may_keep=not chunked.surplus)

    # The ends.

    def _end(self, *, may_keep: bool) -> None:
        """The response is complete."""
        request, self._request = self._request, None
        assert request is not None  # noqa: S101 - by the state
        if may_keep and self._persistent and (self._body is None or self._body.done):
            self._state, self._body = State.IDLE, None
            self._transport.resume_reading()  # else its end would not be seen
            self._pool.keep(self)
        else:
            self.close()
        request.finish(None)

    def _fail(self, error: UpstreamError) -> None:
        """The connection is of no more use, and its request has failed."""
        request, self._request = self._request, None
        self._leave()
        self._transport.abort()
        if request:
            request.finish(error)

    def _leave(self) -> None:
        self._state = State.CLOSED
        self._buffer, self._chunked = b"", None
        if self._body:
            self._body.stop()
            self._body = None
        self._pool.remove(self)
