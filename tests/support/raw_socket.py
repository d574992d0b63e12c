"""Connections on which a test says every byte and how they end, and an upstream that records every byte."""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self, cast

from tests.support.process import Program, program
from tests.support.strict_http import Message, Reading, read_requests
from tests.support.waiting import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Cut(enum.Enum):
    """How a connection is ended."""

    FIN = enum.auto()
    RST = enum.auto()


class RawSocket(asyncio.Protocol):
    """One end of a connection: what came, whether it is over, and whether it ended with a FIN."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.fin = False
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.fin = True
        return False

    def connection_lost(self, _: Exception | None) -> None:
        self.gone.set()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def end(self, how: Cut) -> None:
        """End it, after all that was written."""
        if how is Cut.FIN:
            self.transport.close()
            return
        handle: socket.socket = self.transport.get_extra_info("socket")
        if not self.gone.is_set():
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def over(self) -> None:
        """Wait until the other side has ended it."""
        await asyncio.wait_for(self.gone.wait(), PATIENCE)


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawSocket]:
    """A connection to the proxy."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(RawSocket, "127.0.0.1", port)
    try:
        yield client
    finally:
        client.transport.abort()


class UpstreamSocket(RawSocket):
    """A connection of the proxy at the upstream, with all requests that were whole."""

    def __init__(self, recorder: "Recorder") -> None:
        super().__init__()
        self.reading = Reading()
        self._recorder = recorder

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._recorder.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._recorder.watch(self)
        found = read_requests(self.reading.rest + data)
        self.reading.rest, self.reading.error = found.rest, found.error
        for message in found.messages:
            self.reading.messages.append(message)
            self._recorder.respond(self, message)
        if found.error:
            self.transport.close()


Respond = Callable[[UpstreamSocket, Message], None]


def always(data: bytes) -> Respond:
    """Answers every request with these bytes."""
    return lambda upstream, _: upstream.write(data)


serve = always(OK)


class Recorder:
    """An upstream that keeps every byte. `respond` is told of whole requests, `watch` of all that comes."""

    def __init__(self, respond: Respond = serve) -> None:
        self.respond = respond
        self.watch: Callable[[UpstreamSocket], None] = lambda _: None
        self.connections: list[UpstreamSocket] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: UpstreamSocket(self), "127.0.0.1", 0, backlog=4096)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection, as a server that goes away does."""
        for connection in self.connections:
            connection.transport.close()

    def take(self) -> list[Message]:
        """The whole requests since the last time; raises AssertionError if anything was malformed."""
        for connection in self.connections:
            assert not connection.reading.error, f"{connection.reading.error} in {bytes(connection.data)!r}"
        messages = [message for one in self.connections for message in one.reading.messages]
        for connection in self.connections:
            connection.reading.messages.clear()
        self.connections = [one for one in self.connections if not one.gone.is_set()]
        return messages


SECRETS = {"GOOGLE_API_KEY_1": "upstream-key-number-one", "GOOGLE_API_KEY_2": "upstream-key-number-two"}


@contextlib.asynccontextmanager
async def running(folder: Path, upstream_url: str, **environment: str) -> AsyncIterator[Program]:
    """The program in front of this upstream, until the end; nothing may fail in it."""
    variables = {"UPSTREAM_URL": upstream_url, **SECRETS, "MAX_ATTEMPTS": "1", "MAX_WAIT": "0", **environment}
    with program(folder=folder, environment=variables) as started:
        await asyncio.to_thread(lambda: started.port)
        yield started
        assert started.process.poll() is None
    for said in ("Traceback", "internal error", *SECRETS.values()):
        before, found, after = started.log.partition(said)
        assert not found, before[-1000:] + found + after[:4000]
