"""Requests that attack the framing, as bytes, and what must become of each: refused, or relayed as one.

A test sends each with `NEXT` right behind it. A refusal ends the connection, so that `NEXT` is not served.
"""

from dataclasses import dataclass

PATH = b"/v1beta/models/m:generateContent"
UPLOAD = b"/upload/v1beta/files"
HOST = b"Host: proxy.example\r\n"
NEXT_PATH = b"/v1beta/models/next"
NEXT = b"GET " + NEXT_PATH + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
SMUGGLED = b"GET /v1beta/models/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


@dataclass(frozen=True)
class Case:
    """`statuses`: of the one response, if it is refused; else `target` and `body` are what arrives upstream.

    `last`: it ends its connection, since it says so.
    """

    raw: bytes
    statuses: tuple[int, ...] = ()
    target: bytes = PATH
    body: bytes = b""
    last: bool = False

    @property
    def arrives(self) -> list[tuple[bytes, bytes]]:
        """Target and body of all that reaches the upstream."""
        if self.statuses:
            return []
        return [(self.target, self.body)] + [(NEXT_PATH, b"")] * (not self.last)


def refused(raw: bytes, *statuses: int) -> Case:
    """It has to be refused; 400 if nothing else is said."""
    return Case(raw, statuses or (400,))


def relayed(raw: bytes, body: bytes = b"", target: bytes = PATH) -> Case:
    """It has to reach the upstream as one request with this target and this body."""
    return Case(raw, (), target, body)


def post(fields: bytes, body: bytes = b"{}", *, path: bytes = PATH, version: bytes = b"1.1") -> bytes:
    """A POST with these fields."""
    return b"POST " + path + b" HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n" + body


def chunked(body: bytes, more: bytes = b"") -> bytes:
    """A POST with these bytes as its chunks."""
    return post(b"Transfer-Encoding: chunked\r\n" + more, body)


def coded(value: bytes) -> bytes:
    """A POST with this Transfer-Encoding."""
    return post(b"Transfer-Encoding:" + value + b"\r\n", WHOLE)


def sized(value: bytes) -> bytes:
    """A POST with this Content-Length."""
    return post(b"Content-Length:" + value + b"\r\n")


WHOLE = b"2\r\n{}\r\n0\r\n\r\n"
LONG = b"9" * 5000
CL2 = b"Content-Length: 2\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"

LENGTHS = {
    "CL.TE": refused(post(b"Content-Length: 5\r\n" + TE, END + SMUGGLED)),
    "TE.CL": refused(post(TE + b"Content-Length: 3\r\n", b"8\r\nSMUGGLED\r\n" + END)),
    "both, and the length is right": refused(post(TE + b"Content-Length: 12\r\n", WHOLE)),
    "length 0 beside chunks": refused(post(TE + b"Content-Length: 0\r\n", WHOLE)),
    "length beside identity": refused(post(CL2 + b"Transfer-Encoding: identity\r\n")),
    "length beside an empty coding": refused(post(CL2 + b"Transfer-Encoding:\r\n")),
    "length beside a coding of blanks": refused(post(CL2 + b"Transfer-Encoding: \t \r\n")),
    "equal lengths": refused(post(CL2 + CL2)),
    "unequal lengths": refused(post(CL2 + b"Content-Length: 0\r\n")),
    "unequal lengths, other case": refused(post(b"content-length: 0\r\nCONTENT-LENGTH: 2\r\n")),
    "equal lengths in a list": refused(sized(b" 2, 2")),
    "unequal lengths in a list": refused(sized(b" 2,0")),
    "a list with nothing in it": refused(sized(b" 2,")),
    "a list that begins with nothing": refused(sized(b" ,2")),
    "a plus": refused(sized(b" +2")),
    "a minus": refused(sized(b" -2")),
    "minus nothing": refused(sized(b" -0")),
    "hexadecimal": refused(sized(b" 0x2")),
    "hexadecimal letters": refused(sized(b" a")),
    "a fraction": refused(sized(b" 2.0")),
    "an exponent": refused(sized(b" 2e0")),
    "an underscore": refused(sized(b" 2_0")),
    "a blank between digits": refused(sized(b" 2 0")),
    "a tab between digits": refused(sized(b" 2\t0")),
    "quotes around a length": refused(sized(b' "2"')),
    "a parameter after a length": refused(sized(b" 2;a=b")),
    "an empty length": refused(sized(b"")),
    "a length of blanks": refused(sized(b"  ")),
    "a vertical tab before a length": refused(sized(b" \x0b2")),
    "a form feed after a length": refused(sized(b" 2\x0c")),
    "NUL after a length": refused(sized(b" 2\x00")),
    "a superscript two": refused(sized(b" \xb2")),
    "an arabic two in UTF-8": refused(sized(b" \xd9\xa2")),
    "a length of 2^64 + 2": refused(sized(b" 18446744073709551618")),
    "a length of 2^63": refused(sized(b" 9223372036854775808"), 400, 413),
    "a length of 2^32 + 2": refused(sized(b" 4294967298"), 413),  # no multiple of 2^32 is lost
    "a length of 5000 digits": refused(sized(b" " + LONG)),
    "zeros before a length": relayed(sized(b" 0002"), b"{}"),
    "a tab before a length": relayed(sized(b"\t2"), b"{}"),
    "blanks around a length": relayed(sized(b"  2 \t "), b"{}"),
    "no blank before a length": relayed(sized(b"2"), b"{}"),
    "a length under another name": relayed(post(CL2 + b"Content_Length: 90\r\n"), b"{}"),
    "a request in a body": relayed(post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), SMUGGLED),
    "a request in a body of GET": relayed(
        b"GET " + PATH + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        SMUGGLED,
    ),
    "chunks after GET": relayed(b"GET " + PATH + b" HTTP/1.1\r\n" + HOST + TE + b"\r\n" + WHOLE, b"{}"),
}

