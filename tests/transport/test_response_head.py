"""Reading a response's head: its status, fields, framing, and what is refused."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.transport.response_head import (
    MOST_HEAD,
    Framing,
    MalformedError,
    ResponseHead,
    find_end,
    framing,
    parse_head,
)


def read(data: bytes) -> list[ResponseHead]:
    """The heads of responses without bodies."""
    arrived: list[ResponseHead] = []
    while found := find_end(data):
        if head := parse_head(data[: found[0]]):
            arrived.append(head)
        data = data[found[1] :]
    return arrived


def heads(*lines: bytes) -> list[ResponseHead]:
    """The heads that these lines make; each gets the line end of HTTP."""
    return read(b"".join(line + b"\r\n" for line in lines))


def test_a_head_has_status_reason_and_fields_in_order_with_repeats() -> None:
    lines = (b"HTTP/1.1 429 Too Many Requests", b"X-A: 1", b"Content-Type: text/plain", b"x-a:2", b"")
    fields = [("X-A", "1"), ("Content-Type", "text/plain"), ("x-a", "2")]
    assert heads(*lines) == [ResponseHead(429, "Too Many Requests", fields)]


@pytest.mark.parametrize("size", range(1, 30))
def test_a_head_is_found_in_pieces_of_any_size(size: int) -> None:
    whole, data = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", b""
    for start in range(0, len(whole), size):
        searched, data = len(data), data + whole[start : start + size]
        found = find_end(data, searched)
        assert (found is not None) == (len(data) >= len(whole) - 4)
        if found:
            assert parse_head(data[: found[0]]) == ResponseHead(200, "OK", [("A", "b")])
            assert whole[found[1] :] == b"body"
            return


STATUS_LINES = {
    "HTTP/1.1": (b"HTTP/1.1 200 OK", 200, "OK"),
    "HTTP/1.0": (b"HTTP/1.0 404 Not Found", 404, "Not Found"),
    "empty reason": (b"HTTP/1.1 200 ", 200, ""),
    "spaces in the reason": (b"HTTP/1.1 500  Odd  reason ", 500, "Odd  reason"),
    "Latin-1 in the reason": (b"HTTP/1.1 400 Schl\xfcssel", 400, "Schl\xfcssel"),
    "a status of its own": (b"HTTP/1.1 599 x", 599, "x"),
}


@pytest.mark.parametrize(("line", "status", "reason"), STATUS_LINES.values(), ids=STATUS_LINES)
def test_every_form_of_status_line_is_read(line: bytes, status: int, reason: str) -> None:
    assert heads(line, b"") == [ResponseHead(status, reason, [])]


FIELD_LINES = {
    "plain": (b"Name: value", ("Name", "value")),
    "without space": (b"Name:value", ("Name", "value")),
    "with spaces around": (b"Name: \t value \t", ("Name", "value")),
    "empty": (b"Name:", ("Name", "")),
    "with colons": (b"Location: https://a.example:8/b", ("Location", "https://a.example:8/b")),
    "with bytes beyond ASCII": (b"Name: \xe9\xff", ("Name", "\xe9\xff")),
    # UTF-8 ends in bytes that Latin-1 has for spaces.
    "with UTF-8 at the end": (b"Name: voil\xc3\xa0", ("Name", "voil\xc3\xa0")),
    # RFC 9112 §5.1: a proxy removes the space between name and colon.
    "with a space before the colon": (b"Name : value", ("Name", "value")),
}


@pytest.mark.parametrize(("line", "field"), FIELD_LINES.values(), ids=FIELD_LINES)
def test_every_form_of_field_is_read(line: bytes, field: tuple[str, str]) -> None:
    assert heads(b"HTTP/1.1 200 OK", line, b"")[0].fields == [field]


def test_a_field_on_several_lines_is_one_field() -> None:
    lines = (b"HTTP/1.1 200 OK", b"A: one", b"  two", b"\tthree ", b"B: x", b"")
    assert heads(*lines)[0].fields == [("A", "one two three"), ("B", "x")]


def test_a_line_without_a_name_is_no_field() -> None:
    assert heads(b"HTTP/1.1 200 OK", b": no name", b"A: b", b"")[0].fields == [("A", "b")]


def test_interim_responses_are_not_the_response() -> None:
    interim = (b"HTTP/1.1 100 Continue", b"", b"HTTP/1.1 103 Early Hints", b"Link: </x>", b"")
    assert heads(*interim) == []
    assert heads(*interim, b"HTTP/1.1 200 OK", b"A: b", b"") == [ResponseHead(200, "OK", [("A", "b")])]


MALFORMED = {
    "HTTP/2": (b"HTTP/2 200 ",),
    "HTTP/3": (b"HTTP/3 503",),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2",),
    "an empty line first": (b"", b"HTTP/1.1 200 OK"),
    "a line without a colon": (b"HTTP/1.1 200 OK", b"nonsense", b"A: b"),
    "NUL": (b"HTTP/1.1 200 OK", b"A: one\x00two"),
    "no number": (b"HTTP/1.1 abc OK",),
    "no status": (b"HTTP/1.1",),
    "digits of another alphabet": (b"HTTP/1.1 \xb2\xb2\xb2 x",),
    "negative": (b"HTTP/1.1 -200",),
    "zero": (b"HTTP/1.1 000 x",),
    "two digits": (b"HTTP/1.1 99 x",),
    "below 100": (b"HTTP/1.1 099 x",),
    "over 599": (b"HTTP/1.1 600 x",),
    "four digits": (b"HTTP/1.1 2000 x",),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket"),
    "length and chunks": (b"HTTP/1.1 200 OK", b"Content-Length: 5", b"transfer-encoding: chunked"),
    "two lengths": (b"HTTP/1.1 200 OK", b"Content-Length: 5", b"content-length: 5"),
    "two lengths in one": (b"HTTP/1.1 200 OK", b"Content-Length: 5, 5"),
    "two lengths that differ": (b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 6"),
    "negative length": (b"HTTP/1.1 200 OK", b"Content-Length: -1"),
    "signed length": (b"HTTP/1.1 200 OK", b"Content-Length: +1"),
    "no length": (b"HTTP/1.1 200 OK", b"Content-Length:"),
    "length in words": (b"HTTP/1.1 200 OK", b"Content-Length: five"),
    "length of another alphabet": (b"HTTP/1.1 200 OK", b"Content-Length: \xb2"),
    "length beyond 64 bits": (b"HTTP/1.1 200 OK", b"Content-Length: 1" + b"0" * 30),
    "length of 5000 digits": (b"HTTP/1.1 200 OK", b"Content-Length: " + b"1" * 5000),
    "space before the colon": (b"HTTP/1.1 200 OK", b"A: b", b"Content-Length : 5"),
    "tab before the colon": (b"HTTP/1.1 200 OK", b"Transfer-Encoding\t: chunked"),
    "204 with a length": (b"HTTP/1.1 204 No Content", b"Content-Length: 5"),
    "204 with chunks": (b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked"),
}


@pytest.mark.parametrize("lines", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_head_is_refused_for_a_reason(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedError, match=r"^(it|its|there) "):
        heads(*lines, b"")


FRAMED = {
    "204 with no bytes": (204, (b"Content-Length: 0",)),
    "304 with a length": (304, (b"Content-Length: 5",)),
    "304 with chunks": (304, (b"Transfer-Encoding: chunked",)),
    "zeros before": (200, (b"Content-Length: 0005",)),
    "a large one": (200, (b"Content-Length: 999999999999999999",)),
    "on two lines": (200, (b"Content-Length:", b" 5")),
}


@pytest.mark.parametrize(("status", "lines"), FRAMED.values(), ids=FRAMED)
def test_a_head_whose_body_has_one_end_is_taken(status: int, lines: tuple[bytes, ...]) -> None:
    [head] = heads(b"HTTP/1.1 %d x" % status, *lines, b"")
    assert (head.status, len(head.fields)) == (status, 1)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CR LF", "LF"])
def test_line_ends_may_be_of_any_kind(end: bytes) -> None:
    lines = (b"HTTP/1.1 200 OK", b"A: b", b"")
    assert read(b"".join(line + end for line in lines)) == [ResponseHead(200, "OK", [("A", "b")])]


@pytest.mark.parametrize("end", [b"", b"\r"], ids=["nothing", "half a line's end"])
def test_a_head_that_breaks_off_is_none(end: bytes) -> None:
    assert read(b"HTTP/1.1 200 OK\r\nA: b\r\n" + end) == []


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["incomplete", "complete"])
def test_a_head_that_is_too_large_is_refused(end: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nA: "
    assert find_end(start + b"b" * (MOST_HEAD - len(start))) is None
    with pytest.raises(MalformedError, match="too large"):
        find_end(start + b"b" * MOST_HEAD + end)


@pytest.mark.parametrize("data", [b"X", b"HTTP/2", b"HTTP/1.10", b"\x00", b"\n"])
def test_what_will_be_no_response_is_refused_as_soon_as_that_is_clear(data: bytes) -> None:
    for size in range(1, len(data)):
        assert find_end(data[:size], size - 1) is None
    with pytest.raises(MalformedError, match=r"it is not HTTP/1\.1"):
        find_end(data, len(data) - 1)


LENGTH, CHUNKED = (b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)
FRAMINGS = {
    "a length": ("GET", 200, LENGTH, (Framing.LENGTH, 5)),
    "no bytes": ("GET", 200, (b"Content-Length: 00",), (Framing.NONE, 0)),
    "chunks": ("GET", 200, CHUNKED, (Framing.CHUNKED, 0)),
    "chunks in capitals": ("GET", 200, (b"Transfer-Encoding: Chunked",), (Framing.CHUNKED, 0)),
    "neither": ("GET", 200, (), (Framing.CLOSE, 0)),
    "HEAD": ("HEAD", 200, LENGTH, (Framing.NONE, 0)),
    "HEAD with chunks": ("HEAD", 200, CHUNKED, (Framing.NONE, 0)),
    "204": ("GET", 204, (), (Framing.NONE, 0)),
    "304": ("GET", 304, LENGTH, (Framing.NONE, 0)),
}


@pytest.mark.parametrize(("method", "status", "lines", "expected"), FRAMINGS.values(), ids=FRAMINGS)
def test_where_the_body_ends(
    method: str, status: int, lines: tuple[bytes, ...], expected: tuple[Framing, int]
) -> None:
    [head] = heads(b"HTTP/1.1 %d x" % status, *lines, b"")
    assert framing(head, method) == expected


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b""])
def test_a_coding_other_than_chunked_is_refused(coding: bytes) -> None:
    [head] = heads(b"HTTP/1.1 200 OK", b"Transfer-Encoding: " + coding, b"")
    with pytest.raises(MalformedError, match="Transfer-Encoding is unknown"):
        framing(head, "GET")


PERSISTENCE = {
    "1.1": (b"HTTP/1.1 200 OK", (), True),
    "1.1 that closes": (b"HTTP/1.1 200 OK", (b"Connection: a, Close",), False),
    "1.0": (b"HTTP/1.0 200 OK", (), False),
    "1.0 that is kept": (b"HTTP/1.0 200 OK", (b"Connection: Keep-Alive",), True),
}


@pytest.mark.parametrize(("line", "lines", "expected"), PERSISTENCE.values(), ids=PERSISTENCE)
def test_whether_the_connection_may_be_kept(line: bytes, lines: tuple[bytes, ...], *, expected: bool) -> None:
    assert heads(line, *lines, b"")[0].persistent is expected


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"HTTP/1.1 200 OK", b"", b"a: b", b" c"]), max_size=12)
)
@settings(max_examples=150, deadline=None)
def test_no_lines_make_it_fail(lines: list[bytes]) -> None:
    with contextlib.suppress(MalformedError):
        assert all(head.status >= 200 for head in heads(*lines))


def test_what_no_response_may_carry_is_replaced_or_dropped() -> None:
    lines = (b"HTTP/1.1 200 OK", b"A: one\x02two\x1b", b"B\x01: c", b"D(: e", b"F: g", b"  h\x0bi", b"")
    assert heads(*lines)[0].fields == [("A", "one two"), ("B", "c"), ("F", "g h i")]
