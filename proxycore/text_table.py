"""A table of plain text, for terminals and files. Pure."""

import unicodedata
from collections.abc import Sequence

_GAP = "  "
_NO_WIDTH = {"Mn", "Me", "Cf"}  # marks that are drawn over the character before, and characters not drawn


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character (Unicode UAX #11)."""
    return sum(
        0
        if unicodedata.category(char) in _NO_WIDTH
        else 2
        if unicodedata.east_asian_width(char) in {"W", "F"}
        else 1
        for char in text
    )


def printable(text: str) -> str:
    """The text without what would move the cursor or end the line."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of aligned cells, each ended; numbers stand in the last column, which is aligned to the right."""
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
