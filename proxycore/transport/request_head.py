"""Reads the heads of requests, which are valid HTTP/1.1 or are refused with a reason (RFC 9112 §3, §5, §6.3).

The request line is read here: llhttp has a list of methods and of forms of targets that is shorter than what
is relayed or answered with a documented error. The header fields are llhttp's to read, as the fields of a
request whose line is always the same. What it lets through and is not valid is refused here.
"""

import contextlib
import re
from dataclasses import dataclass, field

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from proxycore.http.checked_headers import CheckedHeaders
from proxycore.http.fields import Field
from proxycore.http.head_limits import (
    LARGEST_HEAD,
    LONGEST_TARGET,
    MOST_FIELDS,
    TOO_LARGE,
    TOO_LONG,
    TOO_MANY,
)

CANONICAL_LINE = b"POST / HTTP/1.1\r\n"
"""The request line that llhttp reads."""

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[01])")
_EMPTY_LINES = re.compile(rb"(?:\r\n){0,8}")  # before a request (RFC 9112 §2.2)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2 ** 63, and longer than any body
# RFC 3986 §3.2.2, without what could be two hosts, and a port.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]*)?")
_CR = 13
_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_PRESERVED = {"origin", "x-request-id"}  # fields of a refused head that the response depends on

_BAD_LINE = "The request line is malformed or has an unsupported HTTP version."
_BAD_FIELD = "A header field of the request is malformed."
_BAD_LENGTH = "Content-Length is not a number of bytes."
_TWO_LENGTHS = "The request has more than one Content-Length."
_BOTH = "The request has both Content-Length and Transfer-Encoding."
_BAD_CODING = "The only supported Transfer-Encoding is chunked."
_BAD_HOST = "The request must have exactly one Host header."  # RFC 9112 §3.2

# Parts of llhttp's error messages, and what to say instead; the first that is found counts.
_SENTENCES = (
    ("Transfer-Encoding can't be present with Content-Length", _BOTH),
    ("Content-Length can't be present with Transfer-Encoding", _BOTH),
    ("Duplicate Content-Length", _TWO_LENGTHS),
    ("Content-Length", _BAD_LENGTH),
    ("Transfer-Encoding", _BAD_CODING),
)


@dataclass(slots=True)
class RequestHead:
    """The head of a request. If it is refused, `fault` is the status and the reason, and its fields are few.

    `length` is the number of bytes of its body, None if the body is chunked. `keep_alive` is whether the
    client wants to use the connection again.
    """

    method: str = "GET"
    target: str = "*"
    version: str = "HTTP/1.1"
    headers: CheckedHeaders = field(default_factory=lambda: CheckedHeaders([("Host", "localhost")]))
    length: int | None = 0
    keep_alive: bool = False
    fault: tuple[int, str] | None = None


