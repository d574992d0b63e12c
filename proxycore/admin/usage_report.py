"""Usage as JSON and as CSV: sums over requests, with outcomes and, if there are prices, the cost. Pure.

The cost is that of the tokens that could be read, of models that have a price: `unread` and `unpriced` count
the responses and the requests that are missing from it.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from proxycore.admin.prices import Price, price_of
from proxycore.stats.history import OUTCOMES
from proxycore.storage.rows import SUMMED, UsageBy, UsageRow

Json = dict[str, Any]

_SUMS = (*SUMMED, "seconds")
_COUNTED = ("requests", *OUTCOMES.values(), *_SUMS)
_COSTS = ("cost", "unpriced")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take a cell for that begins so
_DIGITS = 9  # decimals of seconds and of costs


class UsageReport:
    """Adds up rows to those of a report, which tells apart what is in `by`.

    The rows that are added are told apart by outcome as well and, with `prices`, by model. `redact` removes
    secrets from the names of models.
    """

    def __init__(self, by: Iterable[UsageBy], prices: Sequence[Price], redact: Callable[[str], str]) -> None:
        self._labels = [label for label in _LABELS if _LABELS[label] & set(by)]
        self._days = UsageBy.HOUR not in by
        self._prices = prices
        self._redact = redact
        self._price_of: dict[str, Price | None] = {}
        self._sums: dict[tuple[Any, ...], Json] = {}

    @property
    def columns(self) -> list[str]:
        """The members of a row."""
        return [*self._labels, *_COUNTED, *(_COSTS if self._prices else ())]

    def add(self, rows: Iterable[UsageRow]) -> None:
        """Add rows."""
        for row in rows:
            labels = tuple(self._label(row, name) for name in self._labels)
            sums = self._sums.get(labels)
            if sums is None:
                sums = self._sums[labels] = dict(zip(self._labels, labels, strict=True)) | dict.fromkeys(
                    self.columns[len(labels) :], 0
                )
            sums["requests"] += row.requests
            if row.outcome:
                sums[OUTCOMES[row.outcome]] += row.requests
            for name in _SUMS:
                sums[name] += getattr(row, name)
            if self._prices:
                self._add_cost(sums, row)

    def json(self, head: Json) -> str:
        """Return a JSON object of the members in `head`, and the rows, each in a line of its own."""
        lines = ",\n".join(json.dumps(row) for row in self._rows())
        return f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}'

    def csv(self) -> str:
        """Return the rows as CSV (RFC 4180), with a line of names; times are in ISO 8601, UTC."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self._rows():
            if "time" in row:
                row = row | {"time": self._iso(row["time"])}  # noqa: PLW2901 - the row as it is shown
            writer.writerow(map(_cell, row.values()))
        return text.getvalue().removesuffix("\n")

    def _rows(self) -> Iterable[Json]:
        # By time, and the largest first.
        for row in sorted(self._sums.values(), key=lambda row: (row.get("time", 0), -row["requests"])):
            yield row | {name: round(row[name], _DIGITS) for name in ("seconds", "cost") if name in row}

    def _label(self, row: UsageRow, name: str) -> Any:  # noqa: ANN401 - a time or a name
        value = getattr(row, name)
        return self._redact(value) if name == "model" else value

    def _add_cost(self, sums: Json, row: UsageRow) -> None:
        model = row.model or ""
        if model not in self._price_of:
            self._price_of[model] = price_of(model, self._prices)
        if price := self._price_of[model]:
            sums["cost"] += price.cost(row)
        else:
            sums["unpriced"] += row.requests

    def _iso(self, time: float) -> str:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d" if self._days else "%Y-%m-%dT%H:%MZ")


_LABELS = {
    "time": {UsageBy.DAY, UsageBy.HOUR},
    "client": {UsageBy.CLIENT},
    "key": {UsageBy.KEY},
    "model": {UsageBy.MODEL},
}


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: clients choose the names of models."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
