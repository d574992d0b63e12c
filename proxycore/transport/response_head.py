"""Parses and validates a response's head, all fields at once. Pure.

llhttp would call back for each field, and refuses what a proxy may correct: a folded field becomes one line
(RFC 9112 §5.2), control characters become spaces (RFC 9110 §5.5), and lines may end in LF (RFC 9112 §2.2).
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from proxycore.http.fields import Fields

MOST_HEAD = 64 * 1024
"""Bytes that the heads of one response may have, those of interim responses included."""

_END = re.compile(rb"\n\r?\n")
_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_STATUS_LINE = re.compile(r"HTTP/1\.[01](?: |$)")
# A name is a token (RFC 9110 §5.1). A proxy removes spaces before the colon (RFC 9112 §5.1). Only spaces
# and tabs are space (RFC 9110 §5.6.3): Latin-1 has more, but they are the ends of UTF-8 characters.
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*)$", re.MULTILINE)
_FOLD = re.compile(r"[ \t]*\n[ \t]+")  # of a field on several lines (RFC 9112 §5.2)
_SPACE_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)
_NO_COLON = re.compile(r"^[^:\n]*$", re.MULTILINE)
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09, 0x0A})
# Another recipient may see no space in it, or no folded line, and so find the body's end elsewhere.
_CONTROL_IN_FRAMING = re.compile(
    rb"(?im)^(?:(?:content-length|transfer-encoding)(?:[^\n]|\n[ \t])*)?[\x01-\x08\x0b-\x1f\x7f]"
)
_SPACES = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)  # RFC 9110 §15: others are invalid
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2 ** 63, and longer than any body
# A client may ignore a field with such a name, and so find the body's end elsewhere.
_SPACED_FRAMING = re.compile(r"(?im)^(?:content-length|transfer-encoding)[ \t]+:")
_BODILESS = frozenset({204, 304})  # RFC 9112 §6.3


class MalformedError(Exception):
    """A response that is not valid HTTP/1.1. The message is the reason, a clause about "it"."""


class Framing(Enum):
    """How the end of a response's body is found (RFC 9112 §6.3)."""

    NONE = auto()  # there is no body
    LENGTH = auto()  # by Content-Length
    CHUNKED = auto()
    CLOSE = auto()  # by the end of the connection


@dataclass(slots=True)
class ResponseHead:
    """A response's status line and header fields.

    `values` has the fields' values by name, in lower case. `persistent` is whether the connection may serve
    another request after this response (RFC 9112 §9.3).
    """

    status: int
    reason: str
    fields: Fields
    persistent: bool = field(default=False, repr=False, compare=False)
    values: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = self.values
        for name, value in self.fields:
            values.setdefault(name.lower(), []).append(value)


def find_end(data: bytes, searched: int = 0, limit: int = MOST_HEAD) -> tuple[int, int] | None:
    """Where a head's last line ends, and where its body begins; None if the head is incomplete.

    The first `searched` bytes are known to contain no end. Raises MalformedError as soon as it is clear that
    this will be no response, or one whose head has more than `limit` bytes.
    """
    if searched < len(_STARTS[0]) and not data.startswith(_STARTS):
        shown = data[: len(_STARTS[0])]
        if b"\n" in shown or not any(start.startswith(shown) for start in _STARTS):
            _refuse_start(data)
    found = _END.search(data, max(0, searched - 2))
    size = found.end() if found else len(data)
    if size > limit:
        raise MalformedError("its head is too large")
    return found.span() if found else None


def _refuse_start(data: bytes) -> None:
    line = data.partition(b"\n")[0].rstrip(b"\r")
    if not _STATUS_LINE.match(line.decode("latin-1")):
        raise MalformedError("it is not HTTP/1.1")


def parse_head(data: bytes) -> ResponseHead | None:
    """Parse a head, without the empty line at its end.

    None for an interim response (RFC 9110 §15.2). Raises MalformedError.
    """
    data = data.replace(b"\r\n", b"\n").removesuffix(b"\r")
    if len(data.translate(None, _CONTROLS)) != len(data):
        if b"\0" in data or _CONTROL_IN_FRAMING.search(data):
            raise MalformedError("its head is not valid HTTP")
        data = data.translate(_SPACES)
    line, _, rest = data.decode("latin-1").partition("\n")
    code, reason = _status(line)
    if code < 200:
        return None
    head = ResponseHead(code, reason, _fields(rest) if rest else [])
    connection = ",".join(head.values.get("connection", ())).lower()
    head.persistent = "close" not in connection if line[7] == "1" else "keep-alive" in connection
    check_framing(head)
    return head


def _status(line: str) -> tuple[int, str]:
    if not _STATUS_LINE.match(line):
        raise MalformedError("it is not HTTP/1.1")
    code, _, reason = line[9:].partition(" ")
    if not _STATUS.fullmatch(code):
        shown = f" ({code})" if re.fullmatch(r"[0-9]{1,4}", code) else ""  # other text may be anything
        raise MalformedError(f"its status is not a number from 100 to 599{shown}")
    if code == "101":
        raise MalformedError("it switches protocols without being asked to")
    return int(code), reason.strip()


def _fields(text: str) -> Fields:
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    if " \n" in text or "\t\n" in text or text[-1] in " \t":
        text = _SPACE_AT_END.sub("", text)
    if (" :" in text or "\t:" in text) and _SPACED_FRAMING.search(text):
        raise MalformedError("it has a space before the colon of Content-Length or Transfer-Encoding")
    fields = _FIELD.findall(text)
    if len(fields) != text.count("\n") + 1 and _NO_COLON.search(text):
        raise MalformedError("its head is not valid HTTP")
    return fields


def check_framing(head: ResponseHead) -> None:
    """Raise MalformedError if it is ambiguous where the body ends (RFC 9112 §6.3)."""
    lengths, codings = head.values.get("content-length", ()), head.values.get("transfer-encoding", ())
    if len(lengths) > 1:
        raise MalformedError("it has more than one Content-Length")
    if lengths and codings:
        raise MalformedError("it has both Content-Length and Transfer-Encoding")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError("its Content-Length is not a number of bytes")
    if head.status == 204 and (codings or any(int(length) for length in lengths)):
        raise MalformedError("its status is 204, which has no body, but it announces one")


def framing(head: ResponseHead, method: str) -> tuple[Framing, int]:
    """How the body of the response to a request of this method ends, and its length in bytes if known.

    Raises MalformedError for a transfer coding other than chunked.
    """
    if method == "HEAD" or head.status in _BODILESS:
        return Framing.NONE, 0
    if lengths := head.values.get("content-length"):
        length = int(lengths[0])
        return (Framing.LENGTH, length) if length else (Framing.NONE, 0)
    if codings := head.values.get("transfer-encoding"):
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise MalformedError("its Transfer-Encoding is unknown")
        return Framing.CHUNKED, 0
    return Framing.CLOSE, 0
