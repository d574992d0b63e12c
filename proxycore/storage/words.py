"""Texts that repeat, each with a number: names of clients, keys and models, paths, addresses, reasons.

Secrets are removed from a text when it is first seen, so what is looked up again costs nothing.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

OTHER = "(other)"
"""Stands for names of a kind of which there are too many."""

_MOST = 10_000  # words of a kind
_LONGEST = 500  # characters


class WordKind(IntEnum):
    """What a word is; the values are in the file."""

    CLIENT = 1
    ADDRESS = 2
    METHOD = 3
    PATH = 4
    MODEL = 5
    KEY = 6
    STATUS = 7
    OUTCOME = 8
    VERDICT = 9
    WHY = 10
    EVENT = 11
    ABOUT = 12
    REFUSAL = 13


class Words:
    """The words of a file. `redact` removes secrets from a text; it is called in the storage's thread."""

    def __init__(self, connection: sqlite3.Connection, redact: Callable[[str], str]) -> None:
        self._connection = connection
        self._redact = redact
        self._day = -1
        self._numbers: dict[WordKind, dict[str, int]] = {}
        self.memo: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        """What was found for several names together; forgotten with the numbers."""
        self._counts: Counter[int] = Counter()
        self.begin(0)

    def begin(self, day: int) -> None:
        """Begin a batch of that day since the epoch: words that are used are marked as used on it."""
        if day != self._day:
            self._day = day
            self.reload()

    def reload(self) -> None:
        """Forget what was read of the file, as after a batch that was not written."""
        self._numbers = {kind: {} for kind in WordKind}
        self.memo.clear()
        self._counts = Counter(
            dict(self._connection.execute("SELECT kind, count(*) FROM words GROUP BY kind"))
        )

    def label(self, kind: WordKind, text: str) -> int:
        """Return the number of a name; of `OTHER`, if there are too many of its kind."""
        number = self._numbers[kind].get(text)
        if number is None:
            number = self._learn(kind, text)
        return self._insert(kind, OTHER) if number is None else number

    def compact(self, kind: WordKind, text: str) -> int | str:
        """Return the number of a text; the text without secrets, if there are too many of its kind."""
        number = self._numbers[kind].get(text)
        if number is None:
            number = self._learn(kind, text)
        return self.clean(text) if number is None else number

    def remember(self, names: tuple[Any, ...], found: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep what was found for these names in `memo`, and return it."""
        if len(self.memo) >= _MOST:
            self.memo.clear()
        self.memo[names] = found
        return found

    def clean(self, text: str) -> str:
        """Return a text without secrets, as the file may have it."""
        clean = self._redact(text)[:_LONGEST]
        # SQLite takes no lone surrogates, which stand for bytes that are no UTF-8.
        return clean if clean.isascii() else clean.encode(errors="replace").decode()

    def find(self, kind: WordKind, text: str) -> int | None:
        """Return the number of a text; None: it was never used."""
        row = self._connection.execute(
            "SELECT n FROM words WHERE kind = ? AND text = ?", (kind, self.clean(text))
        ).fetchone()
        return row[0] if row else None

    def texts(self, numbers: Iterable[object]) -> dict[object, str]:
        """Return the texts of those that are numbers of words, by their numbers."""
        found: dict[object, str] = {}
        wanted = list({number for number in numbers if isinstance(number, int)})
        for begin in range(0, len(wanted), 500):
            some = wanted[begin : begin + 500]
            marks = ", ".join("?" * len(some))
            found.update(self._connection.execute(f"SELECT n, text FROM words WHERE n IN ({marks})", some))  # noqa: S608 - marks
        return found

    def _learn(self, kind: WordKind, text: str) -> int | None:
        known = self._numbers[kind]
        clean = self.clean(text)
        if self._counts[kind] >= _MOST and self.find(kind, clean) is None:
            return None
        if len(known) >= 2 * _MOST:  # many texts that are the same without their secrets
            known.clear()
        number = known[text] = self._insert(kind, clean)
        return number

    def _insert(self, kind: WordKind, clean: str) -> int:
        number = self.find(kind, clean)
        if number is not None:
            self._connection.execute("UPDATE words SET day = max(day, ?) WHERE n = ?", (self._day, number))
            return number
        values = (kind, clean, self._day)
        number = self._connection.execute(
            "INSERT INTO words (kind, text, day) VALUES (?, ?, ?)", values
        ).lastrowid
        self._counts[kind] += 1
        assert number is not None  # noqa: S101 - it has inserted a row
        return number
