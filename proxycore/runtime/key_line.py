"""Reads and changes single lines of KEYS_FILE: `key [name] [project] [# note]`, with `!` before a paused key.

What a change is not about stays as it was written: spaces, quotes, comments, the end of the line.
"""

import re
from dataclasses import dataclass, field

from proxycore.runtime.quoting import unquoted

_PAUSED = "!"
_COMMENT = re.compile(r"(?:^|\s)#")


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line with a key: its words without quotes (the key, its name, its project, and any others)."""

    words: tuple[str, ...] = field(repr=False)
    note: str = field(repr=False)
    paused: bool

    @property
    def secret(self) -> str:
        """The key itself; empty if the line has nothing but the sign of a pause."""
        return self.words[0] if self.words else ""


def read_line(line: str) -> KeyLine | None:
    """Return what a line says; None if it is blank or only a comment."""
    start, words, note, _ = _parts(line)
    is_paused = start.endswith(_PAUSED)
    found = tuple(unquoted(word) for word in words.split())
    return KeyLine(found, note[1:].strip(), is_paused) if found or is_paused else None


def write_line(secret: str, name: str, note: str) -> str:
    """Return a line for a key; `name` and `note` may be empty."""
    return with_note(f"{secret} {name}".rstrip(), note)


def with_pause(line: str, *, paused: bool) -> str:
    """Return the line of a key with or without the sign that pauses it."""
    start, *rest = _parts(line)
    start = start.removesuffix(_PAUSED)
    return f"{start}{_PAUSED}{''.join(rest)}" if paused else start + "".join(rest).lstrip()


def with_note(line: str, note: str) -> str:
    """Return the line of a key with this note instead of its own; empty for none."""
    start, words, former, end = _parts(line)
    if not note:
        return f"{start}{words.rstrip() if former else words}{end}"
    return f"{start}{words if former else words.rstrip() + ' '}# {note}{end}"


def _parts(line: str) -> tuple[str, str, str, str]:
    """The parts that a line is made of.

    They are its spaces and the sign of a pause; the words and the spaces after them; the comment from the #
    on; and the carriage return at its end.
    """
    text = line.removesuffix("\r")
    start = text[: len(text) - len(text.lstrip())]
    start += _PAUSED * text.startswith(_PAUSED, len(start))
    rest = text[len(start) :]
    comment = _COMMENT.search(rest)
    at = comment.end() - 1 if comment else len(rest)
    return start, rest[:at], rest[at:], line[len(text) :]
