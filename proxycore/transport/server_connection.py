"""One connection of a client, which carries one request after the other.

    state       what has come                              what follows
    IDLE        nothing since the last response            HEAD, BODY or COMPLETE with the next bytes
    HEAD        a part of a request's head                 BODY or COMPLETE with its end, or refused
    BODY        a head, and a part of the body behind it   COMPLETE with its end, or when it is invalid
    COMPLETE    a whole request                            IDLE with the response's end, or closed
    LINGERING   more than will be read                     closed by the client, or after `_LINGER`
    DETACHED    a WebSocket's handshake                    closed by either side

From BODY on, until the response's end, there is a `ServerRequest`. BODY becomes LINGERING when the response
is complete before the request. What comes in COMPLETE is held, and no more is read (pipelining). When the
client ends its side, the connection is closed; in IDLE, HEAD and LINGERING what was written is still sent.
"""

import math
from enum import Enum, auto

from proxycore.transport.downstream_transport import DownstreamTransport
from proxycore.transport.open_connections import OpenConnections
from proxycore.transport.request_framing import ChunkedBody, LengthBody, MalformedBodyError, body_of
from proxycore.transport.request_head import HeadReader, RequestHead
from proxycore.transport.server_request import ServerRequest
from proxycore.transport.websocket_stream import WebSocketStream

HEAD_TIMEOUT = 20.0
"""Seconds from the first byte of a request's head to its last."""

_LINGER = 2.0  # seconds that a client that is still sending gets to read the response


class State(Enum):
    """The state of a connection, as above."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    COMPLETE = auto()
    LINGERING = auto()
    DETACHED = auto()


_S = State
_SERVING = frozenset({_S.BODY, _S.COMPLETE, _S.DETACHED})


class ServerConnection(DownstreamTransport):
    """A connection of a client, with HTTP/1.1 on it until it is detached."""

    __slots__ = ("_body", "_head_reader", "_held", "_request", "_state", "_stream")

    def __init__(self, connections: OpenConnections, remote_ip: str, protocol: str) -> None:
        super().__init__(connections, remote_ip, protocol)
        self._state = _S.IDLE
        self._head_reader = HeadReader()
        self._request: ServerRequest | None = None
        self._body: LengthBody | ChunkedBody
        self._held = b""  # what came behind a complete request
        self._stream: WebSocketStream | None = None

    def data_received(self, data: bytes) -> None:
        """Read what has come, as far as it can be served now."""
        if self._stream is not None:
            self._stream.feed(data)
        elif self._held:
            self._held += data  # what was on its way when reading was paused
        else:
            self._read(data)

    def eof_received(self) -> None:
        """The client sends nothing more, which counts as its disconnect."""
        if self._state in _SERVING:
            self.disconnect()

    def on_lost(self) -> None:
        """Tell the handler."""
        request, self._request = self._request, None
        if request:
            request.lost()
        if self._stream:
            self._stream.lost()

    def on_deadline(self) -> None:
        """Refuse an unfinished head; close the connection in any other state."""
        if self._state is _S.HEAD and not self.closed:
            self._begin(self._head_reader.time_out(HEAD_TIMEOUT), b"")
        else:
            super().on_deadline()

    # The request.

    def _read(self, data: bytes) -> None:
        while data and not self.closed:
            state = self._state
            if state is _S.IDLE or state is _S.HEAD:
                data = self._read_head(data)
            elif state is _S.BODY:
                data = self._read_body(data)
            elif state is _S.COMPLETE:
                self._held = data
                self.pause()
                return
            else:
                return

    def _read_head(self, data: bytes) -> bytes:
        read = self._head_reader.feed(data)
        if read is None:
            unfinished = self._head_reader.unfinished
            if unfinished is not (self._state is _S.HEAD):
                self._state = _S.HEAD if unfinished else _S.IDLE
                self.wait(HEAD_TIMEOUT if unfinished else self._connections.idle_timeout)
            return b""
        head, rest = read
        return self._begin(head, rest)

    def _begin(self, head: RequestHead, data: bytes) -> bytes:
        self.deadline = math.inf
        self._request = request = ServerRequest(self, head)
        length = head.length
        if length is not None and len(data) >= length:
            self._state = _S.COMPLETE
            request.begin(head, data[:length])
            return data[length:]
        self._body, self._state = body_of(head), _S.BODY
        request.begin(head, None)
        return data

    def _read_body(self, data: bytes) -> bytes:
        request = self._request
        assert request is not None  # noqa: S101 - as the table says
        try:
            content, rest = self._body.feed(data)
        except MalformedBodyError:
            self._state = _S.COMPLETE
            request.break_off()
            return b""
        if content:
            request.feed(content)
        if self._state is not _S.BODY:
            return b""  # it was refused for that
        if self._body.complete:
            self._state = _S.COMPLETE
            request.end()
        elif request.blocked:
            self.pause()
        return rest

    # The response, and what follows.

    def on_response(self, request: ServerRequest) -> None:
        """The response is written: go on with the next request, or end the connection."""
        if self.closed or self._state is _S.DETACHED:
            return
        self._request = None if request.received else request
        if self._state is _S.BODY or request.unread or (self._held and not request.keep_alive):
            self._linger()
        elif not request.keep_alive:
            self.close()
        else:
            self._state = _S.IDLE
            self.wait(self._connections.idle_timeout)
            if self._held:
                self._connections.loop.call_soon(self._read_held)

    def _read_held(self) -> None:
        held, self._held = self._held, b""
        self.resume()
        self._read(held)

    def _linger(self) -> None:
        """Drop what comes: closing would reset the connection, and the client lose what it has not read."""
        self._state, self._held = _S.LINGERING, b""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.wait(_LINGER)
        self.resume()

    def detach(self) -> WebSocketStream:
        """Speak no HTTP any more: hand the connection over."""
        self._stream = stream = WebSocketStream(self)
        self._request, self._state = None, _S.DETACHED
        held, self._held = self._held, b""
        self.resume()
        if held:
            stream.feed(held)
        return stream
