"""HTTP as bytes on sockets: an upstream that is scripted by a test, and a client that sees all bytes."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Seen:
    """A request as it arrived at an upstream, and when its connection was closed (monotonic seconds)."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    closed: float | None = None

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known.lower() == name.lower()]

    @property
    def key(self) -> str:
        return (self.all("x-goog-api-key") or self.all("authorization") or [""])[0].removeprefix("Bearer ")


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A server on a free port of this host; `_request` serves one request of a connection after another."""

    def __init__(self) -> None:
        self.connections = 0
        self.tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    await self._request(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class RawUpstream(Upstream):
    """Serves every request with `script(seen, writer)`, which writes bytes; keeps what it saw."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.seen: list[Seen] = []

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await read_request(reader)
        self.seen.append(seen)
        script = asyncio.ensure_future(self.script(seen, writer))
        gone = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({script, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone in done:
            seen.closed = time.monotonic()
            script.cancel()
            await asyncio.gather(script, gone, return_exceptions=True)
            writer.transport.abort()
            return
        # Nothing was lost: a client that waits for an answer sends nothing.
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await script


_OPEN = {"01", "02"}  # ESTABLISHED and SYN_SENT, as Linux counts them


def connections_to(port: int) -> int:
    """The sockets of this host that are connected to a port of it, or try to be."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] in _OPEN for row in rows)


async def read_request(reader: asyncio.StreamReader) -> Seen:
    line, fields = await _read_head(reader)
    seen = Seen(line, fields)
    if lengths := seen.all("content-length"):
        seen.body = await reader.readexactly(int(lengths[0]))
    return seen


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
    return line, [(name, value.strip()) for name, _, value in (text.partition(":") for text in rest)]


def answer(status: int, body: bytes = b"", *fields: tuple[str, str], reason: str = "X") -> bytes:
    """A whole answer with a Content-Length."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode("latin-1") + body
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def slow(_: Seen, writer: asyncio.StreamWriter) -> None:
    """A script that streams twenty events in a second."""
    writer.write(CHUNKED)
    for number in range(20):
        writer.write(chunk(b"data: %d\r\n\r\n" % number))
        await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")


async def endless(_: Seen, writer: asyncio.StreamWriter) -> None:
    """A script whose stream ends when the client leaves."""
    writer.write(CHUNKED)
    while True:
        writer.write(chunk(b"data: tick\r\n\r\n"))
        await asyncio.sleep(0.05)


def always(data: bytes) -> Script:
    """A script that gives every request the same answer."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


@dataclass
class Got:
    """An answer as a client received it. `whole` is whether its framing said that it was complete."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = True
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value


HOME = ("Host", "localhost")
"""What a browser on the proxy's own host sends."""


class Client:
    """One connection to the proxy, on which a test sends every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(
        self,
        method: str,
        target: str,
        *fields: tuple[str, str],
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}"]
        if "Host" not in dict(fields):
            lines.append("Host: proxy.example")
        lines += [f"{name}: {value}" for name, value in fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))

    async def head(self) -> Got:
        line, fields = await _read_head(self.reader)
        _, status, reason = (line + " ").split(" ", 2)
        return Got(int(status), reason.strip(), fields)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a chunked body; raises IncompleteReadError when it is cut."""
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            data = await self.reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]

    async def got(self, *, bodiless: bool = False) -> Got:
        """The whole answer, or as much of it as came."""
        got = await self.head()
        try:
            if got.all("transfer-encoding"):
                async for data in self.chunks():
                    got.chunks.append(data)
                    got.body += data
            elif not bodiless and got.all("content-length"):
                got.body = await self.reader.readexactly(int(got.one("content-length")))
            elif not bodiless and got.status != 204:
                got.body = await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            got.body += getattr(error, "partial", b"")
            got.whole = False
        return got

    def close(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def connect(port: int, address: str | None = None) -> AsyncIterator[Client]:
    """A connection, from this loopback address if one is given: wrong keys are limited by address."""
    local = (address, 0) if address else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20, local_addr=local)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def ask(
    port: int,
    method: str,
    target: str,
    *fields: tuple[str, str],
    body: bytes | None = None,
    version: str = "1.1",
    address: str | None = None,
) -> Got:
    """One request on a connection of its own."""
    async with connect(port, address) as client:
        client.send(method, target, *fields, body=body, version=version)
        return await client.got(bodiless=method == "HEAD")
