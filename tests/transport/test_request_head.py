"""What is a valid head of a request, and what is not: so that a parser that becomes lenient is seen."""

import pytest

from proxycore.transport.request_head import HeadReader, RequestHead

LINE = b"GET /v1/models HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"


def read(head: bytes, step: int = 0) -> RequestHead | None:
    """The head that is read from these bytes, all at once or in steps; None if it is unfinished."""
    reader = HeadReader()
    for at in range(0, len(head), step or len(head)):
        if found := reader.feed(head[at : at + (step or len(head))]):
            return found[0]
    return None


VALID = {
    "plain": (LINE + HOST, {"Host": "a.example"}),
    "space around values": (LINE + b"Host:a.example \t\r\nA: \t b  c \t\r\n", {"A": "b  c"}),
    "an empty value": (LINE + HOST + b"A:\r\nB: \t \r\n", {"A": "", "B": ""}),
    "any byte above ASCII": (LINE + HOST + b"A: \x80\xff\xa0\r\n", {"A": "\x80\xff\xa0"}),
    "every character of a token": (
        LINE + HOST + b"!#$%&'*+-.^_`|~09azAZ: x\r\n",
        {"!#$%&'*+-.^_`|~09azAZ": "x"},
    ),
    "a repeated field": (LINE + HOST + b"A: b\r\na: c\r\n", {"A": "b,c"}),
    "empty lines before it": (b"\r\n\r\n" + LINE + HOST, {}),
    "no host in HTTP/1.0": (b"GET / HTTP/1.0\r\nA: b\r\n", {"A": "b"}),
    "a coding in capitals": (LINE + HOST + b"Transfer-Encoding: Chunked\r\n", {}),
    "a length with zeros": (LINE + HOST + b"Content-Length: 007 \r\n", {}),
}


@pytest.mark.parametrize(("head", "fields"), VALID.values(), ids=VALID)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_valid_head_is_read(head: bytes, fields: dict[str, str], step: int) -> None:
    got = read(head + b"\r\n", step)
    assert got
    assert got.fault is None
    assert {name: got.headers.get(name) for name in fields} == fields


LINES = {
    "HTTP/0.9": b"GET /v1\r\n",
    "HTTP/0.9 by name": b"GET /v1 HTTP/0.9\r\n",
    "HTTP/1.2": b"GET /v1 HTTP/1.2\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n",
    "two digits": b"GET /v1 HTTP/1.10\r\n",
    "a leading zero": b"GET /v1 HTTP/01.1\r\n",
    "small letters": b"GET /v1 http/1.1\r\n",
    "RTSP": b"OPTIONS /v1 RTSP/1.0\r\n",
    "ICE": b"SOURCE /v1 ICE/1.0\r\n",
    "two spaces": b"GET  /v1 HTTP/1.1\r\n",
    "two spaces behind the target": b"GET /v1  HTTP/1.1\r\n",
    "a tab": b"GET\t/v1 HTTP/1.1\r\n",
    "a space before it": b" GET /v1 HTTP/1.1\r\n",
    "a space behind it": b"GET /v1 HTTP/1.1 \r\n",
    "a space in the target": b"GET /v1 /v2 HTTP/1.1\r\n",
    "no target": b"GET HTTP/1.1\r\n",
    "no method": b"/v1 HTTP/1.1\r\n",
    "an odd method": b"GE(T /v1 HTTP/1.1\r\n",
    "a control character": b"GET /v1\x0b HTTP/1.1\r\n",
    "DEL": b"GET /v1\x7f HTTP/1.1\r\n",
    "CR in the target": b"GET /v1\r HTTP/1.1\r\n",
    "LF at its end": b"GET /v1 HTTP/1.1\n",
    "LF before it": b"\nGET /v1 HTTP/1.1\r\n",
    "CR before it": b"\rGET /v1 HTTP/1.1\r\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("step", [0, 1])
def test_a_malformed_request_line_is_refused(line: bytes, step: int) -> None:
    got = read(line + HOST + b"\r\n", step)
    assert got
    assert got.fault == (400, "The request line is malformed or has an unsupported HTTP version.")


FIELDS = {
    "a space before the colon": b"A : b\r\n",
    "a tab before the colon": b"A\t: b\r\n",
    "a fold": b"A: b\r\n c\r\n",
    "a fold by a tab": b"A: b\r\n\tc\r\n",
    "a fold of nothing": b"A: b\r\n \r\n",
    "a fold in the first field": b" A: b\r\n",
    "no colon": b"A\r\n",
    "no name": b": b\r\n",
    "an odd name": b"A(: b\r\n",
    "a quoted name": b'"A": b\r\n',
    "a name above ASCII": b"\xc3\xa4: b\r\n",
    "a space in a name": b"A B: c\r\n",
    "NUL in a name": b"A\x00: b\r\n",
    "NUL": b"A: b\x00\r\n",
    "a control character": b"A: b\x1b[0m\r\n",
    "a vertical tab": b"A: b\x0b\r\n",
    "DEL": b"A: b\x7f\r\n",
    "LF at its end": b"A: b\n",
    "CR at its end": b"A: b\rB: c\r\n",
    "CR and CRLF": b"A: b\r\r\n",
}


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_malformed_field_is_refused(field: bytes, first: bool, step: int) -> None:
    got = read(LINE + (field + HOST if first else HOST + field) + b"\r\n", step)
    assert got
    assert got.fault == (400, "A header field of the request is malformed.")
    assert (got.length, got.keep_alive) == (0, False)


FRAMING = {
    "both": (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "both"),
    "both, turned": (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "both"),
    "equal lengths": (b"Content-Length: 2\r\nContent-Length: 2\r\n", "more than one"),
    "unequal lengths": (b"Content-Length: 2\r\nContent-Length: 3\r\n", "more than one"),
    "a list of lengths": (b"Content-Length: 2, 2\r\n", "not a number"),
    "a sign": (b"Content-Length: +2\r\n", "not a number"),
    "a fraction": (b"Content-Length: 2.0\r\n", "not a number"),
    "a prefix": (b"Content-Length: 0x2\r\n", "not a number"),
    "an underscore": (b"Content-Length: 1_0\r\n", "not a number"),
    "two numbers": (b"Content-Length: 1 0\r\n", "not a number"),
    "nothing": (b"Content-Length:\r\n", "not a number"),
    "digits of others": (b"Content-Length: \xb2\r\n", "not a number"),
    "beyond 63 bits": (b"Content-Length: 18446744073709551615\r\n", "not a number"),
    "another coding": (b"Transfer-Encoding: gzip\r\n", "only supported"),
    "two codings": (b"Transfer-Encoding: gzip, chunked\r\n", "only supported"),
    "the last is not chunked": (b"Transfer-Encoding: chunked, gzip\r\n", "only supported"),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "only supported"),
    "identity": (b"Transfer-Encoding: identity\r\n", "only supported"),
    "no coding": (b"Transfer-Encoding:\r\n", "only supported"),
    "a parameter": (b"Transfer-Encoding: chunked;a=b\r\n", "only supported"),
    "a vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", "malformed"),
}


