"""The request log in the state file: writes requests in batches, and reads them by page.

There is no index by client, key, model, outcome, status or id: they would cost more than the requests.
Instead, 256 requests that follow each other are a block, and the file has which words occur in which blocks.
A query reads the blocks in which all that it asks for occurs, the latest first.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow, RequestFilter, RequestPage, RequestRow, summed
from proxycore.storage.schema import BLOCK_BITS
from proxycore.storage.words import WordKind, Words

_COLUMNS = (
    "n, id, time, client, address, method, path, model, key, status, outcome,"
    " input_tokens, output_tokens, cached_tokens, thinking_tokens, tool_tokens, unread,"
    " received_bytes, sent_bytes, first_byte, ms, why, waited, attempts"
)
_VALUES = f"({', '.join('?' * (_COLUMNS.count(',') + 1))})"
_INSERT = f"INSERT INTO requests ({_COLUMNS}) VALUES {_VALUES}"  # noqa: S608 - no input
# For each statement, Python's lock is released and taken again, which costs more than a row when the event
# loop wants it, too. All versions of SQLite take 999 values.
_TOGETHER = 999 // (_COLUMNS.count(",") + 1)
_INSERT_TOGETHER = f"{_INSERT}{f', {_VALUES}' * (_TOGETHER - 1)}"
_MOST_BLOCKS = 150  # that a page reads
_LONGEST = 128  # characters of an id
# Looked up once: in Python 3.11 that takes twice as long as to find a word.
_CLIENT, _ADDRESS, _METHOD, _PATH = WordKind.CLIENT, WordKind.ADDRESS, WordKind.METHOD, WordKind.PATH
_MODEL, _KEY, _STATUS, _OUTCOME = WordKind.MODEL, WordKind.KEY, WordKind.STATUS, WordKind.OUTCOME
_VERDICT, _WHY, _REFUSAL = WordKind.VERDICT, WordKind.WHY, WordKind.REFUSAL

_Values = tuple[Any, ...]


class RequestLog:
    """The requests of a file."""

    def __init__(self, connection: sqlite3.Connection, words: Words) -> None:
        self._connection = connection
        self._words = words
        self.reload()

    def reload(self) -> None:
        """Read where the log ends, as after a batch that was not written."""
        query = "SELECT max(n) FROM (SELECT max(n) AS n FROM requests UNION ALL SELECT n FROM marks)"
        (last,) = self._connection.execute(query).fetchone()  # of requests that were deleted, too
        self._next = 1 + last
        self._block = _Block(self._connection, self._next >> BLOCK_BITS)

    def write(self, rows: Sequence[RequestRow]) -> None:
        """Add requests that have ended."""
        encoded: list[_Values] = []
        for row in rows:
            number = self._next
            if number >> BLOCK_BITS != self._block.number:
                self._block.write()
                self._block = _Block(self._connection, number >> BLOCK_BITS)
            encoded.append(self._encode(number, row))
            self._next += 1
        self._block.write()
        single = len(encoded) % _TOGETHER
        self._connection.executemany(_INSERT, encoded[:single])
        for begin in range(single, len(encoded), _TOGETHER):
            values = [*chain.from_iterable(encoded[begin : begin + _TOGETHER])]
            self._connection.execute(_INSERT_TOGETHER, values)

    def page(self, wanted: RequestFilter, before: int | None, limit: int) -> RequestPage:
        """Return at most `limit` requests that match, of those before the cursor `before`."""
        conditions, values = self._conditions(wanted)
        blocks = self._blocks(wanted, (before if before is not None else self._next) - 1 >> BLOCK_BITS)
        query = f"SELECT {_COLUMNS} FROM requests WHERE n >= ? AND n < ?{conditions} ORDER BY n DESC LIMIT ?"  # noqa: S608 - no input
        found: list[_Values] = []
        cursor = None
        for read, block in enumerate(blocks):
            end = block + 1 << BLOCK_BITS
            if len(found) > limit or read == _MOST_BLOCKS:
                cursor = end
                break
            end = end if before is None else min(before, end)
            bounds = block << BLOCK_BITS, end, *values, limit + 1 - len(found)
            found += self._connection.execute(query, bounds)
        if len(found) > limit:
            found = found[:limit]
            cursor = found[-1][0]
        return RequestPage(self._decode(found), cursor)

    def _encode(self, n: int, row: RequestRow) -> _Values:
        words = self._words
        names = row.client, row.model, row.key, row.outcome, row.status, row.method
        client, model, key, outcome, method, found = words.memo.get(names) or self._find(names)
        attempts = None
        if row.attempts:
            tried = [self._encode_attempt(attempt) for attempt in row.attempts]
            attempts = f"[{','.join([text for _, text in tried])}]"
            if len(tried) > 1 or tried[0][0] != key:
                found = found.union([number for number, _ in tried])
        clean_id = words.clean(row.id)[:_LONGEST]  # a client may have offered its key as the id
        time = round(1000 * row.time)
        self._block.add(time, clean_id, found)
        return (
            n,
            clean_id,
            time,
            client,
            words.compact(_ADDRESS, row.address),
            method,
            words.compact(_PATH, row.path.partition("?")[0]),
            model,
            key,
            row.status,
            outcome,
            *summed(row),
            None if row.first_byte is None else round(1000 * row.first_byte),
            round(1000 * row.seconds),
            words.compact(_REFUSAL, row.why) if row.why else None,
            round(1000 * row.waited),
            attempts,
        )

    def _find(self, names: tuple[str, str, str, RequestOutcome, int, str]) -> _Values:
        """Return the numbers of the names that a request has, and the set of those that are looked for."""
        label = self._words.label
        client, model, key = label(_CLIENT, names[0]), label(_MODEL, names[1]), label(_KEY, names[2])
        outcome, status = label(_OUTCOME, names[3]), label(_STATUS, str(names[4]))
        method, found = (
            self._words.compact(_METHOD, names[5]),
            frozenset({client, model, key, outcome, status}),
        )
        return self._words.remember(names, (client, model, key, outcome, method, found))

    def _encode_attempt(self, attempt: AttemptRow) -> tuple[int, str]:
        """Return the number of an attempt's key, and the attempt as JSON."""
        names = attempt.key, attempt.status, attempt.verdict, attempt.why
        key, begin = self._words.memo.get(names) or self._find_attempt(names)
        return key, f"{begin}{round(1000 * attempt.seconds)},{round(1000 * attempt.at)}]"

    def _find_attempt(self, names: tuple[str, int, str, str]) -> _Values:
        key, words = self._words.label(_KEY, names[0]), self._words
        verdict, why = words.compact(_VERDICT, names[2]), words.compact(_WHY, names[3])
        begin = json.dumps([key, names[1], verdict, why], separators=(",", ":"))[:-1] + ","
        return words.remember(names, (key, begin))

    def _wanted_words(self, wanted: RequestFilter) -> list[int]:
        """The numbers of the words that must occur; -1 for one that never did."""
        texts = {
            WordKind.CLIENT: wanted.client,
            WordKind.KEY: wanted.key,
            WordKind.MODEL: wanted.model,
            WordKind.OUTCOME: wanted.outcome,
            WordKind.STATUS: None if wanted.status is None else str(wanted.status),
        }
        found = [self._words.find(kind, text) for kind, text in texts.items() if text is not None]
        return [-1 if number is None else number for number in found]

    def _blocks(self, wanted: RequestFilter, last: int) -> Iterator[int]:
        """Yield the blocks, to the last one, that may have what is wanted; the latest first."""
        query = "SELECT block FROM blocks WHERE block <= ?"
        values: list[int | bytes] = [last]
        if wanted.since is not None:
            query += " AND block >= (SELECT min(block) FROM blocks WHERE latest >= ?)"
            values.append(int(1000 * wanted.since))
        if wanted.id is not None:
            query += " AND instr(ids, ?)"
            values.append(_hash(wanted.id[:_LONGEST]))
        for word in self._wanted_words(wanted):
            query += " INTERSECT SELECT block FROM present WHERE word = ? AND block <= ?"
            values += [word, last]
        for (block,) in self._connection.execute(f"{query} ORDER BY block DESC", values):
            yield block

    def _conditions(self, wanted: RequestFilter) -> tuple[str, list[Any]]:
        words = self._words
        conditions = ""
        values: list[Any] = []
        for column, kind, text in (
            ("client", WordKind.CLIENT, wanted.client),
            ("model", WordKind.MODEL, wanted.model),
            ("outcome", WordKind.OUTCOME, wanted.outcome),
        ):
            if text is not None:
                conditions += f" AND {column} = ?"
                values.append(words.find(kind, text))
        if wanted.key is not None:
            number = words.find(WordKind.KEY, wanted.key)
            conditions += " AND (key = ? OR instr(attempts, ?))"
            values += [number, f"[{number},"]
        for condition, value in (
            ("status = ?", wanted.status),
            ("id = ?", None if wanted.id is None else wanted.id[:_LONGEST]),
            ("time >= ?", None if wanted.since is None else int(1000 * wanted.since)),
        ):
            if value is not None:
                conditions += f" AND {condition}"
                values.append(value)
        return conditions, values

    def _decode(self, found: Sequence[_Values]) -> list[RequestRow]:
        tried = [json.loads(values[-1]) if values[-1] else [] for values in found]
        numbers = chain(
            chain.from_iterable((*values[3:9], values[10], values[-3]) for values in found),
            chain.from_iterable(
                (key, verdict, why) for key, _, verdict, why, *_ in chain.from_iterable(tried)
            ),
        )
        texts = self._words.texts(numbers)
        return [_row(values, attempts, texts) for values, attempts in zip(found, tried, strict=True)]


