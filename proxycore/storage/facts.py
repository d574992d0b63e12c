"""Facts in the state file: the newest of each topic, until it expires."""

import sqlite3
from collections.abc import Iterable

from proxycore.storage.rows import Fact

_EARLY = 1.0  # seconds
_UPSERT = (
    "INSERT INTO facts (topic, line, stamp, until) VALUES (?, ?, ?, ?) ON CONFLICT (topic) DO UPDATE"
    " SET line = excluded.line, stamp = excluded.stamp, until = excluded.until"
    # A stamp in the future is of a clock that was set back since.
    " WHERE excluded.stamp > facts.stamp OR facts.stamp > ?"
)


def write_facts(connection: sqlite3.Connection, facts: Iterable[Fact], now: float) -> None:
    """Keep facts that are newer than what the file has of their topics. `now` is the time."""
    rows = [(fact.topic, fact.line, fact.stamp, fact.until, now + _EARLY) for fact in facts]
    connection.executemany(_UPSERT, rows)


def read_facts(connection: sqlite3.Connection, now: float) -> list[Fact]:
    """Return all that hold at the time `now`, in the order in which they were found."""
    query = "SELECT topic, line, stamp, until FROM facts WHERE until > ? ORDER BY stamp"
    return [Fact(*values) for values in connection.execute(query, (now,))]
