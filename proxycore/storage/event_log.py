"""Events in the state file: for the whole pool, and by key."""

import sqlite3
from collections.abc import Sequence

from proxycore.storage.rows import EventFilter, EventKind, EventPage, EventRow
from proxycore.storage.words import WordKind, Words

_INSERT = "INSERT INTO events (time, kind, key, about, why, request, until) VALUES (?, ?, ?, ?, ?, ?, ?)"
_QUERY = "SELECT n, time, kind, key, about, why, request, until FROM events"
_END = 1 << 62


class EventLog:
    """The events of a file."""

    def __init__(self, connection: sqlite3.Connection, words: Words) -> None:
        self._connection = connection
        self._words = words

    def write(self, rows: Sequence[EventRow]) -> None:
        """Add events."""
        label, compact = self._words.label, self._words.compact
        values = [
            (
                round(1000 * row.time),
                label(WordKind.EVENT, row.kind),
                label(WordKind.KEY, row.key),
                compact(WordKind.ABOUT, row.about),
                compact(WordKind.WHY, row.why),
                self._words.clean(row.request),
                None if row.until is None else round(1000 * row.until),
            )
            for row in rows
        ]
        self._connection.executemany(_INSERT, values)

    def page(self, wanted: EventFilter, before: int | None, limit: int) -> EventPage:
        """Return at most `limit` events that match, of those before the cursor `before`."""
        conditions, values = " WHERE n < ?", [_END if before is None else before]
        for column, kind, text in (
            ("key", WordKind.KEY, wanted.key),
            ("kind", WordKind.EVENT, wanted.kind),
        ):
            if text is not None:
                conditions += f" AND {column} = ?"
                number = self._words.find(kind, text)
                values.append(-1 if number is None else number)
        if wanted.since is not None:
            conditions += " AND time >= ?"
            values.append(int(1000 * wanted.since))
        found = self._connection.execute(
            f"{_QUERY}{conditions} ORDER BY n DESC LIMIT ?", (*values, limit + 1)
        )
        rows = found.fetchall()
        cursor = rows[limit - 1][0] if len(rows) > limit else None
        texts = self._words.texts(number for row in rows for number in row[2:6])
        return EventPage(
            [
                EventRow(
                    time / 1000,
                    EventKind(texts[kind]),
                    texts[name],
                    texts.get(about, about),
                    texts.get(why, why),
                    request,
                    None if until is None else until / 1000,
                )
                for _, time, kind, name, about, why, request, until in rows[:limit]
            ],
            cursor,
        )
