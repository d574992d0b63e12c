"""Every kind of response, whole, in pieces, broken off and malformed."""

import asyncio
import socket

import pytest

from proxycore.transport.messages import UpstreamError
from tests.support.attempts import ON_EITHER_LOOP, attempt, client, failure, fetch
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Script, Seen, always, chunk

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = ON_EITHER_LOOP


def closing(data: bytes) -> Script:
    """Sends this, and closes."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return script


def bytewise(data: bytes) -> Script:
    """Sends every byte by itself."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    return script


# Method, what the upstream sends, the status, the body, and whether the connection is kept.
RESPONSES = {
    "a length": ("GET", PLAIN, 200, b"hello", True),
    "no bytes": ("POST", OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "chunks": ("GET", CHUNKED + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", 200, b"hello", True),
    "no chunks": ("GET", CHUNKED + b"0\r\n\r\n", 200, b"", True),
    "extensions": ("GET", CHUNKED + b'5;a;b="c d"\r\nhello\r\n0;x=y\r\n\r\n', 200, b"hello", True),
    "trailers": ("GET", CHUNKED + chunk(b"hello") + b"0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", 200, b"hello", True),
    "HEAD": ("HEAD", OK + b"Content-Length: 5\r\n\r\n", 200, b"", True),
    "HEAD with chunks": ("HEAD", CHUNKED, 200, b"", True),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "304": ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", 304, b"", True),
    "interim": ("GET", b"HTTP/1.1 103 X\r\nLink: </x>\r\n\r\n" * 3 + PLAIN, 200, b"hello", True),
    "Connection: close": ("GET", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "HTTP/1.0 that is kept": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        200,
        b"hi",
        True,
    ),
    "more than the length": ("GET", PLAIN + b"x", 200, b"hello", False),
    "more than the chunks": ("GET", CHUNKED + b"0\r\n\r\nHTTP/1.1 ", 200, b"", False),
    "more than nothing": ("GET", b"HTTP/1.1 204 X\r\n\r\nx", 204, b"", False),
}


@pytest.mark.parametrize(
    ("method", "data", "status", "body", "kept"), RESPONSES.values(), ids=RESPONSES.keys()
)
async def test_every_kind_of_response(
    method: str, data: bytes, status: int, body: bytes, *, kept: bool
) -> None:
    async with RawUpstream(always(data)) as upstream, client(upstream.url) as here:
        for _ in range(3):
            head, got = await fetch(here, method)
            assert (head.status, got) == (status, body)
        assert upstream.connections == (1 if kept else 3)
        await until(lambda: here.connections == kept)


@pytest.mark.parametrize(
    ("method", "data", "status", "body", "kept"), RESPONSES.values(), ids=RESPONSES.keys()
)
async def test_every_kind_of_response_byte_by_byte(
    method: str,
    data: bytes,
    status: int,
    body: bytes,
    kept: bool,  # noqa: ARG001 - of the other test
) -> None:
    async with RawUpstream(bytewise(data)) as upstream, client(upstream.url) as here:
        head, got = await fetch(here, method)
        assert (head.status, got) == (status, body)


async def test_a_body_may_end_with_the_connection() -> None:
    async with RawUpstream(closing(OK + b"\r\nhello")) as upstream, client(upstream.url) as here:
        for number in range(1, 4):
            assert (await fetch(here))[1] == b"hello"
            assert upstream.connections == number


async def test_a_request_arrives_byte_for_byte() -> None:
    async with RawUpstream(always(PLAIN)) as upstream, client(upstream.url + "/base/") as here:
        await fetch(here, "POST", "/a%2fb//c?x=&x=%zz", b"body")
        await fetch(here, "POST")
        await fetch(here, "DELETE")
        host = ("Host", f"127.0.0.1:{upstream.port}")
    first, empty, bodiless = upstream.seen
    assert first.line == "POST /base/a%2fb//c?x=&x=%zz HTTP/1.1"
    assert first.fields == [host, ("x-goog-api-key", "a-key"), ("A", "b"), ("Content-Length", "4")]
    assert first.body == b"body"
    assert empty.all("content-length") == ["0"]
    assert bodiless.all("content-length") == []


BROKEN = {
    "nothing": b"",
    "half a head": OK + b"Content-Le",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "less than the length": OK + b"Content-Length: 5\r\n\r\nhell",
    "half a chunk": CHUNKED + b"5\r\nhel",
    "no last chunk": CHUNKED + chunk(b"hello"),
    "half a last chunk": CHUNKED + chunk(b"hello") + b"0\r\n",
    "half a trailer": CHUNKED + chunk(b"hello") + b"0\r\nX-A: 1\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_response_that_breaks_off_is_an_error(data: bytes, *, reset: bool) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if reset:
            await asyncio.sleep(0.02)  # so that what was sent is read before the reset discards it
            linger = b"\1\0\0\0\0\0\0\0"
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        error = await failure(here)
        assert (str(error), error.sent) == (
            "The upstream broke off the connection before the response was complete.",
            True,
        )
        assert len(upstream.seen) == 1
        assert here.connections == 0


async def test_what_arrived_before_the_break_is_passed_on() -> None:
    got = bytearray()
    async with RawUpstream(closing(CHUNKED + chunk(b"one") + chunk(b"two"))) as upstream:
        async with client(upstream.url) as here:
            one = attempt(here)
            await one.head()
            with pytest.raises(UpstreamError):
                await one.relay(got.extend)
            one.end()
    assert got == b"onetwo"


MALFORMED_CHUNKS = {
    "no number": b"x\r\n",
    "a negative number": b"-5\r\nhello\r\n",
    "a prefix": b"0x5\r\nhello\r\n",
    "more than 64 bits": b"1" + b"0" * 16 + b"\r\n",
    "a longer chunk": b"5\r\nhello!\r\n",
    "LF alone": b"5\nhello\n0\n\n",
    "a space before the colon of a trailer": b"0\r\nX : y\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 200_000,
    "endless trailers": b"0\r\n" + b"X-A: b\r\n" * 20_000,
    "an endless trailer": b"0\r\nX-A: " + b"a" * 200_000,
}


@pytest.mark.parametrize("chunks", MALFORMED_CHUNKS.values(), ids=MALFORMED_CHUNKS)
async def test_malformed_chunks_are_told_as_such(chunks: bytes) -> None:
    async with RawUpstream(always(CHUNKED + chunks)) as upstream, client(upstream.url) as here:
        error = await failure(here)
        assert str(error) == "The upstream's response is malformed: its chunks are not valid."
        assert here.connections == 0


async def test_endless_interim_responses_are_malformed() -> None:
    data = b"HTTP/1.1 103 X\r\nLink: </x>\r\n\r\n" * 5000
    async with RawUpstream(always(data)) as upstream, client(upstream.url) as here:
        assert "its head is too large" in str(await failure(here))
