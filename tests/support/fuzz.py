"""Mutations of valid and of odd messages, sent through the program, and judged by a strict reading of them.

A batch is decided by its seed. Of requests, nothing reaches the upstream but what a strict reading of them
finds. Of responses, a client gets nothing as whole but what a reading of them finds.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tests.support.odd_responses import BODIES, FRAMING, HEADS
from tests.support.raw_socket import OK, Cut, Recorder, UpstreamSocket, always, raw_client
from tests.support.smuggling import CHUNKS, CODINGS, LENGTHS, NEXT
from tests.support.smuggling_heads import FIELDS, HOSTS, LINES
from tests.support.strict_http import Message, Reading, read_requests, read_responses

_AT_ONCE = 64
_PATIENCE = 0.3  # seconds that an exchange may be silent: mutated messages often wait for more
_TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b";", b"\x0b", b"\xa0", b"\x7f", b'"', b"="),
    *(
        b"0",
        b"1",
        b"2",
        b"f",
        b"-",
        b"+",
        b"x",
        b"_",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"2\r\n{}\r\n",
        b"{}",
        b";a=b",
    ),
    *(b"Content-Length: 2\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked"),
    *(
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Host: a\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"GET ",
    ),
)
_REQUESTS = [
    case.raw for table in (LENGTHS, CODINGS, CHUNKS, HOSTS, FIELDS, LINES) for case in table.values()
]
_RESPONSES = [(odd.raw, odd.close) for table in (FRAMING, HEADS, BODIES) for odd in table.values()]


class Mutator:
    """Random changes, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same every time

    def mutated(self, samples: Sequence[bytes]) -> bytes:
        """One of the samples, or two, with up to four changes."""
        data = self.random.choice(samples)
        if self.random.random() < 0.2:
            data += self.random.choice(samples)
        for _ in range(self.random.randrange(5)):
            data = self._changed(data, samples)
        return data

    def _changed(self, data: bytes, samples: Sequence[bytes]) -> bytes:
        start = self.random.randint(0, len(data))
        end = min(len(data), start + self.random.choice((1, 1, 2, 5, 20)))
        token = self.random.choice(_TOKENS)
        other = self.random.choice(samples)
        return self.random.choice(
            (
                data[:start] + token + data[start:],
                data[:start] + token + data[end:],
                data[:start] + data[end:],
                data[:end] + data[start:],
                data[:start] + bytes([self.random.randrange(256)]) + data[start + 1 :],
                data[:start] + other[self.random.randint(0, len(other)) :],
            )
        )

    def pieces(self, data: bytes) -> list[bytes]:
        """The data, split at up to five random places."""
        places = sorted(self.random.randint(0, len(data)) for _ in range(self.random.randrange(6)))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@dataclass(frozen=True)
class Input:
    """What is sent, in pieces; for a response whether the upstream closes behind it."""

    pieces: list[bytes]
    close: bool = False

    @property
    def raw(self) -> bytes:
        return b"".join(self.pieces)


def requests(seed: int, count: int) -> list[Input]:
    """Mutated requests."""
    source = Mutator(seed)
    samples = [raw for raw in _REQUESTS if len(raw) < 2000]
    return [Input(source.pieces(source.mutated(samples))) for _ in range(count)]


def responses(seed: int, count: int) -> list[Input]:
    """Mutated responses.

    What follows a whole response comes together with it: later it could belong to the next request.
    """
    source = Mutator(seed)
    samples = [raw for raw, _ in _RESPONSES if len(raw) < 2000]
    found = []
    for _ in range(count):
        raw = source.mutated(samples)
        one = Input(source.pieces(raw), close=source.random.random() < 0.5)
        read = read_responses(raw, [b"POST"], closed=one.close, lenient=True)
        found.append(one if len(read.messages) == 1 and read.whole else replace(one, pieces=[raw]))
    return found


