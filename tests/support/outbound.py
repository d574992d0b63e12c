"""Outbound proxies on real sockets: HTTP's CONNECT, in the clear and over TLS, and SOCKS5."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.support.serving import serving

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[int]]


@contextlib.asynccontextmanager
async def _tunnelling(
    serve: Serve, tls: ssl.SSLContext | None = None, carried: bytearray | None = None
) -> AsyncIterator[int]:
    """A server on the port that it yields; `serve` returns the port that a tunnel leads to, or 0.

    What goes up through the tunnels is added to `carried`.
    """

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if port := await serve(reader, writer):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pipe(reader, far_writer, carried), _pipe(far_reader, writer))
            with contextlib.suppress(ConnectionError):
                await far_writer.wait_closed()

    async with serving(relay, tls) as port:
        yield port


def http_proxy(
    asked: list[bytes],
    credential: bytes = b"",
    tls: ssl.SSLContext | None = None,
    carried: bytearray | None = None,
) -> contextlib.AbstractAsyncContextManager[int]:
    """A proxy that opens tunnels with CONNECT, and notes what it was asked; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        if credential and b"Basic " + base64.b64encode(credential) + b"\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")
            return 0
        writer.write(b"HTTP/1.1 200 Connection established\r\nX-Of-The-Proxy: 1\r\n\r\n")
        return int(head.split(b" ")[1].rpartition(b":")[2])

    return _tunnelling(serve, tls, carried)


def socks_proxy(
    asked: list[str],
    credential: tuple[bytes, bytes] | None = None,
    reply: int = 0,
    carried: bytearray | None = None,
) -> contextlib.AbstractAsyncContextManager[int]:
    """A SOCKS5 proxy (RFC 1928, RFC 1929), which notes where it was to go, byte by byte slowly; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if credential else 0
        writer.write(bytes([5, method if method in methods else 255]))
        if method not in methods:
            return 0
        if credential:
            await reader.readexactly(1)
            name = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(bytes([1, (name, password) != credential]))
            if (name, password) != credential:
                return 0
        *_, kind = await reader.readexactly(4)
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        host = await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2))
        asked.append(host.decode() if kind == 3 else ".".join(map(str, host)))
        for byte in bytes([5, reply, 0, 3, 4]) + b"here" + bytes(2):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        return 0 if reply else port

    return _tunnelling(serve, carried=carried)


async def _pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carried: bytearray | None = None
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            if carried is not None:
                carried += data
            writer.write(data)
    writer.close()
