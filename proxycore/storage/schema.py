"""The layout of the state file. Times are milliseconds since the epoch, durations milliseconds. Pure.

facts            see `facts`
words            texts that repeat, by number; `day` is the last one on which it was used
requests         in the order in which they ended; a column that may have a word has its number
blocks           for each 256 requests: when they arrived, and four bytes of a hash of each one's id
present          which words occur in which blocks
usage_*          sums over requests: by hour and client, by hour and key, by day and both
slots_*          requests by slots of ten minutes since the epoch: how they ended, and times to first byte by
                 the buckets of `FIRST_BYTE_BOUNDS`
events           in the order in which they happened
marks            `folded`: the last request that the sums and the slots contain
"""

from proxycore.stats.history import FIRST_BYTE_BOUNDS
from proxycore.storage.rows import SUMMED

APPLICATION = 0x474B5053
"""SQLite's `application_id`, which tells the file from those of other programs."""

VERSION = 2
"""SQLite's `user_version`: a file with another one was written by another version of the program."""

BLOCK_BITS = 8
"""A block is so many bits of a request's number less."""

SUMS = ("requests", *SUMMED, "ms")
"""The columns of sums, in the order of `UsageRow`."""

USAGE = {
    "usage_clients": ("hour", "client", "model", "outcome"),
    "usage_keys": ("hour", "key", "model", "outcome"),
    "usage_days": ("day", "client", "key", "model", "outcome"),
}
"""The tables of sums, and what each tells apart."""

MARK = "SELECT n FROM marks WHERE name = 'folded'"
"""Selects the last request that the sums and the slots contain."""

BUCKETS = tuple(f"bucket_{number}" for number in range(len(FIRST_BYTE_BOUNDS) + 1))
"""The columns of times to first byte."""


def _usage_table(name: str, columns: tuple[str, ...]) -> str:
    declared = ", ".join(f"{column} INTEGER NOT NULL" for column in (*columns, *SUMS))
    return f"CREATE TABLE {name} ({declared}, PRIMARY KEY ({', '.join(columns)})) WITHOUT ROWID;\n"


# Columns without a type keep what they are given: the number of a word, or a text that is none.
SCHEMA = (
    """
CREATE TABLE facts (
    topic TEXT PRIMARY KEY, line BLOB NOT NULL, stamp REAL NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE words (
    n INTEGER PRIMARY KEY, kind INTEGER NOT NULL, text TEXT NOT NULL, day INTEGER NOT NULL,
    UNIQUE (kind, text)
);
CREATE TABLE requests (
    n INTEGER PRIMARY KEY, id, time INTEGER NOT NULL, client INTEGER NOT NULL, address, method, path,
    model INTEGER NOT NULL, key INTEGER NOT NULL, status INTEGER NOT NULL, outcome INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL, tool_tokens INTEGER NOT NULL, unread INTEGER NOT NULL,
    received_bytes INTEGER NOT NULL, sent_bytes INTEGER NOT NULL, first_byte INTEGER, ms INTEGER NOT NULL,
    why, waited INTEGER NOT NULL, attempts TEXT
);
CREATE TABLE blocks (
    block INTEGER PRIMARY KEY, earliest INTEGER NOT NULL, latest INTEGER NOT NULL, ids BLOB NOT NULL
);
CREATE INDEX blocks_latest ON blocks (latest);
CREATE TABLE present (
    word INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (word, block)
) WITHOUT ROWID;
CREATE TABLE events (
    n INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind INTEGER NOT NULL, key INTEGER NOT NULL, about, why,
    request TEXT NOT NULL, until INTEGER
);
CREATE INDEX events_key ON events (key);
CREATE TABLE slots_ended (
    slot INTEGER NOT NULL, outcome INTEGER NOT NULL, status INTEGER NOT NULL, failed_over INTEGER NOT NULL,
    requests INTEGER NOT NULL, PRIMARY KEY (slot, outcome, status, failed_over)
) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO marks VALUES ('folded', 0);
"""
    + "".join(_usage_table(name, columns) for name, columns in USAGE.items())
    + "CREATE TABLE slots_first_byte (slot INTEGER PRIMARY KEY"
    + "".join(f", {column} INTEGER NOT NULL" for column in BUCKETS)
    + ");\n"
    + f"PRAGMA application_id = {APPLICATION};\nPRAGMA user_version = {VERSION};\n"
)


def upsert(table: str, columns: tuple[str, ...], sums: tuple[str, ...], source: str) -> str:
    """Return the statement that adds rows of `source` (VALUES, or a SELECT) to the sums of a table.

    `columns` are what the table tells apart, its primary key.
    """
    added = ", ".join(f"{column} = {column} + excluded.{column}" for column in sums)
    into = f"{table} ({', '.join((*columns, *sums))})"
    return f"INSERT INTO {into} {source} ON CONFLICT ({', '.join(columns)}) DO UPDATE SET {added}"