@pytest.mark.parametrize(("fields", "sentence"), FRAMING.values(), ids=FRAMING)
def test_ambiguous_framing_is_refused(fields: bytes, sentence: str) -> None:
    got = read(LINE + HOST + fields + b"\r\n")
    assert got
    assert got.fault
    assert got.fault[0] == 400
    assert sentence in got.fault[1]


def test_http_1_0_has_no_codings() -> None:
    got = read(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert got
    assert got.fault


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host:\r\n", HOST + HOST, b"Host: a, b\r\n", b"Host: a/b\r\n", b"Host: a b\r\n", b"Host: u@a\r\n"],
)
def test_a_request_names_one_host(hosts: bytes) -> None:
    got = read(LINE + hosts + b"A: b\r\n\r\n")
    assert got
    assert got.fault == (400, "The request must have exactly one Host header.")


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: a, Close ,b\r\n", False),
        (b"1.1", b"Connection: a\r\nConnection: close\r\n", False),
        (b"1.1", b"Proxy-Connection: close\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: close, keep-alive\r\n", False),
    ],
)
def test_the_client_says_whether_the_connection_is_kept(
    version: bytes, connection: bytes, kept: bool
) -> None:
    got = read(b"GET / HTTP/" + version + b"\r\n" + HOST + connection + b"\r\n")
    assert got
    assert got.keep_alive is kept


@pytest.mark.parametrize(
    "target", ["/", "*", "@evil.example/", "http://a/b?c", "/\xc3\xa9#d?e", "a:1", '/"<>^`{|}\\']
)
@pytest.mark.parametrize("method", ["GET", "get", "FOO", "CONNECT", "PRI", "M-SEARCH"])
def test_methods_and_targets_are_left_to_the_handlers(method: str, target: str) -> None:
    got = read(f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".encode("latin-1"))
    assert got
    assert (got.method, got.target, got.length, got.fault) == (method, target, 3, None)


def test_an_offer_of_another_protocol_changes_no_framing() -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"
    got = HeadReader().feed(LINE + HOST + fields + b"\r\nabc")
    assert got
    assert (got[0].fault, got[0].length, got[1]) == (None, 3, b"abc")


def test_an_unfinished_head_costs_its_bytes_once() -> None:
    reader = HeadReader()
    for byte in LINE + b"X: " + b"y" * 60_000:
        assert reader.feed(bytes([byte])) is None
    assert len(reader._held) == len(LINE) + 3 + 60_000
    found = reader.feed(b"\r\n" + HOST + b"\r\nnext")
    assert found
    assert found[0].headers["X"] == "y" * 60_000
    assert found[1] == b"next"
    assert not reader.unfinished


def test_names_of_fields_are_not_kept_for_ever() -> None:
    for number in range(50):
        got = read(LINE + HOST + b"X-%d-%b: y\r\n\r\n" % (number, b"x" * 1000))
        assert got
        assert got.headers.get(f"x-{number}-{'x' * 1000}".upper()) == "y"
