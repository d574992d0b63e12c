"""What the relay passes on, as bytes on both sides."""

import asyncio
import contextlib
import gc
import gzip
import itertools
import socket

import pytest

from proxycore.http import incoming_body
from proxycore.http.idle_timer import IdleTimer
from proxycore.relay.handler import RelayHandler
from proxycore.runtime import app
from proxycore.transport.attempt import Attempt
from proxycore.transport.messages import Outgoing
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.response_writer import ResponseWriter
from proxycore.transport.server_request import ServerRequest
from tests.support.proxy import KEYS, proxy
from tests.support.waiting import at_once, quiet, until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, ask, chunk, connect, connections_to

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
ONE_KEY = {"GOOGLE_API_KEY_1": KEYS["GOOGLE_API_KEY_1"]}

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_status_fields_and_body_arrive_as_the_upstream_sent_them() -> None:
    fields = (
        ("Content-Type", "application/json"),
        ("X-Twice", "a"),
        ("X-Twice", "b"),
        ("Server", "scaffolding"),
    )
    sent = answer(203, b'{"a": 1}', *fields, reason="Fine By Me")
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
    assert (got.status, got.reason, got.body) == (203, "Fine By Me", b'{"a": 1}')
    assert got.all("x-twice") == ["a", "b"]
    assert (got.one("server"), got.one("content-type")) == ("scaffolding", "application/json")


async def test_method_target_fields_and_body_go_on_as_the_client_sent_them() -> None:
    target = "/v1beta/models/a%2Fb:x?b=&a=1&a=%20&&c&alt=sse&$x=+"
    fields = (
        ("X-Goog-Api-Client", "gl-py/1"),
        ("Accept-Encoding", "gzip"),
        ("X-Twice", "a"),
        ("X-Twice", "b"),
        ("X-Empty", ""),
    )
    async with RawUpstream(always(answer(200))) as upstream, proxy(upstream.url) as here:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            await ask(here.port, method, target, *fields, body=b"\x00\xffnot json")
    assert [seen.method for seen in upstream.seen] == ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    for seen in upstream.seen:
        assert (seen.target, seen.body) == (target, b"\x00\xffnot json")
        assert seen.all("x-twice") == ["a", "b"]
        assert seen.all("x-empty") == [""]
        names = [name.lower() for name, _ in seen.fields]
        assert set(names) == {
            "host",
            "x-goog-api-key",
            "x-goog-api-client",
            "accept-encoding",
            "x-twice",
            "x-empty",
            "content-length",
        }


async def test_several_slashes_at_the_start_count_as_one() -> None:
    async with RawUpstream(always(answer(200))) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "GET", "///v1/models//x")).status == 200
    assert upstream.seen[0].target == "/v1/models//x"


async def test_a_path_in_the_upstream_url_goes_before_every_target() -> None:
    async with RawUpstream(always(answer(200))) as upstream, proxy(upstream.url + "/gateway/") as here:
        await ask(here.port, "GET", "/v1/models?x=1")
    assert upstream.seen[0].target == "/gateway/v1/models?x=1"


