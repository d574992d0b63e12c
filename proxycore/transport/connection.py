"""Refuses requests that are not valid HTTP/1.1 with a response that names the fault; Tornado names none.

An invalid head is replaced by a harmless one, whose handler reads the reason in `fault`. Invalid framing of a
body is reported to the handler that reads it.
"""

import re
import socket
import struct
from collections.abc import Awaitable
from typing import Any

from tornado.http1connection import HTTP1Connection, is_transfer_encoding_chunked
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    parse_request_start_line,
)
from tornado.iostream import StreamClosedError

_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2 ** 63, and longer than any body
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]+")  # RFC 3986 §3.2.2, without what could be two hosts
_PRESERVED = ("Origin", "X-Request-Id")  # fields of an invalid head that the response depends on


_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Connection(HTTP1Connection):
    """One request on a client's connection, as `ClientConnection` describes it."""

    fault = ""
    has_too_many_fields = False
    query = ""

    def abort(self, *, reset: bool) -> None:
        """Close the connection before the response is complete; with `reset`, by a TCP reset."""
        if reset and not self.stream.closed():
            self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.stream.close()

    async def _read_message(self, delegate: HTTPMessageDelegate) -> bool:
        if self.stream.closed():
            # Tornado would process what it had read before, though the client has disconnected.
            raise StreamClosedError
        return await super()._read_message(delegate)

    def _parse_headers(self, data: bytes) -> tuple[str, HTTPHeaders]:
        line, headers = "", HTTPHeaders()
        try:
            line, headers = super()._parse_headers(data)
        except HTTPInputError:
            self.fault = "A header field of the request is malformed."
        try:
            start = parse_request_start_line(line)
        except HTTPInputError:
            start = RequestStartLine("GET", "*", "HTTP/1.1")
            self.fault = self.fault or "The request line is malformed or has an unsupported HTTP version."
        self.fault = self.fault or _fault_of_host(start, headers) or _fault_of_framing(headers)
        if self.fault:
            preserved = {name: headers[name] for name in _PRESERVED if name in headers}
            headers = HTTPHeaders({"Host": "localhost", "Connection": "close"} | preserved)
            line = f"{start.method} {start.path} {start.version}"
        return line, headers

    def _read_body(
        self, code: int, headers: HTTPHeaders, delegate: HTTPMessageDelegate
    ) -> Awaitable[None] | None:
        body = super()._read_body(code, headers, delegate)
        return self._check_body(body, delegate) if body is not None else None

    async def _check_body(self, body: Awaitable[None], delegate: Any) -> None:  # noqa: ANN401 - Tornado's, private
        try:
            await body
        except HTTPInputError:
            delegate.delegate.handler.refuse_body("The chunked encoding of the request body is malformed.")
            raise StreamClosedError from None  # nothing more can be read; the response is still written


class Server(HTTPServer):
    """Tornado's HTTP server, with connections of this kind."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Called by Tornado before it reads a request, on a connection that it has just created."""
        request_conn.__class__ = Connection
        return super().start_request(server_conn, request_conn)


def _fault_of_host(start: RequestStartLine, headers: HTTPHeaders) -> str:
    hosts = headers.get_list("Host")
    if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
        return ""
    if not hosts and start.version == "HTTP/1.0":
        return ""
    return "The request must have exactly one Host header."  # RFC 9112 §3.2


def _fault_of_framing(headers: HTTPHeaders) -> str:
    """Why it is ambiguous where the request's body ends (RFC 9112 §6.3); empty if it is not."""
    lengths = headers.get_list("Content-Length")
    if lengths and "Transfer-Encoding" in headers:
        return "The request has both Content-Length and Transfer-Encoding."
    if len(lengths) > 1:
        return "The request has more than one Content-Length."
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return "Content-Length is not a number of bytes."
    try:
        is_transfer_encoding_chunked(headers)
    except HTTPInputError:
        return "The only supported Transfer-Encoding is chunked."
    return ""
