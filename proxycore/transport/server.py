"""A server that refuses requests whose head is too large to be read with a response.

Handlers refuse the heads that Tornado can read, with `head_limits`. If a head has no end within `MOST_READ`
bytes, Tornado closes the connection without a response; `LimitedServer` sends one first.
"""

import asyncio
import contextlib
import logging
import re
import secrets
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, cast

from tornado import httputil
from tornado.iostream import IOStream, UnsatisfiableReadError

from proxycore.http.error_response import error_body
from proxycore.http.fields import Fields
from proxycore.http.head_limits import MOST_FIELDS, TOO_LARGE
from proxycore.transport.connection import Connection, Server

logger = logging.getLogger(__name__)

MOST_READ = 80 * 1024
"""Bytes of a head that are read. Tornado searches all of them at every packet, so they can't be many more."""

_FRAMING = re.compile(rb"(?i)connection|content-length|transfer-encoding|expect|upgrade|[ \t]")
_LINGER = 2.0  # seconds that a client that is still sending gets to read the response


class LimitedConnection(Connection):
    """One request on a client's connection. A head that will be refused is not parsed in full."""

    has_head = False

    def _parse_headers(self, data: bytes) -> tuple[str, httputil.HTTPHeaders]:
        self.has_head = True
        data = data.lstrip(b"\r\n")
        if data.count(b"\n") > MOST_FIELDS + 2:  # with the request line, and the empty one at the end
            self.has_too_many_fields = True
            data = _without_framing(data)
        line, headers = super()._parse_headers(data)
        start = httputil.parse_request_start_line(line)
        path, _, query = start.path.partition("?")
        if path and query:
            # Tornado would parse and copy its parameters, which nothing here needs. The handler puts it back.
            self.query = query
            line = f"{start.method} {path} {start.version}"
        return line, headers


class LimitedServer(Server):
    """An HTTP server that responds 431 to a head that is too large to be read.

    `fields` returns that response's header fields; `idle_timeout` is the seconds that a head may take.
    """

    def initialize(  # type: ignore[override] # what is not used here is left out
        self,
        app: httputil.HTTPServerConnectionDelegate,
        *,
        fields: Callable[[], Fields],
        tls: ssl.SSLContext | None,
        idle_timeout: float,
    ) -> None:
        """Called by Tornado with the constructor's arguments."""
        super().initialize(
            app,
            ssl_options=tls,
            idle_connection_timeout=idle_timeout,
            max_header_size=MOST_READ,
            max_body_size=sys.maxsize,  # the handlers have a limit of their own, and a response for it
        )
        self._fields = fields
        self._reading: dict[IOStream, LimitedConnection] = {}  # the latest request on each
        self._closing: set[_LingeringClose] = set()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Called by Tornado for every accepted connection."""

        def respond_and_close() -> None:
            del stream.close_fd  # Tornado's own is there again
            latest = self._reading.get(stream)
            if not isinstance(stream.error, UnsatisfiableReadError) or (latest and latest.has_head):
                stream.close_fd()
                return
            logger.info("request refused: head larger than %d bytes from %s", MOST_READ, address[0])
            self._closing.add(_LingeringClose(stream.socket, _refusal(self._fields()), self._closing.discard))
            stream.socket = None  # type: ignore[assignment] # as Tornado's own `close_fd` does

        stream.close_fd = respond_and_close  # type: ignore[method-assign] # streams are made by Tornado
        super().handle_stream(stream, address)

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Called by Tornado before it reads a request, on a connection that it has just created."""
        stream: IOStream = server_conn.stream  # type: ignore[attr-defined] # Tornado's HTTP1ServerConnection
        delegate = super().start_request(server_conn, request_conn)
        request_conn.__class__ = LimitedConnection
        self._reading[stream] = cast("LimitedConnection", request_conn)
        return delegate

    def on_close(self, server_conn: object) -> None:
        """Called by Tornado for every closed connection."""
        self._reading.pop(server_conn.stream, None)  # type: ignore[attr-defined] # as above
        super().on_close(server_conn)

    async def close_all_connections(self) -> None:
        """Close all connections, including those that are being refused."""
        for closing in list(self._closing):
            closing.close()
        await super().close_all_connections()


def _without_framing(head: bytes) -> bytes:
    """A head with too many fields, cut to some that do not affect framing: its connection will be closed."""
    line, *fields = head.split(b"\n", MOST_FIELDS)[:-1]
    kept = [field for field in fields if not _FRAMING.match(field)]
    return b"\n".join([line, *kept, b"Connection: close\r\n\r\n"])


def _refusal(fields: Fields) -> bytes:
    body = error_body(431, TOO_LARGE)
    lines = [
        *fields,
        ("X-Request-Id", secrets.token_hex(8)),
        ("Content-Type", "application/json; charset=UTF-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 431 Request Header Fields Too Large\r\n{head}\r\n".encode("latin-1") + body


class _LingeringClose:
    """Sends a response, and closes once the client has or after `_LINGER`: a reset would discard it."""

    def __init__(
        self, connection: socket.socket, response: bytes, closed: "Callable[[_LingeringClose], object]"
    ) -> None:
        self._connection = connection
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._late = self._loop.call_later(_LINGER, self.close)
        self._loop.add_reader(connection.fileno(), self._drop)
        with contextlib.suppress(OSError):  # the client has disconnected
            connection.send(response)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection now."""
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
