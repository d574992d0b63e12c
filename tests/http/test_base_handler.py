"""What every answer has, and what becomes of requests that are odd, too large, or never finished."""

import asyncio
import json

import pytest

from proxycore.http import incoming_body
from tests.support.proxy import KEYS, proxy
from tests.support.waiting import until
from tests.support.wire import Got, RawUpstream, always, answer, ask, connect

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
OK = always(answer(200, b"{}"))
CLIENT_KEY = {**KEYS, "OUTPUT_API_KEY": "the-clients-own-key", "OUTPUT_API_KEY_ALICE": "the-key-of-alice"}

pytestmark = pytest.mark.usefixtures("io_loop")


def status_of(got: Got) -> tuple[int, str]:
    content = json.loads(got.body)["error"]
    assert content["code"] == got.status
    assert content["message"]
    assert got.one("content-type") == "application/json; charset=UTF-8"
    assert got.one("access-control-allow-origin") == "*"
    return got.status, content["status"]


@pytest.mark.parametrize(
    "offer",
    [
        ("x-goog-api-key", "the-clients-own-key"),
        ("X-Goog-Api-Key", "the-key-of-alice"),
        ("Authorization", "Bearer the-clients-own-key"),
        ("authorization", "bearer   the-key-of-alice"),
    ],
)
async def test_a_right_client_key_in_a_header_is_accepted_and_not_forwarded(offer: tuple[str, str]) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT_KEY) as here:
        got = await ask(
            here.port, "POST", GENERATE, offer, ("X-Goog-Api-Key", "wrong"), ("Cookie", "a=b"), body=b"{}"
        )
    assert got.status == 200
    (seen,) = upstream.seen
    assert seen.all("x-goog-api-key")[0] in KEYS.values()
    assert not seen.all("authorization") + seen.all("cookie")


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("?key=the-clients-own-key", ""),
        ("?a=1&key=the-key-of%2Dalice&b=2", "?a=1&b=2"),
        ("?key=wrong&k%65y=the-key-of-alice&c", "?c"),
    ],
)
async def test_a_right_client_key_in_the_query_is_accepted_and_removed(query: str, left: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT_KEY) as here:
        assert (await ask(here.port, "POST", GENERATE + query, body=b"{}")).status == 200
    assert upstream.seen[0].target == GENERATE + left


@pytest.mark.parametrize(
    "offer",
    [
        ("x-goog-api-key", "wrong"),
        ("Authorization", "Basic dGhlLWNsaWVudHMtb3duLWtleQ=="),
        ("Authorization", "the-clients-own-key"),
        ("x-goog-api-key", "upstream-key-number-one"),
        ("x-goog-api-key", "the-clients-own-key\u00e9"),
        ("x-goog-api-key", ""),
    ],
)
async def test_without_a_right_client_key_nothing_goes_on(offer: tuple[str, str]) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT_KEY) as here:
        got = await ask(here.port, "POST", GENERATE, offer, body=b"{}")
    assert status_of(got) == (401, "UNAUTHENTICATED")
    assert not upstream.seen


@pytest.mark.parametrize(
    "target",
    [
        "@evil.example/",
        "http://evil.example/v1/models",
        "//evil.example/v1/models",
        "*",
        "v1/models",
        "/models",
        "/v/models",
        "/v1",
        "/vbeta1/models",
        "/upload/files",
        "/v1/../v1beta/openai/models",
        "/v1/%2e%2E/upload/v1/files",
        "/v1/models/..",
        "/\\evil.example/v1",
    ],
)
async def test_what_is_not_relayed_reaches_nobody(target: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", target)
    assert status_of(got) == (404, "NOT_FOUND")
    assert not upstream.seen


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models",
        "/v1beta/x",
        "/v1alpha/x/..y",
        "/v12abc3/x",
        "/download/v1beta/f:download",
        "/$discovery/rest",
    ],
)
async def test_every_version_of_the_api_is_relayed(target: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "GET", target)).status == 200
    assert upstream.seen[0].target == target


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, MAX_BODY_MB="1") as here:
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ("Content-Length", str(5 * 2**20)), ("Expect", "100-continue"))
            assert status_of(await client.got()) == (413, "INVALID_ARGUMENT")
    assert not upstream.seen


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
async def test_a_client_that_sends_too_much_still_reads_why_it_is_refused(announced: bool) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, MAX_BODY_MB="1") as here:
        async with connect(here.port) as client:
            pieces = 200
            field = ("Content-Length", str(pieces * 65536)) if announced else ("Transfer-Encoding", "chunked")
            client.send("POST", GENERATE, field)
            for _ in range(pieces):  # all of it, before it looks at what is said
                client.writer.write(bytes(65536) if announced else b"10000\r\n" + bytes(65536) + b"\r\n")
                await client.writer.drain()
            client.writer.write(b"" if announced else b"0\r\n\r\n")
            assert status_of(await client.got()) == (413, "INVALID_ARGUMENT")
            client.send("POST", GENERATE, body=b"{}")
            assert (await client.got()).status == 200
    assert len(upstream.seen) == 1


