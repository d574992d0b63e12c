"""Usage in the state file: sums over requests, folded from the request log, so that nothing is counted twice.

There are three tables of sums: by hour and client, by hour and key, and by day and both, each also by model
and outcome. A query reads the one that has what it tells apart, so that a month takes a fraction of a second.
Hours of both clients and keys are read from the request log itself, for a week at most.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import QueryError, RequestRow, UsageBy, UsageQuery, UsageRow, summed
from proxycore.storage.schema import BLOCK_BITS, MARK, SUMS, USAGE, upsert
from proxycore.storage.words import WordKind, Words

_HOUR, _DAY = 3600, 86400
_MOST_ROWS = 50_000
_HOUR_OF_REQUEST = f"time / {1000 * _HOUR}"
_LONGEST_IN_LOG = 7 * _DAY
_PARTS = (UsageBy.CLIENT, UsageBy.KEY, UsageBy.MODEL, UsageBy.OUTCOME)
_COUNTED = ", ".join(["count(*) AS requests", *(f"sum({column}) AS {column}" for column in SUMS[1:])])

_Key = tuple[int, str, str, str, str]


class UsageSums:
    """Sums over requests that the log does not get, since the disk is too slow. In memory."""

    def __init__(self) -> None:
        self._sums: defaultdict[_Key, list[int]] = defaultdict(lambda: [0] * len(SUMS))

    def add(self, row: RequestRow) -> None:
        """Add a request."""
        sums = self._sums[int(row.time // _HOUR), row.client, row.key, row.model, row.outcome]
        for place, n in enumerate((1, *summed(row), round(1000 * row.seconds))):
            sums[place] += n

    def merge(self, other: "UsageSums") -> None:
        """Add the sums of another."""
        for key, added in other.items():
            sums = self._sums[key]
            for place, n in enumerate(added):
                sums[place] += n

    def items(self) -> Iterable[tuple[_Key, list[int]]]:
        """Return the sums by hour since the epoch, client, key, model and outcome."""
        return self._sums.items()

    def __bool__(self) -> bool:
        return bool(self._sums)


class Usage:
    """The usage of a file."""

    def __init__(self, connection: sqlite3.Connection, words: Words) -> None:
        self._connection = connection
        self._words = words

    def fold(self) -> None:
        """Add the requests after the mark to the sums."""
        parts = "hour, client, key, model, outcome"
        log = f"SELECT {_HOUR_OF_REQUEST} AS hour, * FROM requests WHERE n > ({MARK})"  # noqa: S608 - no input
        execute = self._connection.execute
        execute(f"CREATE TEMP TABLE fresh AS SELECT {parts}, {_COUNTED} FROM ({log}) GROUP BY {parts}")  # noqa: S608 - no input
        for table, columns in USAGE.items():
            unit = columns[0] if columns[0] == "hour" else "hour / 24"
            source = f"{unit}, {', '.join(columns[1:])}, {', '.join(SUMS)} FROM fresh WHERE true"
            execute(upsert(table, columns, SUMS, f"SELECT {source}"))
        execute("DROP TABLE fresh")

    def write(self, sums: UsageSums) -> None:
        """Add sums over requests that the log does not have."""
        label = self._words.label
        rows = [
            {
                "hour": hour,
                "day": hour // 24,
                "client": label(WordKind.CLIENT, client),
                "key": label(WordKind.KEY, key),
                "model": label(WordKind.MODEL, model),
                "outcome": label(WordKind.OUTCOME, outcome),
                **dict(zip(SUMS, values, strict=True)),
            }
            for (hour, client, key, model, outcome), values in sums.items()
        ]
        for table, columns in USAGE.items():
            source = f"VALUES ({', '.join(f':{column}' for column in (*columns, *SUMS))})"
            self._connection.executemany(upsert(table, columns, SUMS, source), rows)

    def read(self, query: UsageQuery) -> list[UsageRow]:
        """Return the sums. Raises QueryError if there would be too many."""
        by = [part for part in _PARTS if part in query.by]
        unit, source = self._source(query)
        step = next((step for part, step in ((UsageBy.HOUR, 1), (UsageBy.DAY, 24)) if part in query.by), 0)
        units = _HOUR if unit == "hour" else _DAY
        ratio = step * _HOUR // units
        when = (unit if ratio == 1 else f"{unit} / {ratio}") if step else "NULL"
        selected = ", ".join([when, *(str(part) if part in by else "NULL" for part in _PARTS)])
        sums = ", ".join(f"sum({column})" for column in SUMS)
        text = f"SELECT {selected}, {sums} FROM {source} WHERE {unit} >= ? AND {unit} < ?"  # noqa: S608 - no input
        groups = [when] * bool(step) + [str(part) for part in by]
        if groups:
            text += f" GROUP BY {', '.join(groups)}"
        bounds = _bounds(query, units)
        found = self._connection.execute(f"{text} LIMIT ?", (*bounds, _MOST_ROWS + 1)).fetchall()
        if len(found) > _MOST_ROWS:
            raise QueryError(f"more than {_MOST_ROWS} rows: ask for a shorter time, or tell less apart")
        texts = self._words.texts(number for row in found for number in row[1:5])
        return [_row(row, texts, max(step * _HOUR, units)) for row in found if row[5]]

    def _source(self, query: UsageQuery) -> tuple[str, str]:
        """Return the unit of time, and what to select from."""
        needs_hours = UsageBy.HOUR in query.by
        if UsageBy.KEY not in query.by:
            return "hour", "usage_clients"
        if not needs_hours:
            return "day", "usage_days"
        if UsageBy.CLIENT not in query.by:
            return "hour", "usage_keys"
        if query.until - query.since > _LONGEST_IN_LOG:
            raise QueryError("hours of both clients and keys: ask for a week at most, or for days")
        return "hour", self._log_source(query)

    def _log_source(self, query: UsageQuery) -> str:
        first, end = _bounds(query, _HOUR)
        blocks = f"latest >= {first * _HOUR * 1000} AND earliest < {end * _HOUR * 1000}"
        found = f"SELECT coalesce(min(block), 0), coalesce(max(block) + 1, 0) FROM blocks WHERE {blocks}"  # noqa: S608 - numbers
        low, high = (block << BLOCK_BITS for block in self._connection.execute(found).fetchone())
        columns = ", ".join(column for column in SUMS if column != "requests")
        return (
            f"(SELECT {_HOUR_OF_REQUEST} AS hour, client, key, model, outcome, 1 AS requests, {columns}"  # noqa: S608 - numbers
            f" FROM requests WHERE n >= {low} AND n < {high})"
        )


def _bounds(query: UsageQuery, unit: int) -> tuple[int, int]:
    """The first hour or day, and that after the last."""
    return int(query.since // unit), int(-(-query.until // unit))


def _row(values: tuple[Any, ...], texts: dict[object, str], unit: int) -> UsageRow:
    when, client, key, model, outcome, *counts, sent, ms = values
    requests, given, made, cached, thinking, tool, unread, received = counts
    return UsageRow(
        time=None if when is None else float(when * unit),
        client=None if client is None else texts[client],
        key=None if key is None else texts[key],
        model=None if model is None else texts[model],
        outcome=None if outcome is None else RequestOutcome(texts[outcome]),
        requests=requests,
        input_tokens=given,
        output_tokens=made,
        cached_tokens=cached,
        thinking_tokens=thinking,
        tool_tokens=tool,
        unread=unread,
        received_bytes=received,
        sent_bytes=sent,
        seconds=ms / 1000,
    )
