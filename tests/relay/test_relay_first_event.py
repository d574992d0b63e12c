"""A stream is committed at its first event; if that is an error, another key is tried."""

import asyncio
import itertools
import json
import re
import zlib
from typing import Any

import pytest

from proxycore.relay.handler import RelayHandler
from tests.support.openings import (
    CLIENT_ERROR,
    CODINGS,
    DENIED,
    END,
    FORMS,
    INVALID,
    OVERLOADED,
    PIECES,
    SPENT,
    STREAM,
    WHOLE,
    event,
    generate,
    problem,
    streamed,
    third,
)
from tests.support.proxy import proxy, rests
from tests.support.waiting import at_once, quiet, until
from tests.support.wire import CHUNKED, HOME, RawUpstream, Seen, always, answer, ask, chunk, connect

ARRAY = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
KEYS = {f"GOOGLE_API_KEY_{number}": f"secret-of-key-{number}" for number in (1, 2, 3)}

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_a_key_whose_stream_begins_with_an_error_is_replaced() -> None:
    async with RawUpstream(third(streamed(event(OVERLOADED)), streamed(*PIECES))) as upstream:
        async with proxy(upstream.url, KEYS) as here:
            for _ in range(9):
                got = await generate(here.port)
                assert (got.status, got.body, got.whole) == (200, WHOLE, True)


@pytest.mark.parametrize("coding", ["", *CODINGS])
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_an_error_leads_to_another_key(form: str, coding: str) -> None:
    body = CODINGS[coding](FORMS[form]) if coding else FORMS[form]
    good = CODINGS[coding](WHOLE) if coding else WHOLE
    script = third(streamed(body, coding=coding), streamed(good, coding=coding))
    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        got = await generate(here.port)
        assert (got.status, got.body, got.all("content-encoding")) == (200, good, [coding] if coding else [])


@pytest.mark.parametrize("error", [SPENT, INVALID, DENIED, OVERLOADED], ids=["429", "dead", "403", "503"])
@pytest.mark.parametrize(
    "kind", ["text/event-stream; charset=UTF-8", "Text/Event-Stream", "application/json"]
)
async def test_the_error_says_of_the_key_what_it_says_with_a_status_of_its_own(
    error: dict[str, Any], kind: str
) -> None:
    target = ARRAY if kind == "application/json" else STREAM
    opened = b"[" + json.dumps(error).encode() + b"]" if target == ARRAY else event(error)
    script = third(streamed(opened, kind=kind), streamed(b'[{"candidates": []}]', kind=kind))
    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        for _ in range(6):
            assert (await generate(here.port, target)).body == b'[{"candidates": []}]'
        one, two, three = here.app.rotator.keys
        assert not rests(three)
        if error is not OVERLOADED:
            asked = [seen.key for seen in upstream.seen]
            assert {asked.count(key.secret) for key in (one, two) if rests(key)} <= {1, 2}
            assert asked.count(KEYS["GOOGLE_API_KEY_3"]) == 6


@pytest.mark.parametrize("after", [b"", WHOLE], ids=["silent", "busy"])
async def test_an_upstream_that_goes_on_after_its_error_holds_nothing_up(after: bytes) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.key.endswith("3"):
            writer.write(streamed(*PIECES))
            return
        writer.write(CHUNKED + chunk(event(OVERLOADED)))
        while True:
            await asyncio.sleep(0.01)
            writer.write(chunk(after) if after else b"")

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        assert (await generate(here.port)).body == WHOLE
        await until(lambda: all(seen.closed for seen in upstream.seen if not seen.key.endswith("3")))


