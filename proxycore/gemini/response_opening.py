"""Redacts an error at the beginning of a 2xx body; every other body is unchanged. Pure.

    undecided    the bytes so far may be the beginning of an error: they are held back
    an error     it is held back until it is complete, then passed on redacted
    decided      everything is passed on as it arrives

A stream that fails after its status was sent begins with the error as an event, or as bare JSON. Whether such
an error leads to another attempt is decided in `first_event`.
"""

import json
import re
from collections.abc import Iterable

from proxycore.http.coding import StreamDecoder
from proxycore.http.redaction import Redactor

LONGEST = 64 * 1024
"""Bytes that are held back at most; Google's errors have a few kB."""

_PLAIN = frozenset({"", "identity"})
_READABLE = _PLAIN | {"gzip", "x-gzip", "deflate", "br"}
# What precedes an event's data without showing an error: a byte order mark, empty lines, comments, and
# fields that any event may have (html.spec.whatwg.org, "event stream").
_LEAD = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]+|(?::|id:|retry:)[^\r\n]*[\r\n]|event:[ \t]*message[ \t]*[\r\n])*"
)
_HALF_LEAD = (b":", b"id:", b"retry:")  # the beginning of an incomplete line of it, without white space
# How nearly all bodies begin: with JSON whose first member is not one of an error.
# Possessive, since white space without end would be gone over again and again.
_ORDINARY = re.compile(rb'(?:data:)?[ \t\r\n]*+\[?[ \t\r\n]*+\{[ \t\r\n]*+"[^et]')
# White space, and what joins the lines of an event's data; the last one may be incomplete.
_SPACE = re.compile(rb"[\r\n]+(?:data:|d(?:a(?:ta?)?)?\Z)|[ \t\r\n]+")
_DECIDING = 512  # bytes in which an error is recognised, white space included
# How an error begins, without white space: as an event's data, as bare JSON, or in an array.
_BEGINNINGS = (
    *(
        before + name
        for before in (b"{", b"[{", b"data:{", b"data:[{")
        for name in (b'"error":', b'"type":"error"', b'"event_type":"error"')
    ),
    b"event:error",
    b"event:message",
    b"\xef\xbb\xbf",
    b"id:",
    b"retry:",
)
_ERROR = re.compile(rb'(?:data:)?\[?\{(?:"error":[^n]|"(?:event_)?type":"error")|event:error')  # n as in null
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"(?:^|[\r\n])data:([^\r\n]*)")


class ResponseOpening:
    """Reads the beginning of a body with these values of `Content-Encoding`.

    `decided` is whether the rest is passed on as it arrives. `erroneous` is whether the body begins with an
    error. `changed` is whether that error contained a secret: then what is passed on differs from what was
    received, and has no content coding any more.
    """

    __slots__ = ("_decoder", "_plain", "_received", "_redactor", "changed", "decided", "erroneous")

    def __init__(self, redactor: Redactor, encodings: Iterable[str]) -> None:
        codings = [name.strip().lower() for value in encodings for name in value.split(",")]
        self._redactor = redactor
        self._decoder = None if _PLAIN.issuperset(codings) else StreamDecoder(codings)
        self._received = b""  # what is held, as received
        self._plain = b""  # the same, decoded
        self.erroneous = False
        self.changed = False
        self.decided = len(codings) > 1 or not _READABLE.issuperset(codings)

    def feed(self, chunk: bytes) -> bytes:
        """Add the next chunk; return what can be passed on now."""
        if self.decided:
            return self._decoded(chunk) if self.changed else chunk
        self._received += chunk
        self._plain += self._decoded(chunk)
        return self._inspect() if self._decoder else self._pop_lead() + self._inspect()

    def end(self) -> bytes:
        """End the body; return what was still held."""
        return b"" if self.decided else self.release()

    def release(self) -> bytes:
        """Decide without waiting for more of the body; return what was held."""
        return self._decide(len(self._plain) if self.erroneous else 0)

    def error(self) -> bytes:
        """The text of the error at the body's beginning, as far as it was received: JSON, once complete."""
        if not self.erroneous:
            return b""
        begin = _after_lead(self._plain)
        end = _end_of_error(self._plain)
        text = self._plain[begin:end]
        if text.startswith((b"data", b"event")):
            return b"\n".join(_DATA.findall(text))
        return text[text.find(b"{") :]

    def _decoded(self, chunk: bytes) -> bytes:
        return b"".join(self._decoder.decode(chunk)) if self._decoder else chunk

    def _pop_lead(self) -> bytes:
        end = _after_lead(self._plain)
        lead, self._plain = self._plain[:end], self._plain[end:]
        self._received = self._plain
        return lead

    def _inspect(self) -> bytes:
        if _ORDINARY.match(self._plain):
            return self._decide(0)
        begin = _after_lead(self._plain)
        seen = _SPACE.sub(b"", self._plain[begin : begin + _DECIDING])
        size = max(len(self._received), len(self._plain))
        full = size >= LONGEST or (self._decoder is not None and self._decoder.is_unreadable)
        if _ERROR.match(seen):
            self.erroneous = True
            end = _end_of_error(self._plain)
            return b"" if end is None and not full else self._decide(end or len(self._plain))
        if not full and (seen.startswith(_HALF_LEAD) or any(one.startswith(seen) for one in _BEGINNINGS)):
            return b""
        return self._decide(0)

    def _decide(self, end: int) -> bytes:
        """Return what is held, with every secret in the error up to `end` replaced."""
        self.decided = True
        if not end:
            received = self._received
            self._received, self._plain, self._decoder = b"", b"", None  # freed for the rest of the stream
            return received
        error = self._plain[:end]
        clean = self._redactor.data(error)
        self.changed = clean is not error
        return clean + self._plain[end:] if self.changed else self._received


def _after_lead(plain: bytes) -> int:
    match = _LEAD.match(plain)
    return match.end() if match else 0


def _end_of_error(plain: bytes) -> int | None:
    """Where the error ends; None if it is incomplete."""
    begin = _after_lead(plain)
    if plain.startswith((b"data", b"event"), begin):
        match = _EVENT_END.search(plain, begin)
        return match.end() if match else None
    if b"}" not in plain:
        return None
    try:
        # Latin-1 has one character per byte, so positions in the text and in the bytes are the same.
        return json.JSONDecoder().raw_decode(plain.decode("latin-1"), plain.index(b"{"))[1]
    except (ValueError, RecursionError):
        return None