class HeadReader:
    """Collects the bytes of one head after the other, each within the limits of `head_limits`.

    An unfinished head costs its bytes, and each byte is looked at once until the head is complete.
    """

    __slots__ = ("_fields", "_held", "_lines")

    def __init__(self) -> None:
        self._held = bytearray()  # of an unfinished head
        self._lines = 0  # line ends in it
        self._fields: list[tuple[bytes, bytes]] = []

    @property
    def unfinished(self) -> bool:
        """Whether a part of a head has come."""
        return bool(self._held)

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Add bytes. Once a head is complete or refused, return it and the bytes behind it."""
        held = self._held
        if not held and data[0] != _CR and (end := data.find(_END)) >= 0:
            end += len(_END)
            return self._read(data[:end]), data[end:]
        return self._collect(data)

    def time_out(self, seconds: float) -> RequestHead:
        """Refuse the head that has not come to its end for `seconds`."""
        return self._refuse(
            408, f"The request line and header fields did not end within {seconds:g} seconds."
        )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp with each field."""
        self._fields.append((name, value))

    def _collect(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        held, searched = self._held, max(0, len(self._held) - len(_END) + 1)
        self._lines = self._lines + data.count(b"\n") if held else data.count(b"\n")
        held += data
        if held[0] == _CR and (empty := _EMPTY_LINES.match(held)):
            del held[: empty.end()]
            searched = 0
        end = held.find(_END, searched)
        if end < 0:
            return self._check_unfinished(searched)
        self._held = bytearray()
        end += len(_END)
        return self._read(bytes(held[:end])), bytes(held[end:])

    def _check_unfinished(self, checked: int) -> tuple[RequestHead, bytes] | None:
        held = self._held
        if fault := _excess(held, self._lines):
            return self._refuse(*fault), b""
        if (bare := _BARE_LF.search(held, checked)) is not None:
            first_line = held.find(b"\n") == bare.start()
            return self._refuse(400, _BAD_LINE if first_line else _BAD_FIELD), b""
        return None

    def _read(self, head: bytes) -> RequestHead:
        if fault := _excess(head, head.count(b"\n") - 1):
            self._held += head
            return self._refuse(*fault)
        line, _, fields = head.partition(b"\r\n")
        match = _LINE.fullmatch(line)
        sentence = "" if match else _BAD_LINE
        try:
            HttpRequestParser(self).feed_data(CANONICAL_LINE + fields)
        except HttpParserUpgrade:
            pass  # the handlers decide whether to take it up
        except HttpParserError as error:
            sentence = _sentence_for(str(error))
        headers = CheckedHeaders(self._pop_fields())
        method, target, version = match.groups() if match else (b"GET", b"*", b"HTTP/1.1")
        read = RequestHead(method.decode(), target.decode("latin-1"), version.decode(), headers)
        sentence = sentence or _fault_of_host(read) or _set_framing(read)
        if sentence:
            return _refused(read, 400, sentence)
        read.keep_alive = _keeps_alive(read)
        return read

    def _refuse(self, status: int, sentence: str) -> RequestHead:
        """Refuse the unfinished head, of which as much is read as the response needs."""
        held, self._held = bytes(self._held), bytearray()
        line, _, fields = held.partition(b"\r\n")
        read = RequestHead()
        if match := _LINE.fullmatch(line):
            method, target, version = match.groups()
            read = RequestHead(method.decode(), target.decode("latin-1")[:LONGEST_TARGET], version.decode())
        with contextlib.suppress(HttpParserError):  # the head is refused anyway
            HttpRequestParser(self).feed_data(CANONICAL_LINE + fields[:LARGEST_HEAD])
        read.headers = CheckedHeaders(self._pop_fields()[:MOST_FIELDS])
        return _refused(read, status, sentence)

    def _pop_fields(self) -> list[Field]:
        fields, self._fields = self._fields, []
        # llhttp has removed the space before a value, not that behind it (RFC 9112 §5).
        return [(name.decode(), value.decode("latin-1").rstrip(" \t")) for name, value in fields]


def _excess(head: bytes | bytearray, lines: int) -> tuple[int, str] | None:
    """The status and the reason with which to refuse this head, so far as it has come, for its size."""
    if len(head) > LONGEST_TARGET:
        line_end = head.find(b"\n")
        line = head if line_end < 0 else head[:line_end]
        if max(map(len, line.split(b" ", 2)[:2])) > LONGEST_TARGET:
            return 414, TOO_LONG
        if len(head) > LARGEST_HEAD:
            return 431, TOO_LARGE
    return (431, TOO_MANY) if lines > MOST_FIELDS + 1 else None


def _sentence_for(error: str) -> str:
    return next((sentence for part, sentence in _SENTENCES if part in error), _BAD_FIELD)


def _refused(head: RequestHead, status: int, sentence: str) -> RequestHead:
    """The head with a fault, and without the fields that say how to go on."""
    preserved = [(name, value) for name, value in head.headers.get_all() if name.lower() in _PRESERVED]
    head.headers = CheckedHeaders([("Host", "localhost"), *preserved])
    head.length, head.keep_alive, head.fault = 0, False, (status, sentence)
    return head


def _fault_of_host(head: RequestHead) -> str:
    hosts = head.headers.get_list("Host")
    if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
        return ""
    return "" if not hosts and head.version == "HTTP/1.0" else _BAD_HOST


def _set_framing(head: RequestHead) -> str:
    """Set where the body ends; return why that is ambiguous (RFC 9112 §6.3), empty if it is not."""
    codings, lengths = head.headers.get_list("Transfer-Encoding"), head.headers.get_list("Content-Length")
    if codings and lengths:
        return _BOTH
    if len(lengths) > 1:
        return _TWO_LENGTHS
    if lengths:
        if not _LENGTH.fullmatch(lengths[0]):
            return _BAD_LENGTH
        head.length = int(lengths[0])
    if codings:
        # HTTP/1.0 has no codings: what it names one is ambiguous (RFC 9112 §6.1).
        if len(codings) > 1 or codings[0].lower() != "chunked" or head.version == "HTTP/1.0":
            return _BAD_CODING
        head.length = None
    return ""


def _keeps_alive(head: RequestHead) -> bool:
    """Whether the connection is to be kept after the response (RFC 9112 §9.3)."""
    options = head.headers.get("Connection")
    if options is None:
        return head.version == "HTTP/1.1"
    named = {option.strip() for option in options.lower().split(",")}
    return "close" not in named and (head.version == "HTTP/1.1" or "keep-alive" in named)
