"""Eight exchanges of a request and a response, small enough to be cut at every byte on either side."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tests.support.raw_socket import Cut, RawSocket, Recorder, UpstreamSocket, raw_client
from tests.support.strict_http import Message, Reading, read_responses
from tests.support.waiting import PATIENCE, until

_FIELDS = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
_POST = b"POST /v1/models/%06d:m" + _FIELDS + b"Content-Length: 2\r\n\r\n{}"
_UPLOAD = (
    b"POST /upload/v1/files?n=%06d" + _FIELDS + b"X-Goog-Upload-Protocol: raw\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
)
_OK = b"HTTP/1.1 200 OK\r\n"
_STREAM = b"data: 1\r\n\r\n", b"data: 2\r\n\r\n"
_CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in _STREAM)


@dataclass(frozen=True)
class Exchange:
    """A request, with a number in place of `%06d`; the response to it, and what a client gets of that."""

    request: bytes
    response: bytes
    status: int = 200
    body: bytes = b"{}"
    close: bool = False  # the end of the connection is the end of the body

    @property
    def method(self) -> bytes:
        return self.request.split(b" ")[0]

    @property
    def head(self) -> int:
        """The size of the response's head."""
        return self.response.index(b"\r\n\r\n") + 4


EXCHANGES = {
    "JSON with a length": Exchange(_POST, _OK + b"Content-Length: 2\r\n\r\n{}"),
    "a stream of events": Exchange(
        _POST.replace(b":m", b":streamGenerateContent?alt=sse"),
        _OK
        + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + _CHUNKS
        + b"0\r\n\r\n",
        body=b"".join(_STREAM),
    ),
    "a body that ends with the connection": Exchange(
        _POST, _OK + b'\r\n{"a":1}', body=b'{"a":1}', close=True
    ),
    "an upload": Exchange(_UPLOAD, _OK + b"Content-Length: 2\r\n\r\n{}"),
    "HEAD": Exchange(
        b"HEAD /v1/models/%06d" + _FIELDS + b"\r\n", _OK + b"Content-Length: 9\r\n\r\n", body=b""
    ),
    "204": Exchange(_POST, b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "interim responses": Exchange(
        _POST, b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + _OK + b"Content-Length: 2\r\n\r\n{}"
    ),
}

REFUSAL = b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"spent"}}'
FAILOVER = Exchange(
    _POST, b"HTTP/1.1 429 X\r\nContent-Length: %d\r\n\r\n" % len(REFUSAL) + REFUSAL, 429, REFUSAL
)
"""Its response is that to the first attempt; the next gets `OK`."""


