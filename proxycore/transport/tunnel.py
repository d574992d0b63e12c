"""The way through an outbound proxy: HTTP's CONNECT (RFC 9110 §9.3.6), and SOCKS5 (RFC 1928, RFC 1929).

Each handshake is a generator without I/O: it yields what is to be sent and is sent what was received, until
the tunnel stands. `Negotiation` runs one on a connection to the proxy.
"""

import asyncio
import base64
from collections.abc import Generator
from typing import cast

from socksio import (
    ProtocolError,
    SOCKS5AuthMethod,
    SOCKS5AuthMethodsRequest,
    SOCKS5AuthReply,
    SOCKS5Command,
    SOCKS5CommandRequest,
    SOCKS5Connection,
    SOCKS5Reply,
    SOCKS5UsernamePasswordRequest,
)

Credential = tuple[str, str]
"""User name and password."""

Handshake = Generator[bytes, bytes, None]
"""Yields bytes to send, none if it only waits, and is sent the bytes that were received."""

_MOST_HEAD = 64 * 1024  # bytes of a proxy's response
_ADDRESS_SIZES = {1: 4, 4: 16}  # bytes by type (RFC 1928 §5); a name has its length before it


class ProxyRefusedError(Exception):
    """The outbound proxy refused to open the tunnel, or did not speak its protocol. The message says why."""


def http_connect(host: str, port: int, credential: Credential | None) -> Handshake:
    """Open a tunnel with CONNECT. Raises ProxyRefusedError."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if credential:
        token = base64.b64encode(":".join(credential).encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {token}")
    received = yield "\r\n".join([*lines, "\r\n"]).encode("latin-1")
    while (end := received.find(b"\r\n\r\n")) < 0:
        if len(received) > _MOST_HEAD:
            raise ProxyRefusedError("its response to CONNECT is too large")
        received += yield b""
    version, _, status = received.partition(b"\r\n")[0].partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ProxyRefusedError("its response to CONNECT is not HTTP/1.1")
    if not status.startswith(b"2"):
        raise ProxyRefusedError(f"CONNECT was answered {status[:3].decode('ascii', 'replace')}")
    if len(received) > end + 4:
        raise ProxyRefusedError("it sent more than its response to CONNECT")


def socks5(host: str, port: int, credential: Credential | None) -> Handshake:
    """Open a tunnel with SOCKS5 to an address, or to a name that the proxy resolves.

    Raises ProxyRefusedError.
    """
    connection = SOCKS5Connection()
    methods = [SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if credential:
        methods.append(SOCKS5AuthMethod.USERNAME_PASSWORD)
    try:
        connection.send(SOCKS5AuthMethodsRequest(methods))
        received = yield from _exactly(2, (yield connection.data_to_send()))
        chosen = connection.receive_data(received)
        assert isinstance(chosen, SOCKS5AuthReply)  # noqa: S101 - by the connection's state
        if chosen.method not in methods:
            raise ProxyRefusedError("it accepts no offered authentication")
        if credential and chosen.method is SOCKS5AuthMethod.USERNAME_PASSWORD:
            name, password = credential
            connection.send(SOCKS5UsernamePasswordRequest(name.encode(), password.encode()))
            received = yield from _exactly(2, (yield connection.data_to_send()))
            if received[1]:
                raise ProxyRefusedError("it does not accept the user name and password")
            connection.receive_data(received)
        connection.send(SOCKS5CommandRequest.from_address(SOCKS5Command.CONNECT, (host, port)))
        received = yield from _exactly(5, (yield connection.data_to_send()), more=True)
        size = 6 + _ADDRESS_SIZES.get(received[3], received[4] + 1)
        reply = connection.receive_data((yield from _exactly(size, received)))
    except ProtocolError as error:
        raise ProxyRefusedError(f"it does not speak SOCKS5: {error}") from error
    assert isinstance(reply, SOCKS5Reply)  # noqa: S101 - by the connection's state
    if reply.reply_code.value != b"\0":
        raise ProxyRefusedError(reply.reply_code.name.replace("_", " ").lower())


def _exactly(size: int, received: bytes, *, more: bool = False) -> Generator[bytes, bytes, bytes]:
    """Wait for so many bytes; there may only be `more` if that is expected."""
    while len(received) < size:
        received += yield b""
    if len(received) > size and not more:
        raise ProxyRefusedError("it sent more than its reply")
    return received


class Negotiation(asyncio.Protocol):
    """The protocol of a connection to an outbound proxy until the tunnel stands.

    `done` is then done, with the transport. It raises ProxyRefusedError, or ConnectionError if the connection
    ended first.
    """

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self._transport: asyncio.Transport
        self.done: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(next(self._handshake))

    def data_received(self, data: bytes) -> None:
        """Continue the handshake."""
        if self.done.done():
            self._transport.abort()  # nothing may come before the tunnel is used
            return
        try:
            if more := self._handshake.send(data):
                self._transport.write(more)
        except StopIteration:
            self._transport.pause_reading()  # until the tunnel has a protocol
            self.done.set_result(self._transport)
        except ProxyRefusedError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if the tunnel does not stand yet."""
        if not self.done.done():
            self._fail(exc or ConnectionResetError("the connection was closed"))

    def _fail(self, error: Exception) -> None:
        self.done.set_exception(error)
        self.done.exception()  # who waited for it may have given up
