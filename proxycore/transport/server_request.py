"""One request on a client's connection, and its response: what Tornado's handlers read from and write to.

The handler takes the request's body piece by piece, and may take its time with each. The response is written
as Content-Length, chunks, or the connection's end delimit it (RFC 9112 §6).
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Protocol

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.web import Application

from proxycore.transport.downstream import Downstream
from proxycore.transport.incoming_request import IncomingRequest
from proxycore.transport.request_head import RequestHead
from proxycore.transport.websocket_stream import WebSocketStream

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1


class _Body(Enum):
    """How far the request's body has been passed on to the handler."""

    COMING = auto()
    RECEIVED = auto()  # to its end, but the handler has not taken all of it
    BROKEN = auto()  # its framing is invalid, which the handler is not told yet
    ENDED = auto()  # nothing more will be passed on


class RequestConnection(Downstream, Protocol):
    """The connection that a request came on, as `server_connection` implements and describes it."""

    application: Application
    remote_ip: str
    protocol: str

    def on_response(self, request: "ServerRequest") -> None:
        """The response is written: go on with the next request, or end the connection."""

    def detach(self) -> WebSocketStream:
        """Speak no HTTP any more: hand the connection over."""


class ServerRequest(HTTPConnection):
    """One request, as `http.client_connection` describes it, and its response.

    `keep_alive` is whether the connection can be used again after the response; `finished` is whether all of
    the response was written; `unread` is whether the client may be sending what nobody will read.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_close_callback",
        "_connection",
        "_delegate",
        "_expects_continue",
        "_inbox",
        "_method",
        "_unwritten",
        "_version",
        "_waiting",
        "begun",
        "fault",
        "finished",
        "keep_alive",
        "unread",
    )

    def __init__(self, connection: RequestConnection, head: RequestHead) -> None:
        self._connection = connection
        self._method, self._version = head.method, head.version
        self.fault = head.fault
        self.keep_alive = head.keep_alive
        self.unread = head.fault is not None
        self.begun = self.finished = False
        self._body = _Body.COMING
        self._inbox: list[bytes] = []  # content that the handler can't take yet
        self._waiting = False  # until the handler can take more
        self._close_callback: Callable[[], None] | None = None
        self._chunked = False
        self._unwritten: int | None = None  # bytes of the response's body; None if nothing states them
        request = IncomingRequest(head, self, connection.remote_ip, connection.protocol)
        self._delegate: Any = connection.application.find_handler(request)  # Tornado's, private
        # HTTP/1.0 does not know it (RFC 9110 §10.1.1).
        expected = head.headers.get("Expect", "").lower()
        self._expects_continue = expected == "100-continue" and head.version == "HTTP/1.1"

    # The request, from the connection to the handler.

    def begin(self, head: RequestHead, content: bytes | None) -> None:
        """Start the handler. `content` is the whole body if it came with the head."""
        start = RequestStartLine(head.method, head.target, head.version)
        if content is not None:
            self._body = _Body.RECEIVED
            if content:
                self._inbox.append(content)
        self._wait_for(self._delegate.headers_received(start, head.headers))
        if not self._waiting:
            self._pass_on()

    def feed(self, content: bytes) -> None:
        """Pass content on to the handler as soon as it can take it."""
        self._expects_continue = False
        if self._waiting:
            self._inbox.append(content)
        elif not self.finished:
            self._wait_for(self._delegate.data_received(content))

    def end(self) -> None:
        """The request is complete."""
        self._body = _Body.RECEIVED
        self._pass_on()

    def break_off(self) -> None:
        """The framing of the request's body is invalid, so that nothing more can be read."""
        self._body = _Body.BROKEN
        self.keep_alive, self.unread = False, True
        self._pass_on()

    @property
    def received(self) -> bool:
        """Whether the whole request has come, though the handler may not have taken all of it."""
        return self._body is not _Body.COMING

    @property
    def blocked(self) -> bool:
        """Whether the handler has to take what has come before more is read."""
        return self._waiting

    def _wait_for(self, taken: Awaitable[None] | None) -> None:
        if taken is not None:
            future = asyncio.ensure_future(taken)
            if not future.done():
                self._waiting = True
                future.add_done_callback(self._on_taken)

    def _on_taken(self, future: "asyncio.Future[None]") -> None:
        self._waiting = False
        if future.cancelled() or future.exception():
            self._connection.abort(reset=False)  # the handler has reported why
            return
        self._pass_on()

    def _pass_on(self) -> None:
        """Pass on what the handler can take now, and ask the client for more if it waits to be asked."""
        if self._expects_continue and not self.begun and self._body is _Body.COMING:
            self._connection.send(_CONTINUE)
        self._expects_continue = False
        while self._inbox and not self._waiting:
            content = self._inbox.pop(0)
            if not self.finished:
                self._wait_for(self._delegate.data_received(content))
        if self._waiting:
            return
        body = self._body
        if body is _Body.COMING:
            self._connection.resume()
        elif body is not _Body.ENDED:
            self._body = _Body.ENDED
            delegate = self._delegate
            if self.finished:
                self._delegate = None
            if body is _Body.RECEIVED:
                delegate.finish()
            else:
                delegate.handler.refuse_body("The chunked encoding of the request body is malformed.")
                delegate.on_connection_close()

    def lost(self) -> None:
        """The client has closed the connection, or it was aborted."""
        delegate, self._delegate = self._delegate, None
        callback, self._close_callback = self._close_callback, None
        self._inbox.clear()
        if self._body is not _Body.ENDED:
            self._body = _Body.ENDED
            if delegate:
                delegate.on_connection_close()
        elif callback and not self.finished:
            callback()

    # The response, from the handler to the connection. Called by Tornado.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called when the client disconnects before the response is finished."""
        self._close_callback = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Write the response's head, and the first piece of its body with it."""
        assert isinstance(start_line, ResponseStartLine)  # noqa: S101 - this is a server
        self.begun = True
        self._set_framing(start_line.code, headers)
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, values in headers._as_list.items() for value in values]
        text = "\r\n".join(lines)
        if text.count("\n") >= len(lines) or text.count("\r") >= len(lines):
            raise ValueError("A field of the response has a line end in it.")
        head = text.encode("latin-1") + b"\r\n\r\n"
        return self._written(self._connection.send(head + self._framed(chunk) if chunk else head))

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Write a piece of the response's body; the future is done when more can be written."""
        return self._written(self.send(chunk))

    def send(self, chunk: bytes) -> "asyncio.Future[None] | None":
        """Write a piece of the response's body. Returns a future if the client has to catch up first."""
        return self._connection.send(self._framed(chunk)) if chunk else None

    def finish(self) -> None:
        """The response is complete. Raises HTTPOutputError if it is shorter than announced."""
        if self.finished or self._connection.closed:
            return  # it was aborted, or the client has disconnected
        if self._unwritten:
            self.abort(reset=False)
            raise HTTPOutputError(f"{self._unwritten} bytes of the response are missing")
        if self._chunked:
            self._connection.send(_LAST_CHUNK)
        self.finished = True
        if self._body is _Body.ENDED:
            self._delegate = None
        self._connection.on_response(self)

    def detach(self) -> WebSocketStream:
        """Hand the connection over to a WebSocket."""
        return self._connection.detach()

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._connection.closed

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and wait for the client to catch up."""
        return self._connection.unsent_bytes

    def abort(self, *, reset: bool) -> None:
        """Close the connection before the response is complete; with `reset`, by a TCP reset."""
        self.finished = True
        self._close_callback = None
        self._connection.abort(reset=reset)

    def _set_framing(self, status: int, headers: HTTPHeaders) -> None:
        """Decide how the client finds the end of the response (RFC 9112 §6.3), and whether it is kept."""
        length = headers.get("Content-Length")
        if self._method == "HEAD" or status in _BODILESS or status < 200:
            self._unwritten = 0
            if status == 204 and length is not None:
                del headers["Content-Length"]  # RFC 9110 §8.6
        elif length is not None:
            self._unwritten = int(length)
        elif self._version == "HTTP/1.1":
            headers["Transfer-Encoding"] = "chunked"
            self._chunked = True
        else:
            self.keep_alive = False
        if status == 101:
            return
        if headers.get("Connection") == "close":
            self.unread |= self.keep_alive  # the client may have sent its next request
            self.keep_alive = False
        elif not self.keep_alive:
            headers["Connection"] = "close"
        elif self._version == "HTTP/1.0":
            headers["Connection"] = "keep-alive"

    def _framed(self, chunk: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if self._unwritten is not None and not self.finished:
            self._unwritten -= len(chunk)
            if self._unwritten < 0:
                self.abort(reset=False)
                raise HTTPOutputError("the response is longer than its Content-Length")
        return chunk

    def _written(self, catching_up: "asyncio.Future[None] | None") -> "asyncio.Future[None]":
        if self._connection.closed:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_exception(StreamClosedError())
            future.exception()  # nobody has to look at it
            return future
        return catching_up or self._connection.written