CODINGS = {
    "another coding": refused(coded(b" cow")),
    "identity": refused(coded(b" identity")),
    "identity first": refused(coded(b" identity, chunked")),
    "identity last": refused(coded(b" chunked, identity")),
    "gzip first": refused(coded(b" gzip, chunked")),
    "gzip last": refused(coded(b" chunked, gzip")),
    "chunked twice": refused(coded(b" chunked, chunked")),
    "chunked in two fields": refused(post(TE + TE, WHOLE)),
    "identity in a second field": refused(post(TE + b"Transfer-Encoding: identity\r\n", WHOLE)),
    "chunked in the second field": refused(post(b"Transfer-Encoding: x\r\n" + TE, WHOLE)),
    "an empty second field": refused(post(TE + b"Transfer-Encoding:\r\n", WHOLE)),
    "xchunked": refused(coded(b" xchunked")),
    "chunkedx": refused(coded(b" chunkedx")),
    "chunked with a dash": refused(coded(b" chunked-")),
    "x and chunked": refused(coded(b" x chunked")),
    "chunked and x": refused(coded(b" chunked x")),
    "a parameter of chunked": refused(coded(b" chunked;q=1")),
    "a comma before chunked": refused(coded(b" ,chunked")),
    "a comma after chunked": refused(coded(b" chunked,")),
    "quotes around chunked": refused(coded(b' "chunked"')),
    "apostrophes around chunked": refused(coded(b" 'chunked'")),
    "a vertical tab before chunked": refused(coded(b"\x0bchunked")),
    "a form feed after chunked": refused(coded(b" chunked\x0c")),
    "a no-break space before chunked": refused(coded(b" \xa0chunked")),
    "NUL after chunked": refused(coded(b" chunked\x00")),
    "CR after chunked": refused(coded(b" chunked\rX: y")),
    "CR before chunked": refused(coded(b"\rchunked")),
    "chunked on the next line": refused(coded(b"\r\n chunked")),
    "chunked on the next line, after a tab": refused(coded(b"\r\n\tchunked")),
    "an empty coding": refused(coded(b"")),
    "a dotless i for an i": refused(coded(" \u0131dentity".encode())),
    "chunked in HTTP/1.0": refused(post(TE, WHOLE, version=b"1.0")),
    "a blank before the colon of the coding": refused(post(b"Transfer-Encoding : chunked\r\n", WHOLE)),
    "a tab before the colon of the coding": refused(post(b"Transfer-Encoding\t: chunked\r\n", WHOLE)),
    "a blank before the name of the coding": refused(post(CL2 + b" Transfer-Encoding: chunked\r\n", WHOLE)),
    "a coding after CR": refused(post(b"X: y\rTransfer-Encoding: chunked\r\n", WHOLE)),
    "a coding after LF": refused(post(b"X: y\nTransfer-Encoding: chunked\r\n", WHOLE)),
    "a coding after two colons": relayed(post(CL2 + b"X: Transfer-Encoding: chunked\r\n"), b"{}"),
    "an underscore in the name": relayed(post(CL2 + b"Transfer_Encoding: chunked\r\n"), b"{}"),
    "chunked in capitals": relayed(coded(b" CHUNKED"), b"{}"),
    "a tab before chunked": relayed(coded(b"\tchunked"), b"{}"),
    "a tab after chunked": refused(coded(b" chunked\t")),  # optional whitespace, but not to all who read it
    "no blank before chunked": relayed(coded(b"chunked"), b"{}"),
}

