"""Responses of an upstream that are malformed, odd, or cut, and what a client may see of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Odd:
    """A response. A client gets `body` with `status`, or the proxy's own 500 if the status is 0.

    With `lenient` a refusal is right as well: a recipient may repair it or not. With `cut` nothing may seem
    whole: it is the 500, or a response that is cut. With `close` the upstream closes behind it. With
    `reusable` the connection may serve the next request.
    """

    raw: bytes
    status: int = 0
    body: bytes = b"{}"
    lenient: bool = False
    cut: bool = False
    close: bool = False
    reusable: bool = False


def refused(raw: bytes) -> Odd:
    """It has to be refused before a client sees any of it."""
    return Odd(raw)


def broken(raw: bytes, *, close: bool = False) -> Odd:
    """Its framing breaks inside the body."""
    return Odd(raw, 200, cut=True, close=close)


def lenient(raw: bytes) -> Odd:
    """It may be refused, or understood as it was meant."""
    return Odd(raw, 200, lenient=True, reusable=True)


def surplus(raw: bytes, status: int = 200, body: bytes = b"{}") -> Odd:
    """It is whole, and there is more behind it, which belongs to nobody."""
    return Odd(raw, status, body)


def good(raw: bytes, status: int = 200, body: bytes = b"{}", *, close: bool = False) -> Odd:
    """It is as it should be."""
    return Odd(raw, status, body, close=close, reusable=True)


OK = b"HTTP/1.1 200 OK\r\n"
CL2 = b"Content-Length: 2\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
WHOLE = b"2\r\n{}\r\n" + END
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def sized(value: bytes) -> Odd:
    """A Content-Length that is none."""
    return refused(OK + b"Content-Length:" + value + b"\r\n\r\n{}")


def coded(value: bytes) -> Odd:
    """A Transfer-Encoding that is not chunked."""
    return refused(OK + b"Transfer-Encoding:" + value + b"\r\n\r\n" + WHOLE)


def with_field(line: bytes) -> Odd:
    """A field that is none."""
    return refused(OK + line + b"\r\n" + CL2 + b"\r\n{}")


def chunks(data: bytes) -> Odd:
    """Chunks that are none."""
    return broken(OK + TE + b"\r\n" + data)


FRAMING = {
    "length beside chunks": refused(OK + b"Content-Length: 12\r\n" + TE + b"\r\n" + WHOLE),
    "chunks beside length": refused(OK + TE + CL2 + b"\r\n" + WHOLE),
    "equal lengths": refused(OK + CL2 + CL2 + b"\r\n{}"),
    "unequal lengths": refused(OK + CL2 + b"Content-Length: 0\r\n\r\n{}"),
    "equal lengths in a list": sized(b" 2, 2"),
    "unequal lengths in a list": sized(b" 2, 0"),
    "a plus": sized(b" +2"),
    "a minus": sized(b" -2"),
    "hexadecimal": sized(b" 0x2"),
    "a fraction": sized(b" 2.0"),
    "an underscore": sized(b" 2_0"),
    "a blank between digits": sized(b" 2 0"),
    "a length in words": sized(b" two"),
    "a vertical tab before a length": sized(b" \x0b2"),
    "a vertical tab before a length on the next line": sized(b"\r\n\x0b2"),
    "a length of 2^64 + 2": sized(b" 18446744073709551618"),
    "a length of 5000 digits": sized(b" " + b"9" * 5000),
    "a length on the next line": lenient(OK + b"Content-Length:\r\n 2\r\n\r\n{}"),
    "another coding": coded(b" cow"),
    "identity": Odd(OK + b"Transfer-Encoding: identity\r\n\r\n" + WHOLE, close=True),
    "gzip first": coded(b" gzip, chunked"),
    "gzip last": coded(b" chunked, gzip"),
    "chunked twice": coded(b" chunked, chunked"),
    "chunked in two fields": refused(OK + TE + TE + b"\r\n" + WHOLE),
    "xchunked": coded(b" xchunked"),
    "chunkedx": coded(b" chunkedx"),
    "quotes around chunked": coded(b' "chunked"'),
    "chunked on the next line": lenient(OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + WHOLE),
    "an empty coding beside a length": refused(OK + b"Transfer-Encoding:\r\n" + CL2 + b"\r\n{}"),
    "204 with a length": refused(b"HTTP/1.1 204 X\r\n" + CL2 + b"\r\n{}"),
    "204 with chunks": refused(b"HTTP/1.1 204 X\r\n" + TE + b"\r\n" + WHOLE),
    "zeros before a length": good(OK + b"Content-Length: 0002\r\n\r\n{}"),
    "a tab before a length": good(OK + b"Content-Length:\t2\r\n\r\n{}"),
    "chunked in capitals": good(OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + WHOLE),
    "neither length nor chunks": good(OK + b"\r\n{}", close=True),
    "an empty body that ends with the connection": good(OK + b"\r\n", body=b"", close=True),
    "HTTP/1.0": good(b"HTTP/1.0 200 OK\r\n\r\n{}", close=True),
    "HTTP/1.0 with a length": good(b"HTTP/1.0 200 OK\r\n" + CL2 + b"\r\n{}"),
    "204": good(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 with a length of 0": good(b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", 204, b""),
    "304 with a length": good(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 90\r\n\r\n", 304, b""),
}

HEADS = {
    "status 0": refused(b"HTTP/1.1 000 X\r\n" + CL2 + b"\r\n{}"),
    "status 99": refused(b"HTTP/1.1 99 X\r\n" + CL2 + b"\r\n{}"),
    "status 600": refused(b"HTTP/1.1 600 X\r\n" + CL2 + b"\r\n{}"),
    "status 2000": refused(b"HTTP/1.1 2000 X\r\n" + CL2 + b"\r\n{}"),
    "status +20": refused(b"HTTP/1.1 +20 X\r\n" + CL2 + b"\r\n{}"),
    "no status": refused(b"HTTP/1.1 OK\r\n" + CL2 + b"\r\n{}"),
    "two blanks before the status": refused(b"HTTP/1.1  200 OK\r\n" + CL2 + b"\r\n{}"),
    "HTTP/2.0": lenient(b"HTTP/2.0 200 OK\r\n" + CL2 + b"\r\n{}"),
    "http/1.1": refused(b"http/1.1 200 OK\r\n" + CL2 + b"\r\n{}"),
    "HTTP/0.9": refused(b"{}\r\n\r\n"),
    "another protocol": refused(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a request": refused(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "101 unasked": refused(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + EVIL),
    "a blank before the status line": refused(b" " + OK + CL2 + b"\r\n{}"),
    "NUL in a value": with_field(b"X: a\x00b"),
    "NUL in a name": with_field(b"X\x00: b"),
    "no colon": with_field(b"X"),
    "a blank before the colon": lenient(OK + b"X : b\r\n" + CL2 + b"\r\n{}"),
    "a blank before the colon of a length": refused(OK + b"Content-Length : 2\r\n\r\n{}"),
    "a blank before the first field": lenient(OK + b" X: b\r\n" + CL2 + b"\r\n{}"),
    "a head of a megabyte": with_field(b"X: " + b"a" * 1_000_000),
    "a control character in a value": lenient(OK + b"X: a\x01b\r\n" + CL2 + b"\r\n{}"),
    "CR in a value": lenient(OK + b"X: a\rb\r\n" + CL2 + b"\r\n{}"),
    "a field after CR": lenient(OK + b"X: a\rContent-Length: 9\r\n" + CL2 + b"\r\n{}"),
    "no name": lenient(OK + b": b\r\n" + CL2 + b"\r\n{}"),
    "a folded field": lenient(OK + b"X: a\r\n b\r\n" + CL2 + b"\r\n{}"),
    "a field folded with a tab": lenient(OK + b"X: a\r\n\tb\r\n" + CL2 + b"\r\n{}"),
    "LF everywhere": lenient(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"),
    "LF after a field": lenient(OK + b"X: a\n" + CL2 + b"\r\n{}"),
    "LF for the empty line": lenient(OK + CL2 + b"\n{}"),
    "DEL in a value": lenient(OK + b"X: a\x7fb\r\n" + CL2 + b"\r\n{}"),
    "HTTP/1.2": lenient(b"HTTP/1.2 200 OK\r\n" + CL2 + b"\r\n{}"),
    "an empty line first": lenient(b"\r\n" + OK + CL2 + b"\r\n{}"),
    "NUL in the reason": lenient(b"HTTP/1.1 200 a\x00b\r\n" + CL2 + b"\r\n{}"),
    "another alphabet in the reason": good(b"HTTP/1.1 200 \xc3\xa4\r\n" + CL2 + b"\r\n{}"),
    "no reason": good(b"HTTP/1.1 200\r\n" + CL2 + b"\r\n{}"),
    "interim responses": good(
        b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n" + OK + CL2 + b"\r\n{}"
    ),
}

BODIES = {
    "a plus before a size": chunks(b"+2\r\n{}\r\n" + END),
    "a minus before a size": chunks(b"-2\r\n{}\r\n" + END),
    "0x before a size": chunks(b"0x2\r\n{}\r\n" + END),
    "a blank before a size": chunks(b" 2\r\n{}\r\n" + END),
    "an underscore in a size": chunks(b"0_2\r\n{}\r\n" + END),
    "an empty size": chunks(b"\r\n{}\r\n" + END),
    "no hexadecimal digit": chunks(b"g\r\n{}\r\n" + END),
    "a size of 2^64 + 2": chunks(b"10000000000000002\r\n{}\r\n" + END),
    "nothing after the data of a chunk": chunks(b"2\r\n{}" + END),
    "more data than the size": chunks(b"1\r\n{}\r\n" + END),
    "a bad size after a good chunk": chunks(b"1\r\n{\r\nzz\r\n}\r\n" + END),
    "NUL after a size": chunks(b"2\x00\r\n{}\r\n" + END),
    "a length that is cut": broken(OK + CL2 + b"\r\n{", close=True),
    "a chunk that is cut": broken(OK + TE + b"\r\n2\r\n{", close=True),
    "chunks without the last": broken(OK + TE + b"\r\n2\r\n{}\r\n", close=True),
    "the last chunk without its end": broken(OK + TE + b"\r\n2\r\n{}\r\n0\r\n", close=True),
    "a trailer that is cut": broken(OK + TE + b"\r\n2\r\n{}\r\n0\r\nX: y", close=True),
    "a blank after a size": lenient(OK + TE + b"\r\n2 \r\n{}\r\n" + END),
    "LF after a size": lenient(OK + TE + b"\r\n2\n{}\r\n" + END),
    "an extension": good(OK + TE + b"\r\n2;a=b\r\n{}\r\n" + END),
    "a quoted extension": good(OK + TE + b'\r\n2;a="b;c"\r\n{}\r\n' + END),
    "a trailer": good(OK + TE + b"\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n"),
    "two responses": surplus(OK + CL2 + b"\r\n{}" + EVIL),
    "two responses in chunks": surplus(OK + TE + b"\r\n" + WHOLE + EVIL),
    "two responses, both in chunks": surplus(OK + TE + b"\r\n" + WHOLE + OK + TE + b"\r\n" + WHOLE),
    "a response behind a trailer": surplus(OK + TE + b"\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n" + EVIL),
    "a response after 204": surplus(b"HTTP/1.1 204 X\r\n\r\n" + EVIL, 204, b""),
    "a response after 304": surplus(b"HTTP/1.1 304 X\r\n\r\n" + EVIL, 304, b""),
    "more than the length": surplus(OK + CL2 + b"\r\n{}}"),
    "CRLF after the length": surplus(OK + CL2 + b"\r\n{}\r\n"),
    "more after the last chunk": surplus(OK + TE + b"\r\n" + WHOLE + b"x"),
    "a body without a length of HEAD's": surplus(OK + b"Content-Length: 0\r\n\r\n{}", body=b""),
}

# Which of the `lenient` are repaired: an upgrade of the parser that repairs more, or less, is to be seen.
REPAIRED = {
    "framing: a length on the next line",
    "framing: chunked on the next line",
    "head: a blank before the colon",
    "head: a blank before the first field",
    "head: a control character in a value",
    "head: CR in a value",
    "head: a field after CR",
    "head: no name",
    "head: a folded field",
    "head: a field folded with a tab",
    "head: LF everywhere",
    "head: LF after a field",
    "head: LF for the empty line",
    "head: DEL in a value",
}
