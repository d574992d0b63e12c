"""What was measured, as Markdown: values, ratios with their spread, and whether to trust them."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.bench.load import Slice

_MOST_OTHERS = 0.25  # of the core, while a proxy was measured
_WIDEST = 0.15  # between the quartiles of a ratio, as a part of its median
_DOUBT = " ?"


@dataclass(frozen=True)
class Ratio:
    """The ratios of pairs that were measured one right after the other: median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Ratio | None":
        # A process may have given memory back.
        pairs = [one / other for one, other in zip(ours, theirs, strict=False) if one > 0 and other > 0]
        if not pairs:
            return None
        low, median, high = statistics.quantiles(pairs, method="inclusive") if pairs[1:] else pairs * 3
        return cls(median, low, high)

    @property
    def wide(self) -> bool:
        return self.high - self.low > _WIDEST * self.median

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass
class Row:
    """One measure: a value of each round for each proxy, and what others used of its core in that time.

    `compared`: ratios say something about it.
    """

    label: str
    digits: int = 0
    compared: bool = True
    values: dict[str, list[float]] = field(default_factory=dict)
    others: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, values: Iterable[float], others: Iterable[float] = ()) -> None:
        """Take the next values of a proxy."""
        self.values.setdefault(name, []).extend(values)
        self.others.setdefault(name, []).extend(others)

    def value(self, name: str) -> str:
        """The median of all rounds."""
        values = self.values.get(name)
        return f"{statistics.median(values):,.{self.digits}f}" if values else "-"

    def ratio(self, name: str, other: str) -> str:
        """One proxy's values divided by the other's, with a question mark if there is reason to doubt it."""
        ratio = Ratio.of(self.values.get(name, []), self.values.get(other, []))
        if not ratio:
            return "-"
        return f"{ratio}{_DOUBT if ratio.wide or self._busy(name) or self._busy(other) else ''}"

    def _busy(self, name: str) -> bool:
        others = self.others.get(name)
        return bool(others) and statistics.median(others or [0]) > _MOST_OTHERS


@dataclass
class Report:
    """The rows of a run, what a reader must know beside them, and which proxies lost or broke anything."""

    names: list[str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def row(self, label: str, digits: int = 0, *, compared: bool = True) -> Row:
        """A new row at the end."""
        self.rows.append(Row(label, digits, compared))
        return self.rows[-1]

    def failed(self, name: str, why: object) -> None:
        """A proxy did not do what it was measured for."""
        self.broken.add(name)
        self.note(f"{name}: {why}")

    def note(self, note: str) -> None:
        """Something that a reader must know; said once."""
        if note not in self.notes:
            self.notes.append(note)

    def errors(self, part: str, name: str, slices: Iterable[Slice]) -> None:
        """Note what went wrong in these slices."""
        errors = sum((one.errors for one in slices), start=Counter[str]())
        for error, number in errors.most_common():
            self.failed(name, f"{part}: {number} x {error}")

    def __str__(self) -> str:
        first, *others = self.names
        parts = [_table(["", *self.names], ([row.label, *map(row.value, self.names)] for row in self.rows))]
        if others:
            head = [f"{first} divided by", *others]
            compared = [row for row in self.rows if row.compared]
            lines = ([row.label, *(row.ratio(first, other) for other in others)] for row in compared)
            parts += [_table(head, lines), "Medians of pairs of slices, and their quartiles.", self._trust()]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def _trust(self) -> str:
        shares = [share for row in self.rows for some in row.others.values() for share in some]
        if not shares:
            return "Nothing here depends on how busy the machine was."
        doubtful = statistics.median(shares) > _MOST_OTHERS or any(
            row.ratio(self.names[0], other).endswith(_DOUBT)
            for row in self.rows
            if row.compared
            for other in self.names[1:]
        )
        said = (
            f"Other programs, or other machines, had {statistics.median(shares):.0%} of the proxies' core"
            f" while it was measured (median; at most {max(shares):.0%})."
        )
        if not doubtful:
            return f"{said} That is little, and the ratios agree: they can be trusted."
        return (
            f"{said} Do not trust a ratio with a question mark: others had more than {_MOST_OTHERS:.0%} of"
            f" the core, or its quartiles are more than {_WIDEST:.0%} apart."
        )


def _table(head: list[str], lines: Iterable[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