CHUNKS = {
    "a plus before a size": refused(chunked(b"+2\r\n{}\r\n" + END)),
    "a minus before a size": refused(chunked(b"-2\r\n{}\r\n" + END)),
    "0x before a size": refused(chunked(b"0x2\r\n{}\r\n" + END)),
    "a blank before a size": refused(chunked(b" 2\r\n{}\r\n" + END)),
    "a blank after a size": refused(chunked(b"2 \r\n{}\r\n" + END)),
    "a tab after a size": refused(chunked(b"2\t\r\n{}\r\n" + END)),
    "an underscore in a size": refused(chunked(b"0_2\r\n{}\r\n" + END)),
    "a size of 2^64 + 2": refused(chunked(b"10000000000000002\r\n{}\r\n" + END)),
    "a size of 30 digits": refused(chunked(b"f" * 30 + b"\r\n{}\r\n" + END)),
    "no hexadecimal digit": refused(chunked(b"g\r\n{}\r\n" + END)),
    "an empty size": refused(chunked(b"\r\n{}\r\n" + END)),
    "no size before an extension": refused(chunked(b";a=b\r\n{}\r\n" + END)),
    "LF after a size": refused(chunked(b"2\n{}\r\n" + END)),
    "CR after a size": refused(chunked(b"2\r{}\r\n" + END)),
    "NUL after a size": refused(chunked(b"2\x00\r\n{}\r\n" + END)),
    "two CRs after a size": refused(chunked(b"2\r\r\n{}\r\n" + END)),
    "LF after the last size": refused(chunked(b"2\r\n{}\r\n0\n\r\n")),
    "LF after the data of a chunk": refused(chunked(b"2\r\n{}\n" + END)),
    "nothing after the data of a chunk": refused(chunked(b"2\r\n{}" + END)),
    "more data than the size": refused(chunked(b"2\r\n{}{}\r\n" + END)),
    "LF in an extension": refused(chunked(b"2;a\nb\r\n{}\r\n" + END)),
    "CR in an extension": refused(chunked(b"2;a\rb\r\n{}\r\n" + END)),
    "NUL in an extension": refused(chunked(b"2;a=\x00\r\n{}\r\n" + END)),
    "CRLF in a quoted extension": refused(chunked(b'2;a="\r\n{}"\r\n' + END)),
    "LF at the end of an extension": refused(chunked(b"2;a=b\n{}\r\n" + END)),
    "an extension of 100 kB": refused(chunked(b"2;a=" + b"b" * 100_000 + b"\r\n{}\r\n" + END), 400, 413, 431),
    "a bad size after a good chunk": refused(chunked(b"2\r\n{}\r\nzz\r\n" + END)),
    "a bad size in an upload": refused(
        post(TE + b"X-Goog-Upload-Protocol: raw\r\n", b"2\r\n{}\r\nzz\r\n" + END, path=UPLOAD)
    ),
    "LF in a trailer": refused(chunked(b"2\r\n{}\r\n0\r\nX: y\n\r\n")),
    "CR in a trailer": refused(chunked(b"2\r\n{}\r\n0\r\nX: y\rZ\r\n\r\n")),
    "NUL in a trailer": refused(chunked(b"2\r\n{}\r\n0\r\nX: \x00\r\n\r\n")),
    "a trailer without a colon": refused(chunked(b"2\r\n{}\r\n0\r\nX\r\n\r\n")),
    "a folded trailer": refused(chunked(b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n")),
    "a blank before a trailer's colon": refused(chunked(b"2\r\n{}\r\n0\r\nX : y\r\n\r\n")),
    "trailers of 100 kB": refused(
        chunked(b"2\r\n{}\r\n0\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), 400, 413, 431
    ),
    "one after the other": relayed(chunked(b"1\r\n{\r\n1\r\n}\r\n" + END), b"{}"),
    "zeros before a size": relayed(chunked(b"0002\r\n{}\r\n000\r\n\r\n"), b"{}"),
    "capitals in a size": relayed(chunked(b"A\r\n0123456789\r\n" + END), b"0123456789"),
    "an extension": relayed(chunked(b"2;a=b\r\n{}\r\n" + END), b"{}"),
    "a quoted extension": relayed(chunked(b'2;a="b;c"\r\n{}\r\n' + END), b"{}"),
    "an extension without a value": relayed(chunked(b"2;a\r\n{}\r\n0;b\r\n\r\n"), b"{}"),
    "a trailer": relayed(chunked(b"2\r\n{}\r\n0\r\nX: y\r\n\r\n"), b"{}"),
    "a trailer that is announced": relayed(
        chunked(b"2\r\n{}\r\n0\r\nExpires: 0\r\n\r\n", b"Trailer: Expires\r\n"), b"{}"
    ),
}
