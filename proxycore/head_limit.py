"""How large a request's head may be, and an answer for those whose head is larger.

What Tornado could still read is refused by the handlers, with `fault_of`. A head that has no end within
`MOST_READ` bytes makes Tornado close the connection without a word; `LimitedServer` says why before that.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tornado import httputil
from tornado.iostream import IOStream, UnsatisfiableReadError

from proxycore.connection import Server
from proxycore.headers import Fields
from proxycore.log import logger

LARGEST_HEAD = 64 * 1024
"""Bytes that a request's line and header fields may have together."""

MOST_READ = 80 * 1024
"""Bytes of a head that are read. Tornado searches all of them at every packet, so they can't be many more."""

_LONGEST_TARGET = 16 * 1024  # bytes
_MOST_FIELDS = 100
_LINGER = 2.0  # seconds in which a client that is still sending may read the answer

_TOO_LARGE = f"The request's line and header fields are larger than {LARGEST_HEAD // 1024} kB."


def fault_of(request: httputil.HTTPServerRequest) -> tuple[int, str] | None:
    """The status and the message with which a request is refused for its head; None if it is not."""
    target, fields = request.uri or "", list(request.headers.get_all())
    if len(target) > _LONGEST_TARGET:
        return 414, f"The request's target is longer than {_LONGEST_TARGET // 1024} kB."
    if len(fields) > _MOST_FIELDS:
        return 431, f"The request has more than {_MOST_FIELDS} header fields."
    line = len(request.method or "") + len(target) + len(request.version) + 4
    if line + sum(len(name) + len(value) + 4 for name, value in fields) > LARGEST_HEAD:
        return 431, _TOO_LARGE
    return None


class LimitedServer(Server):
    """An HTTP server that answers 431 to a head that is too large to be read.

    `fields` are the header fields of that answer; `idle_timeout` is the seconds that a head may take.
    """

    def initialize(  # type: ignore[override] # what is not used here is left out
        self,
        app: httputil.HTTPServerConnectionDelegate,
        *,
        fields: Callable[[], Fields],
        tls: ssl.SSLContext | None,
        idle_timeout: float,
    ) -> None:
        """Called by Tornado with what the server is made with."""
        super().initialize(
            app,
            ssl_options=tls,
            idle_connection_timeout=idle_timeout,
            max_header_size=MOST_READ,
            max_body_size=sys.maxsize,  # the handlers have a limit of their own, and an answer for it
        )
        self._fields = fields
        self._reading: set[IOStream] = set()  # those on which a head is expected
        self._ending: set[_Ending] = set()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """A connection was accepted."""

        def say_why_and_close() -> None:
            del stream.close_fd  # Tornado's own is there again
            if stream not in self._reading or not isinstance(stream.error, UnsatisfiableReadError):
                stream.close_fd()
                return
            logger.info("refused: a head larger than %d bytes from %s", MOST_READ, address[0])
            self._ending.add(_Ending(stream.socket, _answer(self._fields()), self._ending.discard))
            stream.socket = None  # type: ignore[assignment] # as Tornado's own `close_fd` does

        stream.close_fd = say_why_and_close  # type: ignore[method-assign] # streams are made by Tornado
        super().handle_stream(stream, address)

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """The next head is expected on a connection."""
        stream: IOStream = server_conn.stream  # type: ignore[attr-defined] # Tornado's HTTP1ServerConnection
        self._reading.add(stream)
        delegate = super().start_request(server_conn, request_conn)
        return _HeadWatch(delegate, lambda: self._reading.discard(stream))

    def on_close(self, server_conn: object) -> None:
        """A connection was closed."""
        self._reading.discard(server_conn.stream)  # type: ignore[attr-defined] # as above
        super().on_close(server_conn)

    async def close_all_connections(self) -> None:
        """Closes all connections, those included that are refused just now."""
        for ending in list(self._ending):
            ending.close()
        await super().close_all_connections()


class _HeadWatch(httputil.HTTPMessageDelegate):
    """Passes on a request, and tells when its head has come."""

    def __init__(self, delegate: httputil.HTTPMessageDelegate, arrived: Callable[[], None]) -> None:
        self._delegate = delegate
        self._arrived = arrived
        self.data_received = delegate.data_received  # type: ignore[method-assign] # costs nothing this way
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        self._arrived()
        if isinstance(start_line, httputil.RequestStartLine) and len(start_line.path) > _LONGEST_TARGET:
            # It will be refused, so Tornado need not look for thousands of parameters in it.
            start_line = start_line._replace(path=start_line.path[: _LONGEST_TARGET + 1])
        return self._delegate.headers_received(start_line, headers)


def _answer(fields: Fields) -> bytes:
    error = {"code": 431, "message": _TOO_LARGE, "status": "INVALID_ARGUMENT"}
    body = json.dumps({"error": error}, indent=2).encode() + b"\n"
    lines = [
        *fields,
        ("X-Request-Id", secrets.token_hex(8)),
        ("Content-Type", "application/json; charset=UTF-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 431 Request Header Fields Too Large\r\n{head}\r\n".encode("latin-1") + body


class _Ending:
    """Sends an answer, and closes when the client has, or after a moment: a reset would take it back."""

    def __init__(
        self, connection: socket.socket, answer: bytes, closed: "Callable[[_Ending], object]"
    ) -> None:
        self._connection = connection
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._late = self._loop.call_later(_LINGER, self.close)
        self._loop.add_reader(connection.fileno(), self._drop)
        with contextlib.suppress(OSError):  # it will be closed
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes the connection now."""
        self._late.cancel()
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        self._closed(self)

    def _drop(self) -> None:
        try:
            over = not self._connection.recv(64 * 1024)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self.close()