async def test_a_connection_whose_stream_was_refused_by_its_error_is_kept() -> None:
    async with RawUpstream(third(streamed(event(SPENT)), streamed(*PIECES))) as upstream:
        async with proxy(upstream.url, KEYS) as here:
            for _ in range(3):
                assert (await generate(here.port)).body == WHOLE
            assert upstream.connections == 1


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""], ids=["an event", "without its end"])
async def test_a_client_error_goes_on_at_once_and_so_does_the_stream(end: bytes) -> None:
    go_on = asyncio.Event()
    mistake = event(CLIENT_ERROR).rstrip() + end

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(mistake))
        await go_on.wait()
        writer.write(b"".join(map(chunk, PIECES)) + END)

    async with (
        RawUpstream(script) as upstream,
        proxy(upstream.url, KEYS) as here,
        connect(here.port) as client,
    ):
        client.send("POST", STREAM, body=b"{}")
        assert (await client.head()).status == 200
        pieces = client.chunks()
        assert await anext(pieces) == mistake
        go_on.set()
        assert b"".join([piece async for piece in pieces]) == WHOLE
        assert len(upstream.seen) == 1
        assert not any(rests(key) for key in here.app.rotator.keys)


@pytest.mark.parametrize("coding", ["", *CODINGS])
async def test_when_no_key_serves_the_client_gets_what_the_upstream_sent(
    coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = b": wait\n\n" + event(OVERLOADED) + b"data: [DONE]\n\n"
    sent = CODINGS[coding](body) if coding else body
    async with RawUpstream(always(streamed(sent[:9], sent[9:], coding=coding))) as upstream:
        async with proxy(upstream.url, KEYS) as here:
            got = await generate(here.port)
    assert (got.status, got.body, got.whole) == (200, sent, True)
    assert (got.all("content-type"), len(got.all("content-encoding"))) == (
        ["text/event-stream"],
        bool(coding),
    )
    assert len(upstream.seen) > 1
    line = caplog.records[-1]  # at the level of warnings
    assert (line.message, "UNAVAILABLE" in line.fields["reason"]) == ("request failed", True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_what_the_client_gets_then_names_no_key(coding: str) -> None:
    named = event(problem(503, f"Consumer {KEYS['GOOGLE_API_KEY_1']}", "UNAVAILABLE"))
    packer = zlib.compressobj(wbits=31)  # whose stream has no end, as the upstream keeps it open
    sent = packer.compress(named) + packer.flush(zlib.Z_SYNC_FLUSH) if coding else named

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(streamed(sent, coding=coding).removesuffix(END))
        await asyncio.sleep(60)

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        got = await generate(here.port)
    assert (got.status, got.all("content-encoding")) == (200, [])
    assert got.body == named.replace(KEYS["GOOGLE_API_KEY_1"].encode(), b"[key 1]")


@pytest.mark.turned
async def test_neither_head_nor_byte_goes_out_before_the_first_event() -> None:
    lead, go_on = b": wait\n\n", asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(lead))
        await go_on.wait()
        go_on.clear()
        writer.write(chunk(PIECES[0][:12]))  # `data: {"cand`
        await go_on.wait()
        writer.write(chunk(PIECES[0][12:]) + END)

    async with (
        RawUpstream(script) as upstream,
        proxy(upstream.url, KEYS) as here,
        connect(here.port) as client,
    ):
        client.send("POST", STREAM, body=b"{}")
        await until(lambda: bool(upstream.seen))
        (running,) = here.app.context.running
        assert isinstance(running, RelayHandler)
        head = asyncio.ensure_future(client.head())
        await quiet()
        assert (running.begun, head.done(), running.record.first_byte) == (False, False, None)
        go_on.set()
        assert (await head).status == 200
        pieces = client.chunks()
        assert await anext(pieces) == lead + PIECES[0][:12]
        assert here.app.meter.now()["streams"][0]["key"] == running.record.key
        go_on.set()
        assert [piece async for piece in pieces] == [PIECES[0][12:]]
        assert (running.record.first_byte or 0) > 0.05


@pytest.mark.parametrize("started", [b"", b": wait\n\n", b'data: {"err', b'data: {"error": {"code": 503'])
async def test_an_upstream_that_breaks_off_before_the_first_event_is_tried_again(started: bytes) -> None:
    turns = itertools.count()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        if next(turns):
            writer.write(streamed(*PIECES))
            return
        writer.write(CHUNKED + (chunk(started) if started else b""))
        await writer.drain()
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        got = await generate(here.port)
        assert (got.status, got.body, got.whole) == (200, WHOLE, True)
        assert len(upstream.seen) == 2


async def test_one_that_may_have_made_something_is_not_sent_again() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b": wait\n\n"))
        await writer.drain()
        writer.close()

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        got = await generate(here.port, "/v1beta/interactions")
        assert (got.status, b"UNAVAILABLE" in got.body, len(upstream.seen)) == (500, True, 1)


