"""Reading bodies that came compressed, and never failing on one that can't be read."""

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.http.coding import LARGEST, StreamDecoder, decode

TEXT = b'{"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota)."}}' * 20


def bare_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "identity": bytes,
}
CODED = {name: encode for name, encode in ENCODERS.items() if name != "identity"}
CODING = st.sampled_from(sorted(ENCODERS))


@pytest.mark.parametrize("encodings", [[], [""], ["identity"], ["identity, identity"], [",", " "]])
def test_a_body_without_coding_is_what_it_is(encodings: list[str]) -> None:
    assert decode(TEXT, encodings) is TEXT


@given(st.binary(max_size=2000), st.lists(CODING, max_size=3))
@settings(max_examples=100, deadline=None)
def test_what_was_encoded_is_decoded_through_any_number_of_codings(plain: bytes, codings: list[str]) -> None:
    body = plain
    for coding in codings:
        body = ENCODERS[coding](body)
    assert decode(body, codings) == plain
    assert decode(body, [", ".join(codings)]) == plain


@given(st.binary(max_size=2000), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_deflate_is_read_with_and_without_its_wrapper(plain: bytes, level: int) -> None:
    assert decode(zlib.compress(plain, level), ["deflate"]) == plain
    assert decode(bare_deflate(plain), ["deflate"]) == plain


@pytest.mark.parametrize("name", ["GZIP", " gzip ", "X-GZip", "gzip,", "identity, gzip"])
def test_a_codings_name_is_read_in_any_case_and_with_spaces(name: str) -> None:
    assert decode(gzip.compress(TEXT), [name]) == TEXT


@pytest.mark.parametrize("name", ["zstd", "compress", "aws-chunked", "gzip;q=1", "gzip br", "\u0130dentity"])
def test_an_unknown_coding_is_unreadable(name: str) -> None:
    assert decode(gzip.compress(TEXT), [name]) is None
    assert decode(gzip.compress(TEXT), ["gzip", name]) is None


@pytest.mark.parametrize("name", CODED)
def test_a_truncated_body_is_unreadable(name: str) -> None:
    whole = CODED[name](TEXT)
    assert all(decode(whole[:length], [name]) is None for length in range(1, len(whole)))


@pytest.mark.parametrize("name", CODED)
def test_a_body_that_is_not_coded_as_it_says_is_unreadable(name: str) -> None:
    assert decode(TEXT, [name]) is None


def test_a_damaged_body_is_unreadable() -> None:
    whole = bytearray(gzip.compress(TEXT))
    whole[-5] ^= 1  # in the checksum
    assert decode(bytes(whole), ["gzip"]) is None


@pytest.mark.parametrize("name", CODED)
def test_no_body_at_all_is_nothing_rather_than_damaged(name: str) -> None:
    # The answer to HEAD has the fields of a body that it doesn't have.
    assert decode(b"", [name]) == b""


def test_a_body_in_several_gzip_members_is_read_whole_or_not_at_all() -> None:
    # A secret in the second member must not go unseen (RFC 1952 §2.2 allows any number of members).
    members = gzip.compress(b"first, ") + gzip.compress(b"second")
    assert decode(members, ["gzip"]) in (b"first, second", None)


@pytest.mark.parametrize("name", CODED)
def test_a_body_with_something_behind_its_end_is_not_read_in_part(name: str) -> None:
    assert decode(CODED[name](TEXT) + b"and something else", [name]) is None


@pytest.mark.parametrize("name", CODED)
def test_a_body_unfolds_up_to_the_largest_size_and_a_bomb_is_unreadable(name: str) -> None:
    encode = (lambda body: brotli.compress(body, quality=1)) if name == "br" else CODED[name]
    largest = b"\0" * LARGEST
    assert decode(encode(largest), [name]) == largest
    assert decode(encode(largest * 2), [name]) is None


def test_a_bomb_within_a_bomb_is_unreadable() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * (LARGEST * 2)))
    assert decode(bomb, ["gzip, gzip"]) is None


@given(st.binary(max_size=200), st.lists(CODING | st.text(max_size=8), max_size=4))
@settings(max_examples=200, deadline=None)
def test_nothing_makes_it_fail(body: bytes, encodings: list[str]) -> None:
    plain = decode(body, encodings)
    assert plain is None or isinstance(plain, bytes)


# Piece by piece.


def unfolded(chunks: list[bytes], encodings: list[str]) -> list[bytes]:
    unfolding = StreamDecoder(encodings)
    return [piece for chunk in chunks for piece in unfolding.decode(chunk)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(marks)]


