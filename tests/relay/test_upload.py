"""Uploads: content passes through, addresses are ours, every leg finds the key that the upload began with."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxycore.demo import Health, MockServer
from proxycore.http import incoming_body
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.waiting import PATIENCE, at_once, until
from tests.support.wire import Client, Got, RawUpstream, Seen, always, answer, ask, connect

FILES = "/upload/v1beta/files"
RESUMABLE = ("X-Goog-Upload-Protocol", "resumable")
START = (RESUMABLE, ("X-Goog-Upload-Command", "start"), ("X-Goog-Upload-Header-Content-Length", "12"))
UPLOAD = (("X-Goog-Upload-Command", "upload, finalize"), ("X-Goog-Upload-Offset", "0"))
ONE_KEY = {"GOOGLE_API_KEY_1": KEYS["GOOGLE_API_KEY_1"]}
CLIENT = ("x-goog-api-key", "the-client")
LOCKED = {"OUTPUT_API_KEY": "the-client"}

pytestmark = pytest.mark.usefixtures("io_loop")


def handing_out(address: str, **more: str) -> bytes:
    """An upload's start, answered with this address."""
    fields = [("X-Goog-Upload-URL", address), ("X-Goog-Upload-Control-URL", address)]
    return answer(200, b"", *fields, ("X-Goog-Upload-Status", "active"), *more.items())


def target_of(started: Got) -> str:
    """The path and query of the address that a start was answered with."""
    return "/" + started.one("x-goog-upload-url").split("/", 3)[3]


@contextlib.asynccontextmanager
async def mocked(**healths: Health) -> AsyncIterator[tuple[MockServer, Proxy]]:
    """The proxy before a mock with these keys, or five healthy ones; clients need a key."""
    secrets = {f"AQ.key-{name}": health for name, health in healths.items()}
    mock = MockServer(secrets or {f"AQ.key-{number}": Health.healthy() for number in range(5)})
    keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
    try:
        async with proxy(mock.listen(), keys | LOCKED) as here:
            yield mock, here
    finally:
        await mock.stop()


# Addresses.


async def test_upload_addresses_are_the_proxys_without_a_key_and_the_rest_is_kept() -> None:
    secret = KEYS["GOOGLE_API_KEY_1"]
    address = (
        f"https://upstream.example/upload/v1beta/files?upload_id=a%2Fb&key={secret}&upload_protocol=resumable"
    )
    more = {"X-Goog-Upload-Chunk-Granularity": "8388608", "X-Goog-Upload-Header-X": "y"}
    async with RawUpstream(always(handing_out(address, **more))) as upstream:
        async with proxy(upstream.url, ONE_KEY) as here:
            got = await ask(here.port, "POST", FILES, *START, body=b"{}")
    ours = "http://proxy.example/upload/v1beta/files?upload_id=a%2Fb&upload_protocol=resumable"
    assert (got.one("x-goog-upload-url"), got.one("x-goog-upload-control-url")) == (ours, ours)
    assert got.one("x-goog-upload-chunk-granularity") == "8388608"
    assert (got.one("x-goog-upload-header-x"), got.one("x-goog-upload-status")) == ("y", "active")
    assert secret not in str(got)


async def test_the_public_address_wins_and_the_upstreams_own_path_is_not_shown() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(handing_out("https://upstream.example/below/upload/v1/files?upload_id=x"))

    async with RawUpstream(script) as upstream:
        public = "https://gemini.example/shared/"
        async with proxy(upstream.url + "/below", ONE_KEY, PUBLIC_URL=public) as here:
            got = await ask(here.port, "POST", "/upload/v1/files", *START, body=b"{}")
            await ask(here.port, "POST", "/upload/v1/files?upload_id=x", *UPLOAD, body=b"content")
    assert got.one("x-goog-upload-url") == "https://gemini.example/shared/upload/v1/files?upload_id=x"
    assert [seen.target for seen in upstream.seen] == [
        "/below/upload/v1/files",
        "/below/upload/v1/files?upload_id=x",
    ]


async def test_the_older_protocols_location_is_rewritten_too() -> None:
    location = answer(200, b"", ("Location", "https://upstream.example/upload/v1beta/files?upload_id=old"))
    async with RawUpstream(always(location)) as upstream, proxy(upstream.url, ONE_KEY | LOCKED) as here:
        start = await ask(here.port, "POST", FILES + "?uploadType=resumable", CLIENT, body=b"{}")
        later = await ask(here.port, "PUT", FILES + "?upload_id=old", body=b"content")
    assert start.one("location") == "http://proxy.example/upload/v1beta/files?upload_id=old"
    assert later.status == 200


# follow-up requests.