class _Block:
    """The block to which requests are being added."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self.number = number
        self._connection = connection
        query = "SELECT earliest, latest, ids FROM blocks WHERE block = ?"
        found = connection.execute(query, (number,)).fetchone()
        self._earliest: int
        self._latest: int
        self._earliest, self._latest, ids = found or (1 << 62, 0, b"")
        self._ids = bytearray(ids)
        self._words: set[int] = set()
        self._fresh: set[int] = set()  # words that the file does not have for it, as far as is known

    def add(self, time: int, request: str, words: set[int]) -> None:
        self._earliest, self._latest = min(time, self._earliest), max(time, self._latest)
        self._ids += _hash(request)
        self._fresh |= words - self._words

    def write(self) -> None:
        if not self._ids:
            return
        values = self.number, self._earliest, self._latest, bytes(self._ids)
        self._connection.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", values)
        fresh = [(word, self.number) for word in self._fresh]
        self._connection.executemany("INSERT OR IGNORE INTO present VALUES (?, ?)", fresh)
        self._words |= self._fresh
        self._fresh.clear()


def _hash(text: str) -> bytes:
    return zlib.crc32(text.encode(errors="replace")).to_bytes(4, "little")


def _row(values: _Values, tried: Sequence[Any], texts: Mapping[Any, str]) -> RequestRow:
    _, name, time, client, address, method, path, model, key, status, outcome, *numbers, reason, waited, _ = (
        values
    )
    *counts, first_byte, ms = numbers
    given, made, cached, thinking, tool, unread, received, sent = counts
    return RequestRow(
        id=name,
        time=time / 1000,
        client=texts[client],
        address=texts.get(address) or address,
        method=texts.get(method) or method,
        path=texts.get(path) or path,
        model=texts[model],
        key=texts[key],
        status=status,
        outcome=RequestOutcome(texts[outcome]),
        input_tokens=given,
        output_tokens=made,
        cached_tokens=cached,
        thinking_tokens=thinking,
        tool_tokens=tool,
        unread=bool(unread),
        received_bytes=received,
        sent_bytes=sent,
        first_byte=None if first_byte is None else first_byte / 1000,
        seconds=ms / 1000,
        why=texts.get(reason) or reason or "",
        waited=waited / 1000,
        attempts=tuple(
            AttemptRow(
                texts[key], status, texts.get(verdict, verdict), texts.get(why, why), ms / 1000, at / 1000
            )
            for key, status, verdict, why, ms, at in tried
        ),
    )
