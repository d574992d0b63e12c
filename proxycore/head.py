"""An answer's head, collected line by line as libcurl hands it over. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxycore.headers import Fields

# A name is a token (RFC 9110 §5.1). A proxy removes spaces before the colon (RFC 9112 §5.1). Only spaces
# and tabs are space (RFC 9110 §5.6.3): Latin-1 has more, but they are the ends of UTF-8 characters.
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_FOLD = re.compile(r"[ \t]*\n[ \t]+")  # of a field on several lines (RFC 9112 §5.2)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # replaced by a space (RFC 9110 §5.5)


@dataclass(slots=True)
class Head:
    """An answer's status line and header fields."""

    status: int
    reason: str
    fields: Fields


class HeadReader:
    """libcurl's header callback: collects the lines of a head, and passes it on when it is complete."""

    def __init__(self, arrived: Callable[[Head], None]) -> None:
        self._arrived = arrived
        self._lines: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        """Takes the next line, its line end included."""
        line = line.rstrip(b"\r\n")
        if line.startswith(b"HTTP/"):
            self._lines = [line]
        elif not self._lines:
            return  # a trailer field, after the body (RFC 9110 §6.5): hop by hop for us
        elif line:
            self._lines.append(line)
        else:
            head = _parse(b"\n".join(self._lines).decode("latin-1"))
            self._lines = []
            if head.status >= 200:  # an interim answer (RFC 9110 §15.2) is not the answer
                self._arrived(head)


def _parse(text: str) -> Head:
    line, _, rest = text.partition("\n")
    _, _, status = line.partition(" ")
    code, _, reason = status.partition(" ")
    fields = _FIELD.findall(_CONTROL.sub(" ", _FOLD.sub(" ", rest)))
    return Head(int(code) if code.isdecimal() else 0, reason.strip(), fields)