async def test_a_timeout_before_the_first_event_is_reported_and_not_retried() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b": wait\n\n"))
        await asyncio.sleep(60)

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS, IDLE_TIMEOUT="0.2") as here:
        got = await generate(here.port)
        assert (got.status, b"timed out: no data for 0.2 seconds" in got.body) == (500, True)
        assert len(upstream.seen) == 1


@pytest.mark.turned
@pytest.mark.parametrize("started", [b": wait\n\n", b'data: {"error', event(OVERLOADED)])
async def test_a_client_that_disconnects_before_the_first_event_ends_the_upstream_request(
    started: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(started))
        await asyncio.sleep(60)

    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS) as here:
        async with connect(here.port) as client:
            client.send("POST", STREAM, body=b"{}")
            await until(lambda: bool(upstream.seen))
            await quiet()
        await at_once(lambda: all(seen.closed is not None for seen in upstream.seen))
        await until(lambda: not here.app.context.running)
        assert not any(rests(key) for key in here.app.rotator.keys)
    (line,) = [record for record in caplog.records if record.message == "client disconnected"]
    assert line.fields["status"] == 499  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "target",
    ["/v1beta/interactions/v1_abc?stream=true&last_event_id=7", "/v1beta/files/abc:download?alt=media"],
)
async def test_what_is_stored_refuses_no_call_whatever_it_begins_with(target: str) -> None:
    async with RawUpstream(always(streamed(event(DENIED)))) as upstream, proxy(upstream.url, KEYS) as here:
        got = await ask(here.port, "GET", target)
        assert (got.status, got.body, len(upstream.seen)) == (200, event(DENIED), 1)
        assert not any(rests(key) for key in here.app.rotator.keys)


async def test_a_document_with_status_200_is_no_stream_whatever_it_says() -> None:
    sent = answer(200, json.dumps(OVERLOADED).encode(), ("Content-Type", "application/json"))
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url, KEYS) as here:
        got = await generate(here.port, ARRAY.replace("streamG", "g"))
        assert (got.status, json.loads(got.body), len(upstream.seen)) == (200, OVERLOADED, 1)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 206), ("GET", 204)])
async def test_what_has_no_events_is_committed_as_it_is(method: str, status: int) -> None:
    fields, body = b"Content-Type: text/event-stream\r\n", event(OVERLOADED) if status == 206 else b""
    fields += b"Content-Length: %d\r\n" % len(body) if status != 204 else b""
    sent = b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, fields, body)
    async with RawUpstream(always(sent)) as upstream, proxy(upstream.url, KEYS) as here:
        async with connect(here.port) as client:
            for _ in range(2):
                client.send(method, STREAM)
                got = await client.got(bodiless=method == "HEAD")
                assert (got.status, got.body) == (status, body)
        assert len(upstream.seen) == 2


async def test_a_call_counts_as_served_at_its_first_event_and_as_refused_by_its_error() -> None:
    async with RawUpstream(third(streamed(event(SPENT)), streamed(*PIECES))) as upstream:
        async with proxy(upstream.url, KEYS) as here:
            for _ in range(4):
                assert (await generate(here.port)).body == WHOLE
            page = (await ask(here.port, "GET", "/metrics", HOME)).body.decode()
            keys = here.app.meter.now()["keys"]
    assert [len(times) for _, times in (keys.get(name, (0, [])) for name in "123")] == [0, 0, 4]
    for word, count in (("429", len(upstream.seen) - 4), ("2xx", 4)):
        told = re.findall(rf'^gemini_proxy_attempts_total{{.*answer="{word}".*}} (\d+)', page, re.MULTILINE)
        assert sum(map(int, told)) == count
