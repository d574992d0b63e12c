"""Requests whose bodies are held: all together in bounded memory, and each as long as it is of use."""

import asyncio
import json

import pytest

from proxycore.transport.body_budget import SMALL
from tests.http.test_base_handler import status_of
from tests.support.proxy import proxy
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, ask, chunk, connect

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = always(answer(200, b"{}"))
MB = 1024 * 1024
BODY = bytes(range(256)) * (MB // 256)

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(60)]


class Gate:
    """An upstream that answers when it is told to."""

    def __init__(self, data: bytes = answer(200, b"{}")) -> None:
        self.data = data
        self.open = asyncio.Event()

    async def __call__(self, _: Seen, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        writer.write(self.data)


async def test_a_body_waits_for_room_and_is_served_when_there_is_some() -> None:
    gate = Gate()
    async with RawUpstream(gate) as upstream, proxy(upstream.url, MAX_HELD_MB="1.5") as here:
        first = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(upstream.seen) == 1)
        second = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: here.app.budget.waiting == 1)
        assert here.app.budget.held == MB
        gate.open.set()
        assert [(await first).status, (await second).status] == [200, 200]
        assert [seen.body for seen in upstream.seen] == [BODY, BODY]
        await until(lambda: here.app.budget.held == 0)


async def test_a_small_body_is_served_meanwhile() -> None:
    gate = Gate()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await (gate if len(seen.body) == MB else OK)(seen, writer)

    async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_HELD_MB="1") as here:
        large = [asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY)) for _ in range(3)]
        await until(lambda: here.app.budget.waiting == 2)
        assert (await ask(here.port, "POST", GENERATE, body=bytes(SMALL))).status == 200
        gate.open.set()
        assert {(await one).status for one in large} == {200}


@pytest.mark.parametrize("wait", ["0", "0.1"])
async def test_a_body_that_finds_no_room_in_time_is_refused_with_a_time_to_come_again(wait: str) -> None:
    gate = Gate()
    async with RawUpstream(gate) as upstream, proxy(upstream.url, MAX_HELD_MB="1", MAX_WAIT=wait) as here:
        first = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(upstream.seen) == 1)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, body=BODY)
            got = await client.got()
            assert status_of(got) == (503, "UNAVAILABLE")
            assert int(got.one("retry-after")) >= 1
            assert b"MAX_HELD_MB" in got.body
            gate.open.set()
            assert (await first).status == 200
            client.send("POST", GENERATE, body=BODY)  # the connection is as good as before
            assert (await client.got()).status == 200


async def test_one_who_asks_before_it_sends_is_refused_before_it_sends() -> None:
    gate = Gate()
    async with RawUpstream(gate) as upstream, proxy(upstream.url, MAX_HELD_MB="1", MAX_WAIT="0") as here:
        first = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(upstream.seen) == 1)
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ("Content-Length", str(MB)), ("Expect", "100-continue"))
            assert status_of(await client.got()) == (503, "UNAVAILABLE")
        gate.open.set()
        assert (await first).status == 200


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
async def test_a_body_that_could_never_be_held_is_refused_at_once(announced: bool) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, MAX_HELD_MB="0.5") as here:
        async with connect(here.port) as client:
            if announced:
                client.send("POST", GENERATE, body=BODY)
            else:
                client.send("POST", GENERATE, ("Transfer-Encoding", "chunked"))
                client.writer.write(chunk(BODY) + b"0\r\n\r\n")
            got = await client.got()
            assert status_of(got) == (413, "INVALID_ARGUMENT")
            assert b"0.5 MB (MAX_HELD_MB)" in got.body
            client.send("POST", GENERATE, body=b"{}")
            assert (await client.got()).status == 200
        assert here.app.budget.held == 0