class Fuzzer:
    """Sends inputs through the program that listens on `port`; what is wrong is returned as text."""

    def __init__(self, upstream: Recorder, port: int) -> None:
        self._upstream, self._port = upstream, port

    async def requests(self, inputs: list[Input]) -> list[str]:
        """What is wrong with these requests, each with the bytes that did it."""
        self._upstream.respond = always(OK)
        if not await self._batch(inputs):
            return []
        alone = [(one, await self._batch([one])) for one in inputs]
        return [f"{wrong}\nsent: {one.pieces}" for one, wrong in alone if wrong] or [
            "only all together do it"
        ]

    async def _batch(self, inputs: list[Input]) -> str:
        wrong = [one for one in await _all(self._request, inputs) if one]
        await self._quiet()
        arrived, wrong_upstream = self._take()
        wrong += wrong_upstream
        sent = [NEXT, *(one.raw + NEXT for one in inputs)]
        meant = {_essence(message) for raw in sent for message in read_requests(raw).messages}
        wrong += [f"upstream it was {message}" for message in arrived if _essence(message) not in meant]
        return "\n".join(wrong)

    def _take(self) -> tuple[list[Message], list[str]]:
        """What has arrived upstream, and what was malformed there."""
        readings = [connection.reading for connection in self._upstream.connections]
        arrived = [message for reading in readings for message in reading.messages]
        wrong = [f"malformed at the upstream: {reading.error}" for reading in readings if reading.error]
        for reading in readings:
            reading.messages.clear()
            reading.error = ""
        return arrived, wrong

    async def _request(self, one: Input) -> str:
        got, closed = await self._exchange(one.pieces, NEXT)
        if b"HEAD" in one.raw:
            return ""  # how long the response is depends on how the request was read
        answered = read_responses(got, closed=closed)
        return f"the response is malformed: {answered}" if answered.error else ""

    async def responses(self, inputs: list[Input]) -> list[str]:
        """The same for these responses of the upstream."""
        plans: dict[bytes, Input] = {}
        tasks: set[asyncio.Task[None]] = set()

        def respond(connection: UpstreamSocket, request: Message) -> None:
            if one := plans.get(request.target):
                task = asyncio.ensure_future(_send(connection, one))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                connection.write(OK)

        async def run(one: Input) -> str:
            target = b"/v1/models/m%d:m" % len(plans)
            plans[target] = one
            ask = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}" % target
            wrong = _misread(one, *await self._exchange([ask], b""))
            return f"{wrong}\nsent: {one.pieces}, {'closed' if one.close else 'open'}" if wrong else ""

        self._upstream.respond = respond
        wrong = [found for found in await _all(run, inputs) if found]
        await self._quiet()
        return wrong + self._take()[1]

    async def _exchange(self, pieces: Iterable[bytes], last: bytes) -> tuple[bytes, bool]:
        """All that came until the end or a silence, and whether it was the end."""
        async with raw_client(self._port) as client:
            for piece in (*pieces, last):
                client.write(piece)
                await asyncio.sleep(0)
            size = -1
            while not client.gone.is_set() and size != len(client.data):
                size = len(client.data)
                try:
                    await asyncio.wait_for(client.gone.wait(), _PATIENCE)
                except TimeoutError:
                    continue
            return bytes(client.data), client.fin

    async def _quiet(self) -> None:
        """Wait until what the program has sent upstream is here."""
        for _ in range(4):
            await self._exchange([], NEXT)


async def _all(run: Callable[[Input], object], inputs: list[Input]) -> list[str]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(given: Input) -> str:
        async with turns:
            return str(await run(given))  # type: ignore[misc]

    return await asyncio.gather(*map(one, inputs))


async def _send(connection: UpstreamSocket, one: Input) -> None:
    for piece in one.pieces:
        connection.write(piece)
        await asyncio.sleep(0)
    if one.close:
        connection.end(Cut.FIN)


def _essence(message: Message) -> tuple[bytes, bytes, bytes]:
    method, target, _ = message.line
    if target.startswith(b"//"):
        target = b"/" + target.lstrip(b"/")  # several slashes at the start count as one
    return method, target, message.body


def _misread(one: Input, got: bytes, closed: bool) -> str:
    answered = read_responses(got, [b"POST"], closed=closed)
    if answered.error or len(answered.messages) > 1:
        return f"the response is malformed: {answered}"
    if not answered.messages or answered.messages[0].status == 500:
        return ""
    seen = answered.messages[0]
    meant: Reading = read_responses(one.raw, [b"POST"], closed=one.close, lenient=True)
    if meant.messages and (meant.messages[0].status, meant.messages[0].body) == (seen.status, seen.body):
        return ""
    return f"a client got {seen}, and meant was {meant}"
