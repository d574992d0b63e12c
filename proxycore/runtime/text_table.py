"""Tables of plain text, for terminals and files. Pure."""

import unicodedata
from collections.abc import Sequence

_GAP = "  "
_NO_WIDTH = {"Mn", "Me", "Cf"}  # combining marks, and characters that are not drawn


def columns_of(text: str) -> int:
    """How many columns a text takes in a terminal: two for each wide character (Unicode UAX #11)."""
    return sum(
        0
        if unicodedata.category(char) in _NO_WIDTH
        else 2
        if unicodedata.east_asian_width(char) in {"W", "F"}
        else 1
        for char in text
    )


def printable(text: str) -> str:
    """The text with a space for each character that would move the cursor or end the line."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of aligned cells, each with a newline; the last column has numbers, and is aligned right."""
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
    return "".join(
        _GAP.join([*map(_padded, line[:-1], widths), _padding(line[-1], widths[-1]) + line[-1]]) + "\n"
        for line in lines
    )


def _padded(cell: str, width: int) -> str:
    return cell + _padding(cell, width)


def _padding(cell: str, width: int) -> str:
    return " " * (width - columns_of(cell))