async def test_a_body_at_the_limit_goes_through() -> None:
    body = bytes(2**20)
    async with RawUpstream(OK) as upstream, proxy(upstream.url, MAX_BODY_MB="1") as here:
        assert (await ask(here.port, "POST", GENERATE, body=body)).status == 200
    assert upstream.seen[0].body == body


async def test_chunked_bodies_go_through() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", GENERATE, ("Transfer-Encoding", "chunked"))
        client.writer.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await client.got()).status == 200
        assert upstream.seen[0].body == b"abcde"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([("Content-Type", "application/json")], b"{not json"),
        (
            [("Content-Type", "application/x-www-form-urlencoded")],
            b"&".join(b"f%d=1" % n for n in range(5000)),
        ),
        ([("Content-Type", "multipart/form-data; boundary=x")], b"--y\r\nbroken"),
        ([("Content-Type", "application/json"), ("Content-Encoding", "gzip")], b"\x1f\x8bnot gzip"),
    ],
    ids=["broken JSON", "5000 form fields", "broken multipart", "broken gzip"],
)
async def test_what_a_body_holds_is_the_upstreams_business(
    fields: list[tuple[str, str]], body: bytes
) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "POST", GENERATE, *fields, body=body)).status == 200
    assert upstream.seen[0].body == body


async def test_fifteen_hundred_query_parameters_go_on() -> None:
    query = "&".join(f"p{number}={number}" for number in range(1500))
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "GET", f"/v1/models?{query}")).status == 200
    assert upstream.seen[0].target == f"/v1/models?{query}"


LARGE_HEADS: dict[str, tuple[str, list[tuple[str, str]], int]] = {
    "a target of 16 kB": ("/v1/" + "x" * (16 * 1024 - 4), [], 200),
    "a target of more": ("/v1/" + "x" * (16 * 1024 - 3), [], 414),
    "a long query": ("/v1/models?" + "x=1&" * 15_000, [], 414),
    "a hundred fields": ("/v1/models", [(f"X-{number}", "x") for number in range(99)], 200),
    "more fields": ("/v1/models", [(f"X-{number}", "x") for number in range(100)], 431),
    "the same field, often": ("/v1/models", [("X", str(number)) for number in range(3000)], 431),
    "60 kB": ("/v1/models", [("X", "x" * 60_000)], 200),
    "64 kB, but for the target": (f"/v1/{'x' * 10_000}", [("X", "x" * 60_000)], 431),
    "70 kB": ("/v1/models", [("X", "x" * 70_000)], 431),
    "90 kB": ("/v1/models", [("X", "x" * 90_000)], 431),
    "two megabytes": ("/v1/models", [(f"X-{number}", "x" * 20_000) for number in range(100)], 431),
    "a target of a megabyte": ("/v1/" + "x" * 2**20, [], 414),
}


@pytest.mark.parametrize(("target", "fields", "status"), LARGE_HEADS.values(), ids=LARGE_HEADS)
async def test_a_head_that_is_too_large_is_refused_with_a_reason(
    target: str, fields: list[tuple[str, str]], status: int
) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "GET", target, *fields)
        assert got.status == status
        if status != 200:
            assert status_of(got) == (status, "INVALID_ARGUMENT")
            assert got.one("x-request-id")
            assert not upstream.seen
        assert (await ask(here.port, "GET", "/v1/models")).status == 200


async def test_what_follows_a_head_with_too_many_fields_is_no_request() -> None:
    smuggled = b"GET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    fields = [("Connection", "keep-alive")] * 120 + [("Content-Length", str(len(smuggled)))]
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", GENERATE, *fields)
        client.writer.write(smuggled)
        assert status_of(await client.got()) == (431, "INVALID_ARGUMENT")
        assert await client.reader.read() == b""
    assert not upstream.seen


async def test_a_head_without_end_is_refused_while_it_still_comes() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("GET", "/v1/models")
        assert (await client.got()).status == 200
        client.writer.write(b"GET /v1/models HTTP/1.1\r\n")
        for _ in range(100):
            client.writer.write(b"X: %b\r\n" % (b"x" * 1000))
            await asyncio.sleep(0)
        assert status_of(await client.got()) == (431, "INVALID_ARGUMENT")
        assert await client.reader.read() == b""
    assert len(upstream.seen) == 1


