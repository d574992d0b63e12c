"""What comes on a client's connection, byte by byte, and in which order it is answered."""

import asyncio
import json
import socket
import struct

import pytest

from proxycore.transport.listener import Listener
from proxycore.transport.server_connection import HEAD_TIMEOUT
from tests.support.proxy import proxy
from tests.support.waiting import PATIENCE, quiet, until
from tests.support.wire import (
    CHUNKED,
    Client,
    RawUpstream,
    Seen,
    Upstream,
    always,
    answer,
    chunk,
    connect,
    read_request,
)

GENERATE = b"/v1beta/models/gemini-2.5-flash:generateContent"
HOST = b"Host: proxy.example\r\n"
POST = b"POST " + GENERATE + b" HTTP/1.1\r\n" + HOST
STREAMED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"GET /v1beta/models/last HTTP/1.1\r\n" + HOST + b"\r\n"
OK = always(answer(200, b"{}"))

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=60)]


class Bodies(Upstream):
    """Answers every request, chunked ones too, and keeps their targets and bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bytes]] = []

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await read_request(reader)
        if seen.all("transfer-encoding"):
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                seen.body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        self.seen.append((seen.target, seen.body))
        writer.write(answer(200, b"%d" % len(self.seen)))


async def rest(client: Client) -> bytes:
    """All that comes until the connection is closed."""
    async with asyncio.timeout(PATIENCE):
        return await client.reader.read()


def get(name: str, *fields: str, version: str = "1.1") -> bytes:
    lines = [f"GET /v1beta/models/{name} HTTP/{version}", "Host: a", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# Several requests on one connection.


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05 if seen.target.endswith("a") else 0)
        writer.write(answer(200, seen.target[-1].encode()))

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(get("a") + get("b") + get("c"))
        assert [(await client.got()).body for _ in range(3)] == [b"a", b"b", b"c"]


async def test_requests_with_bodies_of_every_framing_follow_each_other_without_a_gap() -> None:
    requests = (
        POST + b"Content-Length: 4\r\n\r\nfour",
        STREAMED + b'3;a=b;c="d;"\r\none\r\n3\r\ntwo\r\n0;last\r\nX-Trailer: dropped\r\nX-More: x\r\n\r\n',
        POST + b"Content-Length: 0\r\n\r\n",
        STREAMED + b"00008\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
        LAST,
    )
    async with Bodies() as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(b"".join(requests))
        assert [(await client.got()).body for _ in requests] == [b"1", b"2", b"3", b"4", b"5"]
    assert [body for _, body in upstream.seen] == [b"four", b"onetwo", b"", b"\r\n" * 4, b""]
    assert upstream.seen[-1][0].endswith("/last")


async def test_requests_may_be_cut_into_packets_anywhere() -> None:
    streamed = STREAMED + b"2\r\n\r\n\r\n4;x\r\nfour\r\n0\r\nX: y\r\n\r\n"
    both = b"\r\n" + streamed + LAST
    async with Bodies() as upstream, proxy(upstream.url) as here:
        for at in range(1, len(both)):
            async with connect(here.port) as client:
                client.writer.write(both[:at])
                await client.writer.drain()
                for _ in range(3):
                    await asyncio.sleep(0)
                client.writer.write(both[at:])
                assert [(await client.got()).status for _ in range(2)] == [200, 200]
    assert {seen for seen in upstream.seen if seen[1]} == {(GENERATE.decode(), b"\r\nfour")}
    assert len(upstream.seen) == 2 * (len(both) - 1)


async def test_a_request_may_come_in_single_bytes() -> None:
    async with Bodies() as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        for byte in STREAMED + b"3;a\r\none\r\n0\r\nX: y\r\n\r\n" + LAST:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert [(await client.got()).status for _ in range(2)] == [200, 200]
    assert [body for _, body in upstream.seen] == [b"one", b""]


@pytest.mark.turned
async def test_what_is_pipelined_waits_in_the_clients_own_buffers() -> None:
    go_on = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(answer(200, b"{}"))

    many = 50_000
    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        health = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: %b\r\n\r\n" % (b"x" * 400)
        client.writer.write(get("x") + health * many)
        await quiet()
        assert client.writer.transport.get_write_buffer_size() > 1_000_000
        go_on.set()
        assert (await client.got()).status == 200
        for _ in range(1000):
            assert (await client.got()).body == b"alive\n"


@pytest.mark.turned
@pytest.mark.parametrize("half", [False, True], ids=["closed", "half-closed"])
async def test_a_client_that_has_pipelined_and_leaves_is_noticed(half: bool) -> None:
    async with (
        RawUpstream(_never) as upstream,
        proxy(upstream.url) as here,
        connect(here.port) as client,
    ):
        client.writer.write(get("x") + get("y"))
        await until(lambda: bool(upstream.seen))
        await quiet()
        client.writer.write_eof() if half else client.writer.close()
        await until(lambda: upstream.seen[0].closed is not None)
        await until(lambda: not here.app.context.running)
    assert len(upstream.seen) == 1


async def _never(_: Seen, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_a_client_that_ends_its_side_counts_as_gone() -> None:
    async with RawUpstream(_never) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(get("x"))
        await until(lambda: bool(upstream.seen))
        client.writer.write_eof()
        assert await rest(client) == b""
        await until(lambda: upstream.seen[0].closed is not None)


# Heads.


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        for _ in range(3):
            client.writer.write(b"\r\n\r\n" + POST + b"Content-Length: 2\r\n\r\n{}\r\n")
            assert (await client.got()).status == 200
        for byte in b"\r\n\r\n" + LAST:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.got()).status == 200


@pytest.mark.turned
async def test_an_empty_line_behind_a_body_is_no_unfinished_request() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(POST + b"Content-Length: 2\r\n\r\n{}\r\n")
        assert (await client.got()).status == 200
        await asyncio.sleep(2 * HEAD_TIMEOUT)
        client.writer.write(LAST)
        assert (await client.got()).status == 200


@pytest.mark.turned
async def test_a_head_that_does_not_end_in_time_is_refused() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(LAST)
        assert (await client.got()).status == 200
        await asyncio.sleep(30)  # of which none counts
        began = asyncio.get_running_loop().time()
        dripping = asyncio.create_task(_drip(client))
        got = await client.got()
        took = asyncio.get_running_loop().time() - began
        dripping.cancel()
        assert (got.status, json.loads(got.body)["error"]["status"]) == (408, "DEADLINE_EXCEEDED")
        assert got.one("connection") == "close"
        assert got.one("access-control-allow-origin") == "*"
        assert HEAD_TIMEOUT <= took < HEAD_TIMEOUT + 2
        assert await rest(client) == b""
    assert len(upstream.seen) == 1


async def _drip(client: Client) -> None:
    client.writer.write(b"GET /v1beta/models HTTP/1.1\r\n")
    for number in range(90):
        client.writer.write(b"X-%d: %b\r\n" % (number, b"x" * 200))
        await asyncio.sleep(1)


@pytest.mark.turned
@pytest.mark.timeout(seconds=600)
async def test_a_connection_without_a_request_is_closed() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client, connect(here.port) as other:
            began = asyncio.get_running_loop().time()
            other.writer.write(LAST)
            assert (await other.got()).status == 200
            assert await client.reader.read() == await other.reader.read() == b""
            assert 74 < asyncio.get_running_loop().time() - began < 77


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"x" * 17_000, 414),
        (b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 66_000, 431),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
    ],
)
async def test_an_unfinished_head_is_refused_as_soon_as_it_can_be(head: bytes, status: int) -> None:
    async with proxy("http://127.0.0.1:9") as here, connect(here.port) as client:
        client.writer.write(head)
        got = await client.got()
        assert (got.status, json.loads(got.body)["error"]["code"]) == (status, status)
        assert got.one("x-request-id")
        assert await rest(client) == b""


async def test_a_refused_head_keeps_the_fields_that_its_response_depends_on() -> None:
    async with proxy("http://127.0.0.1:9", CORS_ALLOW_ORIGIN="https://app.example") as here:
        for bad in (b"A: b\r\n" * 101, b"A: b\r\nA : b\r\n\r\n"):
            async with connect(here.port) as client:
                client.writer.write(
                    b"GET /v1/models HTTP/1.1\r\n"
                    + HOST
                    + b"Origin: https://app.example\r\nX-Request-Id: mine\r\n"
                    + bad
                )
                got = await client.got()
                assert got.one("access-control-allow-origin") == "https://app.example"
                assert got.one("x-request-id") == "mine"


async def test_a_client_that_is_still_sending_reads_why_its_head_is_refused() -> None:
    async with proxy("http://127.0.0.1:9") as here, connect(here.port) as client:
        client.writer.write(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"x" * 3_000_000)
        assert (await client.got()).status == 431
        assert await rest(client) == b""


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_offer_of_another_protocol_is_not_taken_up(body: bytes) -> None:
    offer = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with Bodies() as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(offer + b"Content-Length: %d\r\n\r\n" % len(body) + body + LAST)
        assert [(await client.got()).status for _ in range(2)] == [200, 200]
        chunked = chunk(body) + b"0\r\n\r\n" if body else b"0\r\n\r\n"
        client.writer.write(offer + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + LAST)
        assert [(await client.got()).status for _ in range(2)] == [200, 200]
    assert [seen_body for _, seen_body in upstream.seen] == [body, b"", body, b""]


# Bodies.


async def test_a_client_that_asks_is_told_to_send_its_body() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"{}")
        assert (await client.got()).status == 200
        client.writer.write(LAST)
        assert (await client.got()).status == 200
    assert upstream.seen[0].body == b"{}"


async def test_a_client_that_asks_and_sends_at_once_is_told_nothing() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
        assert (await client.got()).status == 200


async def test_a_client_that_asks_is_refused_before_it_sends_its_body() -> None:
    async with proxy("http://127.0.0.1:9", MAX_BODY_MB="1") as here, connect(here.port) as client:
        client.writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n")
        assert (await client.got()).status == 413
        assert await rest(client) == b""


BAD_CHUNKS = {
    "an extension without end": b"2;" + b"x" * 1000,
    "a size of many zeros": b"0" * 1000,
    "trailers without end": b"2\r\n{}\r\n0\r\n" + b"X: yyyyyyyyyyyyy\r\n" * 600,
    "a trailer without end": b"2\r\n{}\r\n0\r\nX: " + b"y" * 10_000,
    "LF behind a size": b"2\n{}\r\n0\r\n\r\n",
    "LF behind a chunk": b"2\r\n{}\n0\r\n\r\n",
    "LF behind the last size": b"2\r\n{}\r\n0\n\r\n",
    "LF at the end": b"2\r\n{}\r\n0\r\n\n",
    "CR behind a size": b"2\rX{}\r\n0\r\n\r\n",
    "LF in an extension": b'2;a="\n"\r\n{}\r\n0\r\n\r\n',
    "LF behind an extension": b"2;a\n{}\r\n0\r\n\r\n",
    "LF behind a trailer": b"2\r\n{}\r\n0\r\nA: b\n\r\n",
    "a folded trailer": b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a length in the trailers": b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding in the trailers": b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
    "a space behind the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "a tab behind the size": b"2\t\r\n{}\r\n0\r\n\r\n",
    "a sign": b"+2\r\n{}\r\n0\r\n\r\n",
    "a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "an extension without a size": b";a\r\n{}\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "more than its size": b"2\r\n{}}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("step", [None, 1], ids=["at once", "in bytes"])
async def test_a_body_that_is_not_validly_chunked_is_refused(body: bytes, step: int | None) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(STREAMED)
        for at in range(0, len(body), step or len(body)):
            client.writer.write(body[at : at + (step or len(body))])
            await asyncio.sleep(0)
        client.writer.write(LAST)
        got = await client.got()
        assert (got.status, got.one("connection")) == (400, "close")
        assert (
            json.loads(got.body)["error"]["message"]
            == "The chunked encoding of the request body is malformed."
        )
        assert await rest(client) == b""
    assert upstream.seen == []


# Responses.


async def test_a_client_of_http_1_0_keeps_its_connection_if_it_asks_and_lengths_are_known() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        for _ in range(3):
            client.writer.write(get("x", "Connection: Keep-Alive", version="1.0"))
            got = await client.got()
            assert (got.status, got.body, got.one("connection")) == (200, b"{}", "keep-alive")
        client.writer.write(get("x", version="1.0"))
        got = await client.got()
        assert (got.status, got.body, got.one("connection")) == (200, b"{}", "close")
        assert await rest(client) == b""


async def test_a_response_without_a_length_ends_the_connection_of_http_1_0() -> None:
    script = always(CHUNKED + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n")
    async with RawUpstream(script) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(get("x", "Connection: keep-alive", version="1.0") + LAST)
        got = await client.got()
        assert (got.body, got.one("connection"), got.all("transfer-encoding")) == (b"onetwo", "close", [])
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("response", [answer(200), CHUNKED], ids=["length", "chunked"])
async def test_head_is_answered_without_a_body_and_keeps_the_connection(response: bytes) -> None:
    async with (
        RawUpstream(always(response)) as upstream,
        proxy(upstream.url) as here,
        connect(here.port) as client,
    ):
        client.writer.write(b"HEAD /v1beta/models HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.got(bodiless=True)).status == 200
        client.writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        got = await client.got()
        assert (got.status, got.body) == (200, b"alive\n")


async def test_a_draining_program_says_that_the_connection_ends() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(LAST)
        assert (await client.got()).all("connection") == []
        here.app.drain()
        client.writer.write(LAST)
        assert (await client.got()).one("connection") == "close"
        assert await rest(client) == b""


@pytest.mark.turned
@pytest.mark.parametrize("size", [10, 1000, 60_000])
async def test_a_stalled_stream_holds_little_whatever_the_size_of_its_chunks(size: int) -> None:
    written = 0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(CHUNKED)
        piece = chunk(b"x" * size)
        while True:
            writer.write(piece * (60_000 // size))
            written += len(piece) * (60_000 // size)
            await writer.drain()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", here.port))
            await asyncio.get_running_loop().sock_sendall(slow, get("x"))
            await until(lambda: written > 0)
            await quiet()
            (handler,) = here.app.context.running
            assert 0 < handler.request.connection.unsent_bytes <= 256 * 1024  # type: ignore[attr-defined]
        await until(lambda: not here.app.context.running)


async def test_a_reset_ends_what_runs() -> None:
    async with (
        RawUpstream(_never) as upstream,
        proxy(upstream.url) as here,
        connect(here.port) as client,
    ):
        client.writer.write(get("x"))
        await until(lambda: bool(upstream.seen))
        reset: socket.socket = client.writer.get_extra_info("socket")
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await until(lambda: upstream.seen[0].closed is not None)
        await until(lambda: not here.app.context.running)


@pytest.mark.turned
async def test_a_server_knows_what_it_has_not_sent_yet() -> None:
    size = 3_000_000
    async with RawUpstream(always(answer(200, bytes(size)))) as upstream, proxy(upstream.url) as here:
        server, listener = here.app.server(), Listener("127.0.0.1", 0)
        listener.accept_for(server)
        loop, got = asyncio.get_running_loop(), 0
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", listener.port))
            await loop.sock_sendall(slow, get("x"))
            await until(lambda: server.is_sending)
            while server.is_sending:
                got += len(await loop.sock_recv(slow, 2**16))
            while got < size:
                got += len(await loop.sock_recv(slow, 2**16))
        await until(lambda: not here.app.context.running)
        listener.stop()
        await server.close_all_connections()
