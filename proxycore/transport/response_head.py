"""Parses and validates a response's head, from the lines that libcurl passes. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from proxycore.http.fields import Fields

# A name is a token (RFC 9110 §5.1). A proxy removes spaces before the colon (RFC 9112 §5.1). Only spaces
# and tabs are space (RFC 9110 §5.6.3): Latin-1 has more, but they are the ends of UTF-8 characters.
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_FOLD = re.compile(r"[ \t]*\n[ \t]+")  # of a field on several lines (RFC 9112 §5.2)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # replaced by a space (RFC 9110 §5.5)
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)  # RFC 9110 §15: others are invalid
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2 ** 63, and longer than any body
# libcurl ignores a field with such a name, and so would find the body's end elsewhere than a client.
_SPACED_FRAMING = re.compile(r"(?im)^(?:content-length|transfer-encoding)[ \t]+:")


class MalformedError(Exception):
    """A response that is not valid HTTP/1.1. The message is the reason, a clause about "it"."""


@dataclass(slots=True)
class ResponseHead:
    """A response's status line and header fields; `values` has the fields' values by name, in lower case."""

    status: int
    reason: str
    fields: Fields
    values: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = self.values
        for name, value in self.fields:
            values.setdefault(name.lower(), []).append(value)


class ResponseHeadReader:
    """libcurl's header callback: collects the lines of a head, and calls `arrived` with a complete one."""

    def __init__(self, arrived: Callable[[ResponseHead], None]) -> None:
        self._arrived = arrived
        self._lines: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        """Add the next line, its line end included. Raises MalformedError at the end of an invalid head."""
        if not line.endswith(b"\n"):
            return  # an incomplete line, at which the connection ended
        line = line.rstrip(b"\r\n")
        if line.startswith(b"HTTP/"):
            self._lines = [line]
        elif not self._lines:
            return  # a trailer field, after the body (RFC 9110 §6.5), which is not passed on
        elif line:
            self._lines.append(line)
        else:
            text, self._lines = b"\n".join(self._lines).decode("latin-1"), []
            if head := _parsed(text):
                self._arrived(head)


def _parsed(text: str) -> ResponseHead | None:
    """The head, or None for an interim response (RFC 9110 §15.2). Raises MalformedError."""
    line, _, rest = text.partition("\n")
    _, _, status = line.partition(" ")
    code, _, reason = status.partition(" ")
    if not _STATUS.fullmatch(code):
        shown = f" ({code})" if re.fullmatch(r"[0-9]{1,4}", code) else ""  # other text may be anything
        raise MalformedError(f"its status is not a number from 100 to 599{shown}")
    if code == "101":
        raise MalformedError("it switches protocols without being asked to")
    if code.startswith("1"):
        return None
    if _SPACED_FRAMING.search(rest):
        raise MalformedError("it has a space before the colon of Content-Length or Transfer-Encoding")
    head = ResponseHead(int(code), reason.strip(), _FIELD.findall(_CONTROL.sub(" ", _FOLD.sub(" ", rest))))
    check_framing(head)
    return head


def check_framing(head: ResponseHead) -> None:
    """Raise MalformedError if it is ambiguous where the body ends (RFC 9112 §6.3)."""
    lengths, codings = head.values.get("content-length", []), head.values.get("transfer-encoding", [])
    if len(lengths) > 1:
        raise MalformedError("it has more than one Content-Length")
    if lengths and codings:
        raise MalformedError("it has both Content-Length and Transfer-Encoding")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError("its Content-Length is not a number of bytes")
    if head.status == 204 and (codings or any(int(length) for length in lengths)):
        raise MalformedError("its status is 204, which has no body, but it announces one")