async def test_two_half_sent_bodies_in_chunks_do_not_block_each_other() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, MAX_HELD_MB="1.5", MAX_WAIT="60") as here:
        async with connect(here.port) as one, connect(here.port) as other:
            for client in (one, other):
                client.send("POST", GENERATE, ("Transfer-Encoding", "chunked"))
                client.writer.write(chunk(BODY[: MB * 5 // 8]))
            await until(lambda: here.app.budget.held == 2 * (MB * 5 // 8))
            for client in (one, other):
                client.writer.write(chunk(BODY[MB * 5 // 8 :]) + b"0\r\n\r\n")
            statuses = sorted([(await one.got()).status, (await other.got()).status])
        assert statuses == [200, 503]
    assert upstream.seen[0].body == BODY


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
async def test_a_client_that_disconnects_while_it_waits_is_noticed(
    announced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    gate = Gate()
    async with RawUpstream(gate) as upstream, proxy(upstream.url, MAX_HELD_MB="1", MAX_WAIT="600") as here:
        first = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(upstream.seen) == 1)
        async with connect(here.port) as client:
            length = ("Content-Length", str(MB)) if announced else ("Transfer-Encoding", "chunked")
            client.send("POST", GENERATE, length)
            client.writer.write(BODY[:20_000] if announced else chunk(BODY[: SMALL + 1]))
            await until(lambda: here.app.budget.waiting == 1)
        await until(lambda: here.app.budget.waiting == 0)
        await until(lambda: len(here.app.context.running) == 1)
        gate.open.set()
        assert (await first).status == 200
        assert len(upstream.seen) == 1
    assert [vars(record)["fields"]["status"] for record in caplog.records if hasattr(record, "fields")] == [
        499,
        200,
    ]


async def test_the_program_ends_while_clients_wait() -> None:
    gate = Gate()
    async with RawUpstream(gate) as upstream, proxy(upstream.url, MAX_HELD_MB="1", MAX_WAIT="600") as here:
        first = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: len(upstream.seen) == 1)
        second = asyncio.create_task(ask(here.port, "POST", GENERATE, body=BODY))
        await until(lambda: here.app.budget.waiting == 1)
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(outcome, OSError | EOFError) for outcome in outcomes)


async def test_a_body_is_let_go_as_soon_as_the_response_streams() -> None:
    more = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: 1\r\n\r\n"))
        await more.wait()
        writer.write(b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", GENERATE, body=BODY)
        assert (await client.head()).status == 200
        assert upstream.seen[0].body == BODY
        await until(lambda: here.app.budget.held == 0)
        more.set()
        assert [data async for data in client.chunks()] == [b"data: 1\r\n\r\n"]


@pytest.mark.turned
async def test_an_upstream_that_responds_before_it_has_the_body_still_gets_all_of_it() -> None:
    sizes: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + chunk(b"data: 1\r\n\r\n"))
        await asyncio.sleep(0.05)
        sizes.append(len(await reader.readexactly(16 * MB)))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy(f"http://127.0.0.1:{port}") as here:
        got = await ask(here.port, "POST", GENERATE, body=bytes(16 * MB))
        assert (got.status, got.whole) == (200, True)
        await until(lambda: here.app.budget.held == 0)
    assert sizes == [16 * MB]


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 3 * MB + 7])
async def test_another_key_gets_the_whole_body_again(size: int) -> None:
    def error(status: int) -> bytes:
        content = {"code": status, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded"}
        return answer(status, json.dumps({"error": content}).encode(), ("Content-Type", "application/json"))

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(error(429) if len(upstream.seen) == 1 else answer(200, b"{}"))

    body = (BODY * 4)[:size]
    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "POST", GENERATE, body=body)).status == 200
    assert [seen.body == body for seen in upstream.seen] == [True, True]
    assert [seen.all("content-length") for seen in upstream.seen] == [[str(size)]] * 2


async def test_whatever_becomes_of_requests_nothing_stays_held() -> None:
    error = {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}
    script = always(answer(400, json.dumps({"error": error}).encode()))
    async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_BODY_MB="2") as here:
        assert (await ask(here.port, "POST", GENERATE, body=BODY)).status == 400
        assert (await ask(here.port, "POST", GENERATE, body=BODY * 3)).status == 413
        assert (await ask(here.port, "POST", "/v1beta/files", body=BODY)).status == 400
        assert (await ask(here.port, "POST", "/nowhere", body=BODY)).status == 404
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ("Content-Length", str(MB)))
            client.writer.write(BODY[:1000])
            await until(lambda: here.app.budget.held > 0)
        await until(lambda: not here.app.context.running)
        assert (here.app.budget.held, here.app.budget.waiting) == (0, 0)
