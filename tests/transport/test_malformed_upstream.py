"""An upstream that does not speak HTTP/1.1 as it should: a clear error, or the right response."""

import asyncio
import json
import logging

import pytest

from tests.support.proxy import KEYS, proxy
from tests.support.wire import RawUpstream, Script, Seen, always, ask

ONE_KEY = {"GOOGLE_API_KEY_1": KEYS["GOOGLE_API_KEY_1"]}
SECRET = ONE_KEY["GOOGLE_API_KEY_1"]
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=30)]


def breaking_off(data: bytes) -> Script:
    """A script that sends this, and then closes."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return script


MALFORMED = {
    "length beside chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks beside a shorter length": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    + CHUNKS,
    "the same length twice": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two lengths in one": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a negative length": OK + b"Content-Length: -1\r\n\r\nhello",
    "a length of 31 digits": OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\nhello",
    "a length of 5000 digits": OK + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\nhello",
    "a length in words": OK + b"Content-Length: five\r\n\r\nhello",
    "a space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "204 with chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "status 0": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nhi",
    "status 999": b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nhi",
    "status 2000": b"HTTP/1.1 2000 X\r\nContent-Length: 2\r\n\r\nhi",
    "no status": b"HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
    "another protocol unasked": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/2": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a line without a colon": OK + b"nonsense\r\nContent-Length: 2\r\n\r\nhi",
    "NUL": OK + b"X-A: a\x00b\r\nContent-Length: 2\r\n\r\nhi",
    "a coding that nobody knows": OK + b"Transfer-Encoding: odd\r\n\r\nhello",
    "an error with two lengths": b"HTTP/1.1 400 X\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a head of a megabyte": OK + b"X-A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\nhi",
}
BROKEN_OFF = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "a status line": OK,
    "half a field": OK + b"Content-Ty",
    "half an empty line": OK + b"Content-Type: text/plain\r\n\r",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "half an error": b"HTTP/1.1 400 X\r\nContent-Length: 20\r\n\r\nhello",
}


async def told(script: Script, caplog: pytest.LogCaptureFixture) -> str:
    """The message of the error that a client gets, which has to be the documented one."""
    with caplog.at_level(logging.INFO):
        async with RawUpstream(script) as upstream, proxy(upstream.url, ONE_KEY, MAX_ATTEMPTS="1") as here:
            got = await ask(here.port, "POST", GENERATE, ("Connection", "close"), body=b"{}")
    error = json.loads(got.body)["error"]
    assert (got.status, got.whole, error["code"], error["status"]) == (500, True, 500, "UNAVAILABLE")
    assert got.one("content-length") == str(len(got.body))
    assert "Traceback" not in caplog.text
    message: str = error["message"]
    return message


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_response_is_told_as_such(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert (await told(always(data), caplog)).startswith("The upstream's response is malformed: it")


@pytest.mark.parametrize("data", BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_a_response_that_breaks_off_is_told_as_such(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    message = await told(breaking_off(data), caplog)
    assert message == "The upstream broke off the connection before the response was complete."


WELL_FORMED = {
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "a field on two lines": (OK + b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, b"hi"),
    "a length with zeros": (OK + b"Content-Length: 0005\r\n\r\nhello", 200, b"hello"),
    "interim responses": (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3
        + b"HTTP/1.1 199 Odd\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi",
        200,
        b"hi",
    ),
    "status 599": (b"HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nhi", 599, b"hi"),
    "more than was announced": (OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"\r\n", 200, b"hi"),
}


@pytest.mark.parametrize(("data", "status", "body"), WELL_FORMED.values(), ids=WELL_FORMED)
async def test_what_is_odd_but_clear_is_relayed(data: bytes, status: int, body: bytes) -> None:
    async with RawUpstream(always(data)) as upstream, proxy(upstream.url, ONE_KEY, MAX_ATTEMPTS="1") as here:
        got = await ask(here.port, "GET", "/v1beta/models/x", ("Connection", "close"))
    assert (got.status, got.body if body else b"") == (status, body)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("400 Bad Request", "Bad Request"),
        ("400 Quite My Own", "Quite My Own"),
        (f"400 the key {SECRET} is bad", "Bad Request"),
        (f"200 {SECRET}", "OK"),
        (f"299 {SECRET}", "Unknown"),
        ("404 schl\xfcssel", "Not Found"),
        ("302", "Found"),
    ],
)
async def test_a_reason_phrase_is_the_upstreams_or_the_standard_one(line: str, shown: str) -> None:
    data = f"HTTP/1.1 {line}\r\nContent-Length: 2\r\nX-A: {SECRET}\r\n\r\nhi".encode("latin-1")
    async with RawUpstream(always(data)) as upstream, proxy(upstream.url, ONE_KEY) as here:
        got = await ask(here.port, "GET", "/v1beta/models/x")
    assert (got.reason, got.one("x-a"), got.body) == (shown, "[key 1]", b"hi")