PLAIN = st.binary(max_size=2000) | st.builds(bytes.__mul__, st.binary(max_size=9), st.integers(0, 50_000))
PLACES = st.lists(st.integers(0, 500_000), max_size=8) | st.just(list(range(3000)))


@given(PLAIN, CODING, PLACES)
@settings(max_examples=200, deadline=None)
def test_in_whatever_pieces_a_body_comes_the_same_is_read(
    plain: bytes, coding: str, places: list[int]
) -> None:
    chunks = cut(ENCODERS[coding](plain), places)
    assert b"".join(unfolded(chunks, [coding])) == plain


@given(PLAIN, PLACES)
@settings(max_examples=100, deadline=None)
def test_raw_deflate_is_read_in_whatever_pieces_it_comes(plain: bytes, places: list[int]) -> None:
    assert b"".join(unfolded(cut(bare_deflate(plain), places), ["deflate"])) == plain


@given(st.lists(PLAIN, min_size=1, max_size=4), PLACES)
@settings(max_examples=100, deadline=None)
def test_every_member_of_a_gzip_body_is_read_in_whatever_pieces_it_comes(
    parts: list[bytes], places: list[int]
) -> None:
    chunks = cut(b"".join(map(gzip.compress, parts)), places)
    assert b"".join(unfolded(chunks, ["gzip"])) == b"".join(parts)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
@given(PLACES)
@settings(max_examples=20, deadline=None)
def test_what_follows_the_end_is_not_read(name: str, places: list[int]) -> None:
    decoder = StreamDecoder([name])
    chunks = cut(CODED[name](TEXT) + b"and something else" * 100, places)
    assert b"".join(piece for chunk in chunks for piece in decoder.decode(chunk)) == TEXT
    assert not decoder.is_complete


def test_a_body_of_endless_members_is_not_read_to_its_end() -> None:
    decoder = StreamDecoder(["gzip"])
    members = gzip.compress(b"x") * 10_000
    assert len(b"".join(decoder.decode(members))) < 1000
    assert not decoder.is_complete


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_is_complete_at_its_end_and_not_before(name: str) -> None:
    decoder = StreamDecoder([name])
    body = ENCODERS[name](TEXT)
    for place in range(len(body)):
        assert decoder.is_complete is (name == "identity")
        list(decoder.decode(body[place : place + 1]))
    assert decoder.is_complete


@pytest.mark.parametrize("name", CODED)
def test_a_bomb_unfolds_whole_in_small_pieces(name: str) -> None:
    encode = (lambda body: brotli.compress(body, quality=1)) if name == "br" else CODED[name]
    pieces = unfolded([encode(b"\0" * (2 * LARGEST))], [name])
    assert max(map(len, pieces)) <= 128 * 1024
    assert sum(map(len, pieces)) == 2 * LARGEST


@pytest.mark.parametrize("name", CODED)
def test_what_came_of_a_truncated_body_is_read(name: str) -> None:
    body = CODED[name](TEXT + bytes(range(256)))
    for length in range(len(body)):
        assert (TEXT + bytes(range(256))).startswith(b"".join(unfolded([body[:length]], [name])))
    assert b"".join(unfolded([body[:-1]], [name])).startswith(TEXT)


@pytest.mark.parametrize("name", CODED)
def test_behind_damage_nothing_is_read(name: str) -> None:
    assert unfolded([TEXT, CODED[name](TEXT)], [name]) == []


@pytest.mark.parametrize("encodings", [["GZip"], [" gzip ,"], ["identity, gzip"], ["", "x-gzip"]])
def test_the_name_of_a_coding_is_read_in_any_case_piecewise_too(encodings: list[str]) -> None:
    assert b"".join(unfolded([gzip.compress(TEXT)], encodings)) == TEXT


@pytest.mark.parametrize("encodings", [["zstd"], ["gzip", "br"], ["gzip, gzip"], ["gzip;q=1"]])
def test_an_unknown_coding_and_several_at_once_read_as_nothing(encodings: list[str]) -> None:
    assert unfolded([gzip.compress(TEXT), TEXT], encodings) == []


@given(st.lists(st.binary(max_size=99), max_size=4), st.lists(CODING | st.text(max_size=8), max_size=3))
@settings(max_examples=200, deadline=None)
def test_nothing_makes_it_fail_piecewise(chunks: list[bytes], encodings: list[str]) -> None:
    assert all(isinstance(piece, bytes) for piece in unfolded(chunks, encodings))