async def test_a_chunk_whose_size_has_no_end_gets_no_second_response() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", GENERATE, ("Transfer-Encoding", "chunked"))
        client.writer.write(b"0" * 1000)
        assert b"431" not in await client.reader.read()
        assert (await ask(here.port, "GET", "/v1/models")).status == 200
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("length", ["abc", "-1", "1e3", "", "12, 13", "\u0661"])
async def test_a_broken_content_length_is_refused(length: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.writer.write(
            f"POST {GENERATE} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        got = await client.got()
        assert got.status == 400
        assert b"Content-Length is not a number" in got.body
        assert await client.reader.read() == b""
    assert not upstream.seen


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /v1/models?a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_harms_nobody(garbage: bytes) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.writer.write(garbage)
            assert (await client.reader.read())[:12] in (b"", b"HTTP/1.1 400")
        assert (await ask(here.port, "GET", "/v1/models")).status == 200


async def test_half_a_request_ends_with_a_timeout_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_body, "CLIENT_IDLE_TIMEOUT", 0.2)
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        client.send("POST", GENERATE, ("Content-Length", "100"))
        client.writer.write(b"half")
        got = await client.got()
        assert status_of(got) == (408, "DEADLINE_EXCEEDED")
        assert await client.reader.read() == b""
        await until(lambda: not here.app.context.running)
    assert not upstream.seen


async def test_a_client_that_disconnects_inside_its_request_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        async with connect(here.port) as client:
            client.send("POST", GENERATE, ("Content-Length", "100"))
            await until(lambda: bool(here.app.context.running))
        await until(lambda: not here.app.context.running)
    assert [record.message for record in caplog.records] == ["client disconnected"]
    assert not upstream.seen


async def test_methods_that_nobody_uses_are_refused() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        got = await ask(here.port, "TRACE", "/v1/models")
    assert status_of(got) == (405, "INVALID_ARGUMENT")
    assert not upstream.seen


async def test_a_preflight_needs_no_key_and_reaches_nobody() -> None:
    fields = (
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,x-goog-api-key,x-goog-upload-command"),
    )
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT_KEY) as here:
        for target in (GENERATE, "/status.json"):
            got = await ask(here.port, "OPTIONS", target, *fields)
            assert (got.status, got.body) == (204, b"")
            assert got.one("access-control-allow-origin") == "*"
            assert "POST" in got.one("access-control-allow-methods")
            assert got.one("access-control-allow-headers") == fields[2][1]
            assert int(got.one("access-control-max-age")) > 0
    assert not upstream.seen


async def test_options_that_is_no_preflight_is_relayed() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        assert (
            await ask(here.port, "OPTIONS", "/v1/models", ("Origin", "https://app.example"))
        ).status == 200
    assert upstream.seen[0].method == "OPTIONS"


async def test_the_upstreams_cors_fields_give_way_to_ours() -> None:
    sent = answer(
        200,
        b"{}",
        ("Access-Control-Allow-Origin", "https://google.example"),
        ("Vary", "X-Origin"),
        ("Alt-Svc", "h3"),
    )
    async with RawUpstream(always(sent)) as upstream:
        async with proxy(upstream.url) as here:
            got = await ask(here.port, "GET", "/v1/models")
            assert got.all("access-control-allow-origin") == ["*"]
            assert got.all("vary") == ["X-Origin"]
            assert "X-Goog-Upload-URL" in got.one("access-control-expose-headers")
            assert not got.all("alt-svc")
        listed = "https://app.example, http://localhost:3000"
        async with proxy(upstream.url, CORS_ALLOW_ORIGIN=listed) as here:
            got = await ask(here.port, "GET", "/v1/models", ("Origin", "http://localhost:3000"))
            assert got.all("access-control-allow-origin") == ["http://localhost:3000"]
            assert sorted(got.all("vary")) == ["Origin", "X-Origin"]
            got = await ask(here.port, "GET", "/v1/models", ("Origin", "https://evil.example"))
            assert not got.all("access-control-allow-origin")


@pytest.mark.parametrize("target", ["/", "/healthz", "/readyz"])
async def test_the_programs_own_pages_need_no_key(target: str) -> None:
    async with proxy("http://127.0.0.1:9", CLIENT_KEY) as here:
        for method in ("GET", "HEAD"):
            got = await ask(here.port, method, target)
            assert (got.status, got.one("access-control-allow-origin")) == (200, "*")
        assert status_of(await ask(here.port, "POST", target, body=b"a=b"))[0] == 405


async def test_the_log_has_one_line_for_every_request_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT_KEY) as here:
        got = await ask(here.port, "POST", GENERATE + "?key=the-key-of-alice&secret=1", body=b"{}")
    (record,) = caplog.records
    fields = record.fields  # type: ignore[attr-defined]
    assert record.message == "served"
    fields = {name: value for name, value in fields.items() if value is not None}
    assert fields["key"] in {"1", "2"}
    assert fields.pop("id") == got.one("x-request-id")
    assert 0 <= fields.pop("first_byte") <= fields.pop("total") < 5
    fields.pop("key")
    assert fields == {
        "method": "POST",
        "path": GENERATE,
        "model": "gemini-2.0-flash",
        "status": 200,
        "attempts": 1,
        "bytes": 2,
        "client": "ALICE",
        "address": "127.0.0.1",
    }


async def test_a_fault_of_ours_is_reported_without_detail_and_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here:
        with monkeypatch.context() as patch:
            patch.setattr("proxycore.relay.handler.scope_of", lambda *_: 1 / 0)
            got = await ask(here.port, "POST", GENERATE, body=b"{}")
        assert status_of(got) == (500, "INTERNAL")
        assert b"division" not in got.body
        assert "ZeroDivisionError" in caplog.text
        assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status == 200
        await asyncio.sleep(0)
        assert not here.app.context.running
