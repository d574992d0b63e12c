"""The tokens that compressed responses report are counted, and every byte of them is relayed as it came."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Sequence

import brotli
import pytest

from proxycore.http.access_record import AccessRecord
from tests.support.proxy import Proxy, proxy
from tests.support.scripted import JSON, SSE, Fields
from tests.support.waiting import until
from tests.support.wire import Got, RawUpstream, Script, Seen, always, answer, ask, chunk

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
USAGE = {
    "promptTokenCount": 7,
    "toolUsePromptTokenCount": 2,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 5,
}
COUNTS = {
    "input_tokens": 9,
    "output_tokens": 50,
    "cached_tokens": 5,
    "thinking_tokens": 30,
    "tool_tokens": 2,
    "unread": False,
}
UNREAD = dict.fromkeys(COUNTS, 0) | {"unread": True}


def generated(text: str, usage: object = USAGE) -> bytes:
    return json.dumps(
        {"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": usage}
    ).encode()


WHOLE = generated("Tokens are about four characters of English text. " * 10)
EVENTS = [
    b"data: " + generated(f"word {number}", USAGE if number == 9 else {"promptTokenCount": 7}) + b"\r\n\r\n"
    for number in range(10)
]

Encoder = Callable[[list[bytes]], list[bytes]]
"""Compresses parts of a body so that each can be read once it has arrived; returns what is sent for each."""


def deflated(window: int) -> Encoder:
    def encode(parts: list[bytes]) -> list[bytes]:
        deflater = zlib.compressobj(wbits=window)
        sent = [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts]
        return [*sent, deflater.flush()]

    return encode


def brotlied(parts: list[bytes]) -> list[bytes]:
    compressor = brotli.Compressor(quality=5)
    return [*(compressor.process(part) + compressor.flush() for part in parts), compressor.finish()]


def in_members(parts: list[bytes]) -> list[bytes]:
    return [gzip.compress(part) for part in parts]


CODINGS: dict[str, tuple[str, Encoder]] = {
    "none": ("", list),
    "gzip": ("gzip", deflated(16 + zlib.MAX_WBITS)),
    "gzip, a member for each part": ("gzip", in_members),
    "deflate": ("deflate", deflated(zlib.MAX_WBITS)),
    "raw deflate": ("deflate", deflated(-zlib.MAX_WBITS)),
    "brotli": ("br", brotlied),
}
every_coding = pytest.mark.parametrize(("coding", "encode"), CODINGS.values(), ids=CODINGS)


def coded(coding: str, *fields: tuple[str, str]) -> Fields:
    return (*fields, ("Content-Encoding", coding)) if coding else fields


def chunked(parts: Sequence[bytes], fields: Fields, *, end: bytes = b"0\r\n\r\n") -> Script:
    """A script that sends these chunks one by one."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{lines}\r\n".encode())
        for part in parts:
            if part:
                writer.write(chunk(part))
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(end)
        if not end:
            writer.close()

    return script


async def recorded(script: Script, target: str = GENERATE) -> tuple[Got, dict[str, int]]:
    """The response to one request, and the token counts in its record."""
    records: list[AccessRecord] = []
    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        keep_records(here, records)
        got = await ask(here.port, "POST", target, body=BODY)
        await until(lambda: bool(records))
    (record,) = records
    return got, {name: getattr(record, name) for name in COUNTS}


def keep_records(here: Proxy, records: list[AccessRecord]) -> None:
    closed = here.app.meter.closed

    def keep(record: AccessRecord, outcome: str, seconds: float) -> None:
        records.append(record)
        closed(record, outcome, seconds)

    vars(here.app.meter)["closed"] = keep


@every_coding
async def test_the_counts_of_a_whole_response_are_recorded(coding: str, encode: Encoder) -> None:
    body = b"".join(encode([WHOLE]))
    got, counts = await recorded(always(answer(200, body, *coded(coding, *JSON))))
    assert got.body == body
    assert got.all("content-encoding") == ([coding] if coding else [])
    assert counts == COUNTS


@every_coding
async def test_the_counts_of_a_response_in_single_bytes_are_recorded(coding: str, encode: Encoder) -> None:
    body = b"".join(encode([WHOLE]))
    parts = [body[place : place + 1] for place in range(len(body))]
    got, counts = await recorded(chunked(parts, coded(coding, *JSON)))
    assert (got.body, counts) == (body, COUNTS)


@every_coding
async def test_the_counts_of_a_stream_are_those_of_its_last_event(coding: str, encode: Encoder) -> None:
    parts = encode(EVENTS)
    got, counts = await recorded(chunked(parts, coded(coding, *SSE)), STREAM)
    assert (got.body, counts) == (b"".join(parts), COUNTS)


@every_coding
async def test_of_a_stream_that_breaks_off_what_it_has_told_counts(coding: str, encode: Encoder) -> None:
    parts = encode(EVENTS)[:5]
    got, counts = await recorded(chunked(parts, coded(coding, *SSE), end=b""), STREAM)
    assert (got.body, got.whole) == (b"".join(parts), False)
    assert counts == dict.fromkeys(COUNTS, 0) | {"input_tokens": 7}


PACKED = gzip.compress(WHOLE)
BOMB = gzip.compress(b" " * 50_000_000 + WHOLE)
NOT_READ = {
    "an unknown coding": ("zstd", b"(\xb5/\xfd" + WHOLE),
    "two codings": ("gzip, br", PACKED),
    "plain text that is called gzip": ("gzip", WHOLE),
    "truncated": ("gzip", PACKED[:-80]),
    "a wrong checksum": ("gzip", PACKED[:-8] + bytes(8)),
    "damaged": ("gzip", PACKED[:100] + bytes(50) + PACKED[150:]),
    "a bomb": ("gzip", BOMB),
    "a bomb of brotli": ("br", brotli.compress(b" " * 5_000_000, quality=5)),
}


@pytest.mark.parametrize(("coding", "body"), NOT_READ.values(), ids=NOT_READ)
async def test_what_can_not_be_read_is_relayed_as_it_came_and_recorded_as_unread(
    coding: str, body: bytes
) -> None:
    got, counts = await recorded(chunked([body[:50], body[50:]], coded(coding, *JSON)))
    assert (got.status, got.whole, got.body) == (200, True, body)
    assert counts == UNREAD


async def test_what_spends_no_quota_is_not_read() -> None:
    target = f"/v1beta/models/{MODEL}:countTokens"
    got, counts = await recorded(always(answer(200, WHOLE, *coded("gzip", *JSON))), target)
    assert (got.body, counts) == (WHOLE, dict.fromkeys(COUNTS, 0))
