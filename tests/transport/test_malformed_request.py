"""Requests that are not valid HTTP/1.1: one answer, as documented, and nothing of them goes upstream."""

import asyncio
import json
import logging

import pytest

from proxycore.http import incoming_body
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.wire import CHUNKED, Client, RawUpstream, Seen, always, answer, chunk, connect

GENERATE = b"/v1beta/models/gemini-2.5-flash:generateContent"
HOST = b"Host: proxy.example\r\n"
POST = b"POST " + GENERATE + b" HTTP/1.1\r\n" + HOST
GET = b"GET /v1beta/models/x HTTP/1.1\r\n"
SMUGGLED = b"GET /v1beta/models/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
RAW = b"POST /upload/v1beta/files HTTP/1.1\r\n" + HOST + b"X-Goog-Upload-Protocol: raw\r\n"

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=30)]

MALFORMED = {
    "no request line": b"NONSENSE\r\n\r\n",
    "HTTP/0.9": b"GET /v1beta/models\r\n\r\n",
    "HTTP/2.0": b"GET /v1beta/models HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": b"GET  /v1beta/models HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in the target": b"GET /v1beta/\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /v1beta/\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no colon": GET + HOST + b"nonsense\r\n\r\n",
    "a field on two lines": GET + HOST + b"A: b\r\n c\r\n\r\n",
    "NUL in a field": GET + HOST + b"A: b\x00c\r\n\r\n",
    "CR in a field": GET + HOST + b"A: b\rX: c\r\n\r\n",
    "a space before the colon": GET + HOST + b"A : b\r\n\r\n",
    "no host": GET + b"\r\n",
    "an empty host": GET + b"Host:\r\n\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    "two hosts in one": GET + b"Host: a.example, b.example\r\n\r\n",
    "a host with a path": GET + b"Host: a/b@c\r\n\r\n",
    "length beside chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks beside length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "an empty length": POST + b"Content-Length:\r\n\r\n{}",
    "a length of another alphabet": POST + b"Content-Length: \xb2\r\n\r\n{}",
    "a length of 5000 digits": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "an upload of 5000 digits": RAW + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "no size of a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "a chunk of 30 digits": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n{}",
    "an upload's second chunk": RAW + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n",
    "a bad length of a page": b"POST /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n",
    "a bad chunk for a page": b"POST /healthz HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nz\r\n",
}


@pytest.fixture
def calm(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


async def everything(client: Client) -> bytes:
    """All that comes until the connection is closed."""
    async with asyncio.timeout(10):
        return await client.reader.read()


def refused(raw: bytes, status: int) -> str:
    """The message of the one answer that there is, which has to be an error as documented."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    assert raw.count(b"HTTP/1.") == 1
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert fields["Content-Length"] == str(len(body))
    assert fields["Connection"] == "close"
    assert fields["Access-Control-Allow-Origin"] == "*"
    error = json.loads(body)["error"]
    assert (error["code"], error["status"]) == (status, "INVALID_ARGUMENT")
    message: str = error["message"]
    return message


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_request_is_told_why_and_ends_the_connection(
    data: bytes, calm: pytest.LogCaptureFixture
) -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.writer.write(data + SMUGGLED)
            assert refused(await everything(client), 400)
        assert [seen.line for seen in upstream.seen if "smuggled" in seen.line or "POST" in seen.line] == []
    assert "Traceback" not in calm.text
    assert "tornado" not in calm.text


async def test_head_gets_no_body_even_when_malformed() -> None:
    async with proxy("http://127.0.0.1:9") as here, connect(here.port) as client:
        client.writer.write(b"HEAD /v1beta/models HTTP/1.1\r\n\r\n" + SMUGGLED)
        raw = await everything(client)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"HTTP/1.") == 1


async def test_nothing_that_follows_a_close_goes_upstream() -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.writer.write(GET + HOST + b"Connection: close\r\n\r\n" + SMUGGLED * 3)
            assert (await everything(client)).count(b"HTTP/1.1 200") == 1
        assert len(upstream.seen) == 1


async def test_requests_before_a_malformed_one_are_answered_each_once() -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.writer.write((GET + HOST + b"\r\n") * 2 + b"NONSENSE\r\n\r\n" + SMUGGLED)
            raw = await everything(client)
        assert len(upstream.seen) == 2
    assert [raw.count(b"HTTP/1.1 %d" % status) for status in (200, 400)] == [2, 1]


@pytest.mark.parametrize(
    "target", ["http://evil.example/v1beta/models", "@evil.example/", "*", "evil.example:443"]
)
async def test_a_target_that_is_no_path_reaches_nobody(target: str) -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("GET", target)
            assert (await client.got()).status == 404
        assert upstream.seen == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get"])
async def test_a_method_that_is_not_taken_is_told_which_are(method: str) -> None:
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send(method, GENERATE.decode(), body=b"{}")
            client.writer.write(SMUGGLED)
            raw = await everything(client)
        assert upstream.seen == []
    assert refused(raw, 405)
    assert b"\r\nAllow: GET, HEAD, POST" in raw


async def test_a_target_goes_on_byte_for_byte_in_any_alphabet() -> None:
    target = "/v1beta/models/\xc3\xa9;a=b?c=\xe4\xb8\x96&d#e"
    async with RawUpstream(always(answer(200, b"{}"))) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("GET", target)
            assert (await client.got()).status == 200
        assert upstream.seen[0].target == target


# One answer for each request, whatever comes together.


async def _answering_early(here: Proxy, go_on: asyncio.Event) -> bytes:
    """What a client gets that stops inside its content while the response to it is on its way."""
    async with connect(here.port) as client:
        client.writer.write(RAW + b"Content-Length: 100\r\n\r\nhalf")
        first = await client.reader.readuntil(b"\r\n\r\n")
        go_on.set()
        return first + await everything(client)


async def test_a_client_that_goes_idle_in_its_content_gets_no_second_response(
    monkeypatch: pytest.MonkeyPatch, calm: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(incoming_body, "CLIENT_IDLE_TIMEOUT", 0.2)
    go_on = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + chunk(b"first"))
        await go_on.wait()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with proxy(url, KEYS) as here:
        raw = await _answering_early(here, go_on)
    server.close()
    assert raw.count(b"HTTP/1.") == 1
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert not raw.endswith(b"0\r\n\r\n")  # cut, never ended as if it were whole
    assert "Traceback" not in calm.text


async def test_a_bad_chunk_after_a_refusal_gets_no_second_response() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"{}"))

    async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_BODY_MB="1") as here:
        async with connect(here.port) as client:
            client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n" + b"x" * 0x200000)
            await client.reader.readuntil(b"\r\n\r\n")
            client.writer.write(b"\r\nzz\r\n" + SMUGGLED)
            raw = await everything(client)
        assert upstream.seen == []
    assert raw.count(b"HTTP/1.") == 0
    assert json.loads(raw)["error"]["code"] == 413