async def test_head_responses_keep_their_length_and_have_no_body() -> None:
    async with RawUpstream(always(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")) as upstream:
        async with proxy(upstream.url) as here, connect(here.port) as client:
            for _ in range(2):
                client.send("HEAD", "/v1/models")
                got = await client.got(bodiless=True)
                assert (got.status, got.one("content-length")) == (200, "1234")


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"], ids=["no length", "length 0"])
@pytest.mark.parametrize("status", [204, 205, 304])
async def test_responses_without_a_body_leave_the_connection_usable(status: int, length: bytes) -> None:
    length = length or (b"Content-Length: 0\r\n" if status == 205 else b"")
    async with RawUpstream(always(b"HTTP/1.1 %d Q\r\nX-A: b\r\n%s\r\n" % (status, length))) as upstream:
        async with proxy(upstream.url) as here, connect(here.port) as client:
            for _ in range(2):
                client.send("GET", "/v1/models")
                got = await client.got(bodiless=True)
                assert (got.status, got.one("x-a")) == (status, "b")


async def test_interim_responses_and_trailers_are_not_mistaken_for_the_response() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        writer.write(CHUNKED + chunk(b"data") + b"0\r\nX-Trailer: t\r\n\r\n")

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", "/v1/models")
    assert (got.status, got.body, got.all("link"), got.all("x-trailer")) == (200, b"data", [], [])


async def test_compressed_responses_stay_compressed() -> None:
    body = gzip.compress(b"{}" * 100)
    sent = answer(200, body, ("Content-Encoding", "gzip"))
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", "/v1/models", ("Accept-Encoding", "gzip"))
    assert (got.one("content-encoding"), got.body) == ("gzip", body)


async def test_every_chunk_goes_on_at_once() -> None:
    go_on = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for number in range(5):
            await go_on.wait()
            go_on.clear()
            writer.write(chunk(b"data: %d\r\n\r\n" % number))
        writer.write(b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", STREAM, body=b"{}")
        go_on.set()  # a stream's head waits for its first event
        assert (await client.head()).status == 200
        chunks = client.chunks()
        assert await anext(chunks) == b"data: 0\r\n\r\n"
        for number in range(1, 5):
            go_on.set()  # the upstream says no more until this piece has arrived
            assert await anext(chunks) == b"data: %d\r\n\r\n" % number
        assert [data async for data in chunks] == []


async def test_an_upstream_that_breaks_off_cuts_the_client() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: 1\r\n\r\n"))
        await writer.drain()
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "POST", STREAM, body=b"{}")
    assert (got.body, got.whole) == (b"data: 1\r\n\r\n", False)
    assert len(upstream.seen) == 1


async def test_a_response_shorter_than_its_length_cuts_the_client() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await writer.drain()
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", "/v1/models")
    assert (got.body, got.whole) == (b"12345", False)


async def test_a_client_of_http_1_0_is_served_and_told_the_end_by_the_close() -> None:
    async with RawUpstream(always(CHUNKED + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n")) as upstream:
        async with proxy(upstream.url) as here:
            got = await ask(here.port, "GET", "/v1/models", ("Connection", "keep-alive"), version="1.0")
    assert (got.status, got.body, got.all("transfer-encoding")) == (200, b"onetwo", [])


@pytest.mark.turned
async def test_a_client_of_http_1_0_sees_a_cut_as_a_reset() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"one"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", "/v1/models", version="1.0")
    assert not got.whole


async def test_connections_to_the_upstream_are_reused() -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        for _ in range(10):
            await ask(here.port, "POST", GENERATE, body=b"{}")
        assert upstream.connections == 1


class Departures:
    """The phases in which a client can leave."""

    @staticmethod
    async def thinking(_: Seen, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    @staticmethod
    async def streaming(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _i in itertools.count():
            writer.write(chunk(b"data: {}\r\n\r\n"))
            await asyncio.sleep(0.01)

    @staticmethod
    async def stalled(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(bytes(65536)))
            await writer.drain()

    @staticmethod
    async def in_an_error(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(60)


@pytest.mark.turned
@pytest.mark.parametrize("phase", ["thinking", "streaming", "stalled", "in_an_error"])
async def test_a_client_that_disconnects_ends_the_upstream_request_at_once(
    phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with RawUpstream(getattr(Departures, phase)) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("POST", STREAM, body=b"{}")
            await until(lambda: bool(upstream.seen))
            await quiet()
            assert upstream.seen[0].closed is None
        await at_once(lambda: upstream.seen[0].closed is not None)
        assert not here.app.context.running
        assert len(upstream.seen) == 1
    (line,) = [record for record in caplog.records if record.message == "client disconnected"]
    assert line.fields["status"] == 499  # type: ignore[attr-defined]


async def test_a_stream_that_is_cut_ignores_what_still_arrives(caplog: pytest.LogCaptureFixture) -> None:
    async with RawUpstream(Departures.streaming) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("POST", STREAM, body=b"{}")
            await client.head()
            (running,) = here.app.context.running
            assert isinstance(running, RelayHandler)
            running.cut()
            # More of the answer can come before the attempt hears of it.
            assert ResponseWriter(running, ResponseHead(200, "OK", [])).send(b"more") is None
        await until(lambda: not here.app.upstream.busy)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("status", [200, 404, 500], ids=["streamed", "kept", "broken"])
async def test_a_request_is_forgotten_when_it_is_answered(status: int) -> None:
    # Without a collector, which would take its time while bodies of megabytes wait for it.
    def left() -> list[str]:
        kinds = (Attempt, RelayHandler, Outgoing, IdleTimer)
        return [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds)]

    sent = b"no answer at all" if status == 500 else answer(status, b"{}")
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url) as here:
        gc.collect()
        gc.disable()
        try:
            async with connect(here.port) as client:
                for _ in range(5):
                    client.send("POST", GENERATE, body=bytes(100_000))
                    assert (await client.got()).status == status
            await until(lambda: left() == [])
        finally:
            gc.enable()


async def test_nothing_is_left_of_a_thousand_disconnects() -> None:
    async with RawUpstream(Departures.streaming) as upstream, proxy(upstream.url) as here:
        before = len(asyncio.all_tasks())
        for _ in range(20):
            async with contextlib.AsyncExitStack() as stack:
                opened = [await stack.enter_async_context(connect(here.port)) for _ in range(50)]
                for number, leaver in enumerate(opened):
                    leaver.send("POST", STREAM, body=b"{}")
                    if number % 2:
                        await leaver.head()
        await until(lambda: not here.app.context.running)
        await until(lambda: all(seen.closed for seen in upstream.seen))
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)
        assert not here.app.upstream.busy
        assert here.app.upstream.connections == 0
        await until(lambda: connections_to(upstream.port) == 0)


async def test_a_client_that_disconnects_while_the_connection_is_opened_leaves_nothing_behind() -> None:
    # A listener that accepts nothing, with its queue full: the kernel lets further connections hang.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        port = deaf.getsockname()[1]
        before = connections_to(port)
        async with proxy(f"http://127.0.0.1:{port}", ONE_KEY) as here:
            async with connect(here.port) as client:
                client.send("POST", STREAM, body=b"{}")
                await until(lambda: connections_to(port) == before + 1)
                assert len(here.app.context.running) == 1
            await until(lambda: not here.app.context.running)
            await until(lambda: connections_to(port) == before)
        for filler in fillers:
            filler.close()


@pytest.mark.turned
async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    written = 0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(CHUNKED)
        for _i in range(2000):
            writer.write(chunk(bytes(65536)))
            await writer.drain()
            written += 65536
        writer.write(b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("GET", STREAM)
        got = await client.head()
        await quiet()
        assert written < 130_000_000  # it waits
        (handler,) = here.app.context.running
        assert isinstance(handler, RelayHandler)
        connection = handler.request.connection
        assert isinstance(connection, ServerRequest)
        assert connection.unsent_bytes <= 256 * 1024
        async for data in client.chunks():
            got.body += data if len(got.body) < 100 else b""
        assert written == 2000 * 65536


@pytest.mark.turned
async def test_no_timer_ends_a_stream_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every time limit of ours, and the only one that is Tornado's, is a third of what the stream takes.
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _i in range(15):
            writer.write(chunk(b"x"))
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")

    for module in (incoming_body, app):
        monkeypatch.setattr(module, "CLIENT_IDLE_TIMEOUT", 0.5)
    async with RawUpstream(script) as upstream:
        limits = {
            "IDLE_TIMEOUT": "0.5",
            "FIRST_BYTE_TIMEOUT": "0.5",
            "CONNECT_TIMEOUT": "0.5",
            "MAX_WAIT": "0.5",
            "DRAIN_TIMEOUT": "0.5",
        }
        async with proxy(upstream.url, KEYS | limits) as here:
            got = await ask(here.port, "POST", STREAM, body=b"{}")
    assert (got.whole, got.body) == (True, b"x" * 15)


async def test_an_idle_timeout_inside_a_response_cuts_the_client() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"x"))
        await asyncio.sleep(60)

    async with RawUpstream(script) as upstream, proxy(upstream.url, IDLE_TIMEOUT="0.2") as here:
        got = await ask(here.port, "GET", STREAM)
        assert (got.whole, got.body) == (False, b"x")
        await until(lambda: upstream.seen[0].closed is not None)


async def test_a_timeout_before_the_response_is_reported_and_not_retried() -> None:
    async with (
        RawUpstream(Departures.thinking) as upstream,
        proxy(upstream.url, FIRST_BYTE_TIMEOUT="0.2") as here,
    ):
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
        assert got.status == 500
        assert b"timed out: no data for 0.2 seconds" in got.body
        assert len(upstream.seen) == 1
        assert here.app.rotator.usable
