"""Request bodies on their way to the upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from proxycore.transport.body_budget import BodyBudget
from proxycore.transport.held_body import HeldBody
from proxycore.transport.request_body import RequestBodyStream
from tests.support.attempts import ON_EITHER_LOOP, attempt, client, fetch
from tests.support.serving import Serve, serving
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, always, answer, chunk

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = ON_EITHER_LOOP


@contextlib.asynccontextmanager
async def upstream_of(serve: Serve) -> AsyncIterator[str]:
    """The URL of a server that serves each connection so, until the client closes it."""

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        await reader.read()

    async with serving(until_closed) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_body_that_streams_is_sent_in_chunks_or_with_its_length() -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            rest = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n" if b"chunked" in head else b"hello world"
            received.append(await reader.readexactly(len(rest)))
            assert received[-1] == rest
            writer.write(PLAIN)

    async with upstream_of(serve) as url, client(url) as here:
        for length in (None, 11):
            stream = RequestBodyStream(length)
            fetched = asyncio.ensure_future(fetch(here, "POST", body=stream))
            for piece in (b"hello", b" world"):
                await stream.put(piece)
            stream.end()
            assert (await fetched)[1] == b"hello"
        assert len(received) == 2


@pytest.mark.parametrize("held", [True, False])
async def test_a_large_body_arrives_whole(*, held: bool) -> None:
    data = bytes(range(256)) * 40_000
    async with RawUpstream(always(PLAIN)) as upstream, client(upstream.url) as here:
        budget = BodyBudget(2**30)
        if held:
            body = HeldBody(budget)
            body.add(data)
            await fetch(here, "POST", body=body)
            body.drop()
        else:
            await fetch(here, "POST", body=data)
        await fetch(here)
    assert upstream.seen[0].body == data
    assert upstream.connections == 1


async def test_an_upstream_that_does_not_read_stops_the_clients_body() -> None:
    reading, put = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await reading.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(PLAIN)

    async def send(stream: RequestBodyStream) -> None:
        nonlocal put
        for _ in range(1000):
            await stream.put(bytes(65536))
            put += 65536
        stream.end()

    async with upstream_of(serve) as url, client(url) as here:
        stream = RequestBodyStream(None)
        fetched = asyncio.ensure_future(fetch(here, "POST", body=stream))
        sending = asyncio.ensure_future(send(stream))
        before = -1
        while before != put:
            before = put
            await asyncio.sleep(0.1)
        assert put < 60_000_000
        assert stream.blocked
        reading.set()
        assert (await fetched)[1] == b"hello"
        await sending


async def test_a_refusal_is_read_while_the_body_is_still_being_sent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b"too large"))
        await writer.drain()

    async with upstream_of(serve) as url, client(url) as here:
        stream = RequestBodyStream(None)
        fetched = asyncio.ensure_future(fetch(here, "POST", body=stream))
        sending = asyncio.ensure_future(stream.put(b"first"))
        head, body = await fetched
        assert (head.status, body, here.connections) == (413, b"too large", 0)
        stream.drop()
        await sending


async def test_a_response_may_begin_before_the_request_is_sent_whole() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        writer.write(chunk(await reader.readexactly(6)))
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"0\r\n\r\n")

    async with upstream_of(serve) as url, client(url) as here:
        stream = RequestBodyStream(None)
        one, got = attempt(here, "POST", body=stream), bytearray()
        head = asyncio.ensure_future(one.head())
        await stream.put(b"one")
        assert (await head).status == 200
        relayed = asyncio.ensure_future(one.relay(got.extend))
        await until(lambda: len(got) > 0)
        stream.end()
        await relayed
        one.end()
        assert bytes(got) == b"3\r\none"
        assert here.connections == 1


async def test_a_body_is_sent_no_further_once_its_request_was_refused() -> None:
    later = asyncio.Event()
    more: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"5\r\nhello\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n")
        await later.wait()
        writer.write(b"never")
        more.append(await reader.read())

    async with upstream_of(serve) as url, client(url) as here:
        stream = RequestBodyStream(None)
        one = attempt(here, "POST", body=stream)
        head = asyncio.ensure_future(one.head())
        await stream.put(b"hello")
        assert (await head).status == 403
        put = asyncio.ensure_future(stream.put(b"world"))  # nobody reads it
        later.set()
        assert await one.read(99) == b"never"
        one.end()
        put.cancel()
    assert more == [b""]