class Trials:
    """Runs exchanges, many at once, each of which goes wrong in one place; `problems` are those that hurt."""

    def __init__(self, upstream: Recorder, port: int) -> None:
        self.problems: list[str] = []
        self._port = port
        self._numbers = 0
        self._plans: dict[int, Callable[[UpstreamSocket], None]] = {}
        self.asked: dict[int, int] = {}
        upstream.respond = self._respond

    async def run(self, trials: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Run all of them."""
        turns = asyncio.Semaphore(64)

        async def one(trial: Callable[[], Awaitable[None]]) -> None:
            async with turns:
                await trial()

        await asyncio.gather(*map(one, trials))

    def _respond(self, connection: UpstreamSocket, request: Message) -> None:
        number = int(
            request.target.rpartition(b"=")[2] if b"?n=" in request.target else request.target[11:17]
        )
        self.asked[number] = self.asked.get(number, 0) + 1
        self._plans[number](connection)

    def next(self, plan: Callable[[UpstreamSocket], None]) -> int:
        """The number of a trial whose requests are answered by this plan."""
        self._numbers += 1
        self._plans[self._numbers] = plan
        return self._numbers

    async def response_cut(self, name: str, exchange: Exchange, at: int, how: Cut) -> None:
        """The upstream sends so many bytes, and then ends the connection."""

        def plan(connection: UpstreamSocket) -> None:
            connection.write(exchange.response[:at])
            connection.end(how)

        number = self.next(plan)
        async with raw_client(self._port) as client:
            client.write(exchange.request % number)
            await client.over()
            got = read_responses(bytes(client.data), [exchange.method], closed=client.fin)
        if wrong := cut_seen(exchange, at, how, got):
            self.problems.append(f"{name}, the response cut at {at} by {how.name}: {wrong}")

    async def request_cut(self, name: str, exchange: Exchange, at: int, how: Cut) -> None:
        """The client sends so many bytes, and then ends the connection."""
        number = self.next(lambda connection: connection.end(Cut.RST))
        async with raw_client(self._port) as client:
            client.write((exchange.request % number)[:at])
            if how is Cut.FIN:
                client.transport.write_eof()
                await client.over()
            else:
                await asyncio.sleep(0)
                client.end(how)
        if number in self.asked:
            self.problems.append(f"{name}, the request cut at {at} by {how.name}: it went upstream as whole")

    async def client_leaves(self, name: str, exchange: Exchange, at: int, how: Cut) -> None:
        """The client leaves when the upstream has sent so many bytes of its response."""
        begun: asyncio.Future[UpstreamSocket] = asyncio.get_running_loop().create_future()

        def plan(connection: UpstreamSocket) -> None:
            connection.write(exchange.response[:at])
            begun.set_result(connection)

        async with raw_client(self._port) as client:
            client.write(exchange.request % self.next(plan))
            connection = await asyncio.wait_for(begun, PATIENCE)
            await asyncio.sleep(0.002)
            client.end(how)
        try:
            await connection.over()
        except TimeoutError:
            self.problems.append(f"{name}, the client left at {at} by {how.name}: the upstream's goes on")

    async def upload_cut(self, at: int, how: Cut, upstream: Recorder) -> None:
        """The upstream ends the connection when so many bytes of an upload have come."""
        exchange = EXCHANGES["an upload"]
        number = self.next(lambda connection: connection.end(how))
        mark = b"?n=%06d" % number

        def watch(connection: UpstreamSocket) -> None:
            if len(connection.data) >= at and mark in connection.data:
                connection.end(how)

        upstream.watch = watch
        async with raw_client(self._port) as client:
            whole = exchange.request % number
            middle = whole.index(b"\r\n\r\n") + 4
            await _drip(client, [whole[:middle], *(whole[at : at + 1] for at in range(middle, len(whole)))])
            await client.over()
            got = read_responses(bytes(client.data), [exchange.method], closed=client.fin)
        statuses = [one.status for one in got.messages]
        if statuses != [500] or got.error:
            self.problems.append(f"the upload cut at {at} by {how.name}: {got}")

    async def first_response_cut(self, at: int, how: Cut) -> None:
        """The upstream cuts its refusal of the first key, and serves the second."""
        numbers: list[int] = []

        def plan(connection: UpstreamSocket) -> None:
            if self.asked[numbers[0]] > 1:
                connection.write(_OK + b"Content-Length: 2\r\n\r\n{}")
                return
            connection.write(FAILOVER.response[:at])
            connection.end(how)

        numbers.append(self.next(plan))
        async with raw_client(self._port) as client:
            client.write(FAILOVER.request % numbers[0])
            await client.over()
            got = read_responses(bytes(client.data), [b"POST"], closed=client.fin)
        seen = [(one.status, one.body if one.status == 200 else b"") for one in got.messages]
        allowed = [[(200, b"{}")]] if at == len(FAILOVER.response) else [[(200, b"{}")], [(500, b"")]]
        if seen not in allowed or not got.whole:
            self.problems.append(f"the first response cut at {at} by {how.name}: {got}")


async def _drip(client: RawSocket, pieces: list[bytes]) -> None:
    for piece in pieces:
        if client.gone.is_set():
            return
        client.write(piece)
        await asyncio.sleep(0)


def cut_seen(exchange: Exchange, at: int, how: Cut, got: Reading) -> str:
    """What is wrong with what a client got of a response that was cut; empty if nothing is."""
    body = exchange.body
    whole = at == len(exchange.response)
    if exchange.close and how is Cut.FIN and at >= exchange.head:
        whole, body = True, exchange.body[: at - exchange.head]  # nobody can tell
    elif exchange.close:
        whole = False
    if got.error:
        return got.error
    seen = [(one.status, one.body) for one in got.messages if one.status != 500]
    if whole and how is Cut.FIN:
        return "" if seen == [(exchange.status, body)] else f"{got}"
    if seen and not whole:
        return f"it seems whole: {got}"
    return ""


async def all_closed(upstream: Recorder) -> None:
    """Wait until each connection on which the upstream has seen half a request is closed."""
    await until(lambda: all(one.gone.is_set() or not one.reading.rest for one in upstream.connections))
