"""Reading an answer's head from the lines that libcurl hands over."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.transport.response_head import MalformedError, ResponseHead, ResponseHeadReader


def heads(*lines: bytes) -> list[ResponseHead]:
    """The heads that these lines make; each gets the line end of HTTP."""
    arrived: list[ResponseHead] = []
    reader = ResponseHeadReader(arrived.append)
    for line in lines:
        reader(line + b"\r\n")
    return arrived


def test_a_head_has_status_reason_and_fields_in_order_with_repeats() -> None:
    lines = (b"HTTP/1.1 429 Too Many Requests", b"X-A: 1", b"Content-Type: text/plain", b"x-a:2", b"")
    fields = [("X-A", "1"), ("Content-Type", "text/plain"), ("x-a", "2")]
    assert heads(*lines) == [ResponseHead(429, "Too Many Requests", fields)]


def test_a_head_arrives_once_with_its_empty_line_and_not_before() -> None:
    arrived: list[ResponseHead] = []
    reader = ResponseHeadReader(arrived.append)
    reader(b"HTTP/1.1 200 OK\r\n")
    reader(b"A: b\r\n")
    assert arrived == []
    reader(b"\r\n")
    assert arrived == [ResponseHead(200, "OK", [("A", "b")])]


STATUS_LINES = {
    "HTTP/1.1": (b"HTTP/1.1 200 OK", 200, "OK"),
    "HTTP/1.0": (b"HTTP/1.0 404 Not Found", 404, "Not Found"),
    "HTTP/2": (b"HTTP/2 200 ", 200, ""),
    "HTTP/3": (b"HTTP/3 503", 503, ""),
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


@pytest.mark.parametrize("line", [b"nonsense", b": no name"])
def test_a_line_without_a_name_is_no_field(line: bytes) -> None:
    assert heads(b"HTTP/1.1 200 OK", line, b"A: b", b"")[0].fields == [("A", "b")]


def test_interim_responses_are_not_the_response() -> None:
    interim = (b"HTTP/1.1 100 Continue", b"", b"HTTP/1.1 103 Early Hints", b"Link: </x>", b"")
    assert heads(*interim) == []
    assert heads(*interim, b"HTTP/1.1 200 OK", b"A: b", b"") == [ResponseHead(200, "OK", [("A", "b")])]


def test_trailer_fields_belong_to_no_head() -> None:
    answer = (b"HTTP/1.1 200 OK", b"A: b", b"")
    assert heads(*answer, b"X-Trailer: 1", b"") == [ResponseHead(200, "OK", [("A", "b")])]


MALFORMED = {
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
    arrived: list[ResponseHead] = []
    reader = ResponseHeadReader(arrived.append)
    for line in (b"HTTP/1.1 200 OK", b"A: b", b""):
        reader(line + end)
    assert arrived == [ResponseHead(200, "OK", [("A", "b")])]


@pytest.mark.parametrize("end", [b"", b"\r"], ids=["nothing", "half a line's end"])
def test_a_head_that_breaks_off_is_none(end: bytes) -> None:
    arrived: list[ResponseHead] = []
    reader = ResponseHeadReader(arrived.append)
    for line in (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", end):
        reader(line)
    assert arrived == []


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"HTTP/1.1 200 OK", b"", b"a: b", b" c"]), max_size=12)
)
@settings(max_examples=150, deadline=None)
def test_no_lines_make_it_fail(lines: list[bytes]) -> None:
    with contextlib.suppress(MalformedError):
        assert all(head.status >= 200 for head in heads(*lines))


def test_what_no_response_may_carry_is_replaced_or_dropped() -> None:
    lines = (b"HTTP/1.1 200 OK", b"A: one\x00two\x1b", b"B\x01: c", b"D(: e", b"F: g", b"  h\x0bi", b"")
    assert heads(*lines)[0].fields == [("A", "one two"), ("B", "c"), ("F", "g h i")]
