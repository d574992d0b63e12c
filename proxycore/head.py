"""An answer's head, read line by line as libcurl hands it over. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxycore.headers import Fields

_SPACES = " \t"  # RFC 9110 §5.6.3; Latin-1 has more, and they are the ends of UTF-8 characters

# A name is a token (RFC 9110 §5.1). A proxy removes spaces before the colon (RFC 9112 §5.1).
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # replaced by a space (RFC 9110 §5.5)


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
        self._head: Head | None = None

    def __call__(self, line: bytes) -> None:
        """Takes the next line, its line end included."""
        text = line.decode("latin-1").rstrip("\r\n")
        if text.startswith("HTTP/"):
            _, _, rest = text.partition(" ")
            code, _, reason = rest.partition(" ")
            self._head = Head(int(code) if code.isdecimal() else 0, reason.strip(), [])
        elif self._head is None:
            return  # a trailer field, after the body (RFC 9110 §6.5): hop by hop for us
        elif text:
            self._add(self._head, text)
        else:
            head, self._head = self._head, None
            if head.status >= 200:  # an interim answer (RFC 9110 §15.2) is not the answer
                self._arrived(head)

    @staticmethod
    def _add(head: Head, text: str) -> None:
        if text[0] in _SPACES and head.fields:
            name, before = head.fields.pop()
            head.fields.append((name, f"{before} {_CONTROL.sub(' ', text).strip(_SPACES)}"))
        elif field := _FIELD.fullmatch(text):
            head.fields.append((field[1], _CONTROL.sub(" ", field[2])))
