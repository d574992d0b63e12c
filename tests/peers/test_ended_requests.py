"""A request is ended by the worker that has it, whichever worker the operator asks."""

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxycore.peers import hub, worker_link
from proxycore.peers.hub import Hub
from proxycore.peers.link_messages import EndRequest, RequestEnded, decode, encode
from proxycore.peers.store import Store
from proxycore.peers.worker_link import WorkerLink
from proxycore.stats.figures import FiguresError
from proxycore.stats.meter import Meter
from tests.support.clocks import CLOCK
from tests.support.process import program
from tests.support.proxy import KEYS
from tests.support.waiting import until
from tests.support.wire import CHUNKED, Client, RawUpstream, Seen, ask, chunk, connect

pytestmark = pytest.mark.usefixtures("io_loop")
ADMIN = ("x-goog-api-key", "the-admin")
JSON = ("Content-Type", "application/json")
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
EVENT = b"data: 1\r\n\r\n"


@contextlib.asynccontextmanager
async def linked(count: int) -> AsyncIterator[list[WorkerLink]]:
    """The links of so many workers to one hub."""
    with tempfile.TemporaryDirectory() as folder:
        path, listener = Path(folder, "hub"), socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        centre = Hub(lambda _: None, CLOCK)
        await centre.start(listener)
        links = [WorkerLink(path, Store(CLOCK), Meter(CLOCK)) for _ in range(count)]
        for link in links:
            await link.start()
        try:
            yield links
        finally:
            await asyncio.gather(*(link.close() for link in links))
            await centre.close()


async def test_the_worker_that_has_the_request_ends_it() -> None:
    async with linked(3) as links:
        asked: list[tuple[int, str]] = []

        def end(number: int, request: str) -> bool:
            asked.append((number, request))
            return number == 2 and request == "open"

        links[1].end_here = lambda request: end(1, request)
        links[2].end_here = lambda request: end(2, request)
        assert await links[0].end_request("open")
        assert sorted(asked) == [(1, "open"), (2, "open")]
        assert not await links[0].end_request("over")
        assert not await links[2].end_request("open")  # which asks the others only
        assert await asyncio.gather(*(links[0].end_request(name) for name in ("open", "over"))) == [
            True,
            False,
        ]


async def test_a_worker_without_others_is_told_that_there_is_none() -> None:
    async with linked(1) as links:
        assert not await links[0].end_request("open")


async def test_while_a_worker_does_not_reply_nobody_says_that_there_is_no_such_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "END_TIMEOUT", 0.05)
    monkeypatch.setattr(worker_link, "QUERY_TIMEOUT", 0.5)
    async with linked(3) as links:
        assert links[1]._channel
        links[1]._channel._handle = lambda *_: None
        with pytest.raises(FiguresError, match="do not respond now"):
            await links[0].end_request("open")
        links[2].end_here = lambda _: True
        assert await links[0].end_request("open")


async def test_a_hub_that_is_away_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "QUERY_TIMEOUT", 0.05)
    with pytest.raises(FiguresError, match="do not respond now"):
        await WorkerLink(Path("/nowhere"), Store(CLOCK), Meter(CLOCK)).end_request("open")


def test_messages_are_read_as_they_were_written() -> None:
    for message in (EndRequest(7, 'an "id"\n'), RequestEnded(7, True), RequestEnded(8, False)):
        assert decode(encode(message)) == message
        assert b"\n" not in encode(message)
    for line in (b'{"end": [1]}', b'{"end": ["1", "id"]}', b'{"ended": [1, 1]}', b'{"ended": [1, null]}'):
        with pytest.raises(ValueError, match="not a message"):
            decode(line)


async def endless(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + chunk(EVENT))
    await asyncio.sleep(600)


async def test_any_worker_ends_a_stream_of_any_other(tmp_path: Path) -> None:
    async with RawUpstream(endless) as upstream, contextlib.AsyncExitStack() as stack:
        environment = {**KEYS, "UPSTREAM_URL": upstream.url, "ADMIN_API_KEY": ADMIN[1], "WORKERS": "2"}
        started = stack.enter_context(program(folder=tmp_path, environment=environment))
        port = await asyncio.to_thread(lambda: started.port)

        async def end(name: str) -> int:
            body = json.dumps({"action": "end", "id": name}).encode()
            return (await ask(port, "POST", "/status.json", ADMIN, JSON, body=body)).status

        clients: dict[str, Client] = {}
        for number in range(12):
            client = clients[f"stream-{number}"] = await stack.enter_async_context(connect(port))
            client.send("POST", STREAM, ("X-Request-Id", f"stream-{number}"), body=b"{}")
            await client.reader.readuntil(EVENT)
        for name, client in clients.items():
            assert await end(name) == 200
            assert EVENT not in await client.reader.read()
            assert await end(name) == 404
        await until(lambda: all(seen.closed is not None for seen in upstream.seen))
        status = json.loads((await ask(port, "GET", "/status.json", ADMIN)).body)
        assert (status["workers"], status["totals"]["cut"], status["open"]["streams"]) == (2, 12, 0)