async def test_every_follow_up_request_goes_to_the_key_that_started_it_and_needs_no_credential() -> None:
    chunk = b"x" * 8388608
    async with mocked() as (mock, here):
        for _ in range(8):
            mock.calls.clear()
            start = await ask(here.port, "POST", FILES, CLIENT, *START, body=b"{}")
            target = target_of(start)
            first = await ask(
                here.port,
                "POST",
                target,
                ("X-Goog-Upload-Command", "upload"),
                ("X-Goog-Upload-Offset", "0"),
                body=chunk,
            )
            query = await ask(here.port, "POST", target, ("X-Goog-Upload-Command", "query"), body=b"")
            last = await ask(
                here.port,
                "POST",
                target,
                ("X-Goog-Upload-Command", "upload, finalize"),
                ("X-Goog-Upload-Offset", "8388608"),
                body=b"the end",
            )
            name = json.loads(last.body)["file"]["name"]
            assert (await ask(here.port, "GET", f"/v1beta/{name}", CLIENT)).status == 200
            assert len({call.key for call in mock.calls}) == 1
            assert (first.one("x-goog-upload-status"), query.one("x-goog-upload-size-received")) == (
                "active",
                "8388608",
            )
            assert (last.one("x-goog-upload-status"), json.loads(last.body)["file"]["sizeBytes"]) == (
                "final",
                "8388615",
            )


async def test_an_upload_can_be_cancelled() -> None:
    async with mocked() as (_, here):
        target = target_of(await ask(here.port, "POST", FILES, CLIENT, *START, body=b"{}"))
        cancelled = await ask(here.port, "POST", target, ("X-Goog-Upload-Command", "cancel"), body=b"")
        after = await ask(here.port, "POST", target, ("X-Goog-Upload-Command", "query"), body=b"")
    assert (cancelled.one("x-goog-upload-status"), after.status) == ("cancelled", 404)


@pytest.mark.parametrize(
    "fields",
    [UPLOAD, (("X-Goog-Upload-Command", "query"),), (*START,), (("X-Goog-Upload-Protocol", "raw"),), ()],
    ids=["content", "query", "start", "raw", "nothing"],
)
async def test_an_invented_upload_without_a_credential_reaches_nobody(
    fields: tuple[tuple[str, str], ...],
) -> None:
    async with mocked() as (mock, here):
        got = await ask(here.port, "POST", FILES + "?upload_id=invented", *fields, body=b"content")
        assert (got.status, len(mock.calls)) == (401, 0)


@pytest.mark.parametrize(
    "fields",
    [START, (("X-Goog-Upload-Command", "start, upload, finalize"),), (("X-Goog-Upload-Protocol", "raw"),)],
    ids=["start", "one shot", "raw"],
)
async def test_an_upload_address_allows_no_new_upload(fields: tuple[tuple[str, str], ...]) -> None:
    async with mocked() as (mock, here):
        target = target_of(await ask(here.port, "POST", FILES, CLIENT, *START, body=b"{}"))
        got = await ask(here.port, "POST", target, *fields, body=b"content")
        assert (got.status, len(mock.calls)) == (401, 1)


MISSING = b'{"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}}'


async def test_an_upload_of_before_a_restart_goes_on_with_a_credential() -> None:
    def strangers(seen: Seen, writer: asyncio.StreamWriter) -> Awaitable[None]:
        known = seen.key == KEYS["GOOGLE_API_KEY_2"]
        return always(answer(200) if known else answer(404, MISSING))(seen, writer)

    query, target = ("X-Goog-Upload-Command", "query"), FILES + "?upload_id=from-before"
    async with RawUpstream(strangers) as upstream, proxy(upstream.url, KEYS | LOCKED) as here:
        for _ in range(5):
            assert (await ask(here.port, "POST", target, CLIENT, query, body=b"")).status == 200
        assert Counter(seen.key for seen in upstream.seen)[KEYS["GOOGLE_API_KEY_1"]] <= 1


# What fails over, and what does not.


async def test_the_start_of_an_upload_fails_over() -> None:
    async with mocked(a=Health.suspended(), b=Health.service_disabled(), c=Health.healthy()) as (
        _,
        here,
    ):
        for _ in range(5):
            assert (await ask(here.port, "POST", FILES, CLIENT, *START, body=b"{}")).status == 200


async def test_content_goes_to_one_key_only_and_a_refusal_says_what_to_do() -> None:
    async with mocked(a=Health.service_disabled(), b=Health.service_disabled()) as (mock, here):
        one_shot = ("X-Goog-Upload-Command", "start, upload, finalize")
        got = await ask(here.port, "POST", FILES, CLIENT, RESUMABLE, one_shot, body=b"content")
        assert (got.status, got.one("retry-after"), len(mock.calls)) == (429, "1", 1)
        message = json.loads(got.body)["error"]["message"]
        assert "send it again" in message
        assert "SERVICE_DISABLED" in message
        assert sum(key.whole is not None for key in here.app.rotator.keys) == 1


