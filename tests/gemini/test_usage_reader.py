"""The tokens of a response, read while it passes in chunks of any size and in any coding."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.token_usage import TokenUsage
from proxycore.gemini.usage_reader import UsageReader

USAGE = {
    "promptTokenCount": 4000,
    "cachedContentTokenCount": 3000,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
}
READ = TokenUsage(4000, 50, cached=3000, thinking=30)
MEGABYTE = 1024 * 1024


def generated(text: str) -> bytes:
    return json.dumps(
        {"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": USAGE}
    ).encode()


BODY = generated("Tokens are about four characters of English text. " * 50)


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


def two_members(body: bytes) -> bytes:
    middle = len(body) // 2
    return gzip.compress(body[:middle]) + gzip.compress(body[middle:])


def fast_brotli(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=1))


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "gzip, two members": ("x-gzip", two_members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "brotli": ("br", fast_brotli),
}
COMPRESSED = {name: coding for name, coding in CODINGS.items() if name != "none"}
every_coding = pytest.mark.parametrize(("coding", "encode"), CODINGS.values(), ids=CODINGS)
every_compression = pytest.mark.parametrize(("coding", "encode"), COMPRESSED.values(), ids=COMPRESSED)


def read(coding: str, *chunks: bytes) -> TokenUsage | None:
    reader = UsageReader([coding] if coding else [])
    for chunk in chunks:
        reader.add(chunk)
    return reader.usage()


def bytewise(body: bytes) -> list[bytes]:
    return [body[place : place + 1] for place in range(len(body))]


@every_coding
def test_the_usage_is_read_from_one_chunk_and_from_single_bytes(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(BODY)
    assert read(coding, body) == READ
    assert read(coding, *bytewise(body)) == READ


@every_coding
@given(st.integers(0, 60_000), st.lists(st.integers(0, 60_000), max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_usage_is_read_from_bodies_of_any_size_in_any_chunks(
    coding: str, encode: Callable[[bytes], bytes], size: int, places: list[int]
) -> None:
    body = encode(generated(("%x" % (7**size)) if size < 20_000 else "a" * size))
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    assert read(coding, *(body[start:end] for start, end in pairwise(marks))) == READ


def test_no_content_coding_is_a_body_as_it_is() -> None:
    assert read("", BODY) == READ


@every_coding
def test_a_body_without_usage_has_no_tokens(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert read(coding, encode(b'{"embedding": {"values": [0.1, 0.2]}}')) == TokenUsage()
    assert read(coding) == TokenUsage()


@every_compression
def test_a_body_that_ends_before_its_usage_is_unread(coding: str, encode: Callable[[bytes], bytes]) -> None:
    body = encode(BODY)
    assert read(coding, body[: len(body) // 3]) is None


@every_coding
def test_of_a_body_that_breaks_off_within_its_usage_no_count_is_wrong(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(BODY)
    for length in range(len(body)):
        found = read(coding, body[:length]) or TokenUsage()
        assert found.input in (0, 4000)
        assert found.cached in (0, 3000)
        assert found.output in (0, 20, 50)


def test_of_a_stream_that_breaks_off_the_last_event_counts() -> None:
    deflater = zlib.compressobj(wbits=31)
    chunks = [
        deflater.compress(b'data: {"usageMetadata": {"promptTokenCount": %d}}\r\n\r\n' % number)
        + deflater.flush(zlib.Z_SYNC_FLUSH)
        for number in range(1, 2000)
    ]
    for length in (1, 5, 700, len(chunks)):
        assert read("gzip", *chunks[:length]) == TokenUsage(length)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br", "gzip, gzip", "odd"])
def test_a_body_that_is_not_coded_as_it_says_is_unread(coding: str) -> None:
    assert read(coding, BODY) is None
    assert read(coding, *bytewise(BODY)) is None


@pytest.mark.parametrize("place", [200, -6, -2])
def test_a_damaged_gzip_body_is_unread(place: int) -> None:
    body = bytearray(gzip.compress(bytes(range(256)) * 4 + BODY))
    body[place] ^= 0xFF
    assert read("gzip", bytes(body)) is None
    assert read("gzip", *bytewise(bytes(body)), b"more") is None


@every_compression
def test_a_bomb_is_unread_and_takes_little_memory(coding: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(b" " * (60 * MEGABYTE) + BODY)
    assert len(bomb) < MEGABYTE
    tracemalloc.start()
    try:
        assert read(coding, *(bomb[start : start + 65_536] for start in range(0, len(bomb), 65_536))) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTE


@every_compression
def test_a_body_larger_than_the_bound_is_unread(coding: str, encode: Callable[[bytes], bytes]) -> None:
    text = "".join(f"{number:x}" for number in range(1_700_000))
    body = encode(generated(text))
    assert len(text) > 8 * MEGABYTE
    assert read(coding, *(body[start : start + 65_536] for start in range(0, len(body), 65_536))) is None
    assert read("", generated(text)) == READ


def test_a_text_that_repeats_itself_is_read() -> None:
    body = gzip.compress(generated("and again " * 20_000))
    assert len(body) < 2000
    assert read("gzip", body) == READ