async def test_an_upstream_that_breaks_off_inside_an_upload_is_reported() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "POST", FILES + "?upload_id=x", *UPLOAD, body=b"content")
    assert (got.status, len(upstream.seen)) == (500, 1)
    assert "broke off" in json.loads(got.body)["error"]["message"]


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (FILES, (RESUMABLE, ("X-Goog-Upload-Command", "start, upload, finalize"))),
        (FILES, (("X-Goog-Upload-Protocol", "raw"), ("Content-Type", "text/plain"))),
        (FILES + "?uploadType=media", (("Content-Type", "text/plain"),)),
        (FILES, (("X-Goog-Upload-Protocol", "multipart"), ("Content-Type", "multipart/related; boundary=b"))),
    ],
    ids=["one shot", "raw", "media", "multipart"],
)
async def test_uploads_in_one_piece_arrive(target: str, fields: tuple[tuple[str, str], ...]) -> None:
    body = b"the content"
    if "multipart" in str(fields):
        body = b'--b\r\nContent-Type: application/json\r\n\r\n{"file": {}}\r\n'
        body += b"--b\r\nContent-Type: text/plain\r\n\r\nthe content\r\n--b--\r\n"
    async with mocked() as (_, here):
        got = await ask(here.port, "POST", target, CLIENT, *fields, body=body)
        file = json.loads(got.body)["file"]
        assert (got.status, file["sizeBytes"]) == (200, "11")
        assert (await ask(here.port, "GET", f"/v1beta/{file['name']}", CLIENT)).status == 200


# Content passes through.


@contextlib.asynccontextmanager
async def receiving(
    receive: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """An upstream that reads the content of one upload as it likes, after its head."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.append(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await receive(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def begin(client: Client, length: int, *fields: tuple[str, str]) -> None:
    client.send("POST", FILES + "?upload_id=x", *UPLOAD, ("Content-Length", str(length)), *fields)


async def test_content_goes_on_before_it_is_whole() -> None:
    came = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result(await reader.readexactly(5))
        await reader.readexactly(5)
        writer.write(answer(200, b"{}"))

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, 10)
        client.writer.write(b"first")
        assert await asyncio.wait_for(came, PATIENCE) == b"first"
        client.writer.write(b"after")
        assert (await client.got()).status == 200


async def test_content_of_unknown_length_goes_on_in_chunks() -> None:
    seen: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(answer(200, b"{}"))

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        client.send("POST", FILES + "?upload_id=x", *UPLOAD, ("Transfer-Encoding", "chunked"))
        client.writer.write(b"5\r\nhello\r\n0\r\n\r\n")
        assert (await client.got()).status == 200
    assert b"hello" in seen[0]


async def test_an_upstream_that_does_not_read_stalls_the_client() -> None:
    async def receive(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    size = 64 * 1024 * 1024
    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, size)
        client.writer.transport.set_write_buffer_limits(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                for _ in range(64):
                    client.writer.write(b"x" * (1024 * 1024))
                    await client.writer.drain()
        # The kernel's buffers of two connections hold some megabytes; the proxy holds one chunk.
        assert client.writer.transport.get_write_buffer_size() > 0


async def test_a_client_that_disconnects_inside_its_content_ends_the_upload_at_once() -> None:
    closed = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                pass
        finally:
            closed.set()

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, 2 * 1024**3)
        for _ in range(64):
            client.writer.write(b"x" * (1024 * 1024))
            await client.writer.drain()
        client.writer.transport.abort()
        await at_once(closed.is_set)
        await until(lambda: not here.app.context.running and here.app.upstream.busy == 0)


async def test_a_client_that_is_refused_inside_its_content_reads_why() -> None:
    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        writer.write(answer(400, b'{"error": {"code": 400, "message": "No."}}'))
        await reader.read()

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, 64 * 1024 * 1024)
        client.writer.write(b"x" * 1000)
        head = await client.head()
        assert head.status == 400
        assert b"No." in await client.reader.readexactly(int(head.one("content-length")))


async def test_content_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_body, "CLIENT_IDLE_TIMEOUT", 0.2)

    async def receive(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, 1000)
        client.writer.write(b"x")
        assert (await client.got()).status == 408
        await until(lambda: here.app.upstream.busy == 0)


@pytest.mark.turned
async def test_an_upstream_that_takes_its_time_is_no_idle_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_body, "CLIENT_IDLE_TIMEOUT", 0.2)
    size = 32 * 1024 * 1024

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        await reader.readexactly(size)
        writer.write(answer(200, b"{}"))

    async with receiving(receive) as url, proxy(url) as here, connect(here.port) as client:
        begin(client, size)
        client.writer.write(b"x" * size)
        assert (await client.got()).status == 200
