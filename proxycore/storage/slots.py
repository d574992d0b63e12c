"""What became of requests, by slots of ten minutes, in the state file: folded from the log, as usage is.

A month has 4,320 slots, each with a row for each way in which requests ended, and one with a histogram of the
times to first byte of responses that were relayed.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator

from proxycore.http.access_record import NO_FAILURE, RequestOutcome, failed_over
from proxycore.stats.history import FIRST_BYTE_BOUNDS, Ending, Slot
from proxycore.storage.rows import SLOT, RequestRow, SlotQuery, SlotRange
from proxycore.storage.schema import BUCKETS, MARK, upsert
from proxycore.storage.words import WordKind, Words

_RELAYED = (RequestOutcome.SERVED, RequestOutcome.LEFT, RequestOutcome.CUT)
_BOUNDS = [round(1000 * bound) for bound in FIRST_BYTE_BOUNDS]  # milliseconds


class SlotSums:
    """The slots of requests that the log does not get, since the disk is too slow. In memory."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}

    def add(self, row: RequestRow) -> None:
        """Add a request."""
        slot = self._slot(int(row.time // SLOT))
        slot.ended[Ending(row.outcome, row.status, failed_over(row.outcome, row.key, row.attempts))] += 1
        if row.first_byte is not None and row.outcome in _RELAYED:
            slot.first_bytes[bisect_left(_BOUNDS, round(1000 * row.first_byte))] += 1

    def merge(self, other: "SlotSums") -> None:
        """Add the slots of another."""
        for number, added in other.items():
            slot = self._slot(number)
            slot.ended += added.ended
            slot.first_bytes = [sum(pair) for pair in zip(slot.first_bytes, added.first_bytes, strict=True)]

    def items(self) -> Iterator[tuple[int, Slot]]:
        """Return the slots by their numbers since the epoch."""
        return iter(self._slots.items())

    def _slot(self, number: int) -> Slot:
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = Slot(number * SLOT)
        return slot


class Slots:
    """The slots of a file."""

    def __init__(self, connection: sqlite3.Connection, words: Words) -> None:
        self._connection = connection
        self._words = words

    def fold(self) -> None:
        """Add the requests after the mark to the slots."""
        execute = self._connection.execute
        execute(_FRESH)
        execute(_FOLD_ENDED)
        execute(_FOLD_FIRST_BYTE)
        execute("DROP TABLE fresh_slots")

    def write(self, sums: SlotSums) -> None:
        """Add the slots of requests that the log does not have."""
        for number, slot in sums.items():
            ended = [
                (
                    number,
                    self._words.label(WordKind.OUTCOME, ending.outcome),
                    ending.status,
                    ending.failed_over,
                    n,
                )
                for ending, n in slot.ended.items()
            ]
            self._connection.executemany(_WRITE_ENDED, ended)
            self._connection.execute(_WRITE_FIRST_BYTE, (number, *slot.first_bytes))

    def read(self, query: SlotQuery) -> SlotRange:
        """Return what became of requests, by slots of time."""
        execute = self._connection.execute
        span = query.step // SLOT, query.since // SLOT, query.until // SLOT
        found: dict[int, Slot] = {}
        ended = execute(_READ_ENDED, span).fetchall()
        texts = self._words.texts(outcome for _, outcome, *_ in ended)
        for number, outcome, status, over, n in ended:
            slot = found.setdefault(number, Slot(number * query.step))
            slot.ended[Ending(texts[outcome], status, bool(over))] = n
        for number, *counts in execute(_READ_FIRST_BYTE, span):
            found[number].first_bytes = counts
        (first,) = execute("SELECT min(slot) FROM slots_ended").fetchone()
        return SlotRange(None if first is None else first * SLOT, [found[number] for number in sorted(found)])


def _numbers(kind: WordKind, *texts: str) -> str:
    """What selects the numbers of these texts."""
    quoted = ", ".join(f"'{text}'" for text in texts)
    return f"(SELECT n FROM words WHERE kind = {kind:d} AND text IN ({quoted}))"  # noqa: S608 - no input


def _marks(number: int) -> str:
    return f"VALUES ({', '.join('?' * number)})"


# As `failed_over` has it. It is a CASE, since AND would parse the attempts of all requests, not only of those
# few that have several.
_FAILED_OVER = (
    f"CASE WHEN instr(attempts, '],[') AND outcome IN {_numbers(WordKind.OUTCOME, RequestOutcome.SERVED)}"  # noqa: S608 - no input
    " THEN EXISTS (SELECT 1 FROM json_each(attempts) WHERE json_extract(value, '$[0]') != requests.key"
    f" AND json_extract(value, '$[2]') NOT IN {_numbers(WordKind.VERDICT, *NO_FAILURE)}) ELSE 0 END"
)
_BUCKET = (
    f"CASE WHEN first_byte IS NULL OR outcome NOT IN {_numbers(WordKind.OUTCOME, *_RELAYED)} THEN NULL"
    + "".join(f" WHEN first_byte <= {bound} THEN {number}" for number, bound in enumerate(_BOUNDS))
    + f" ELSE {len(_BOUNDS)} END"
)
_FRESH = (
    f"CREATE TEMP TABLE fresh_slots AS SELECT time / {1000 * SLOT} AS slot, outcome, status,"  # noqa: S608 - no input
    f" {_FAILED_OVER} AS failed_over, {_BUCKET} AS bucket, count(*) AS requests FROM requests"
    f" WHERE n > ({MARK}) GROUP BY 1, 2, 3, 4, 5"
)
_KINDS = "outcome", "status", "failed_over"
_ENDED = "slots_ended", ("slot", *_KINDS), ("requests",)
_FIRST_BYTE = "slots_first_byte", ("slot",), BUCKETS
_WRITE_ENDED, _WRITE_FIRST_BYTE = upsert(*_ENDED, _marks(5)), upsert(*_FIRST_BYTE, _marks(1 + len(BUCKETS)))
_FOLD_ENDED = upsert(
    *_ENDED,
    f"SELECT slot, {', '.join(_KINDS)}, sum(requests) FROM fresh_slots WHERE true GROUP BY 1, 2, 3, 4",  # noqa: S608 - no input
)
_COUNTED = ", ".join(f"sum(requests * (bucket = {number}))" for number in range(len(BUCKETS)))
_FOLD_FIRST_BYTE = upsert(
    *_FIRST_BYTE,
    f"SELECT slot, {_COUNTED} FROM fresh_slots WHERE bucket IS NOT NULL GROUP BY 1",  # noqa: S608 - no input
)
_IN_SPAN = "WHERE slot >= ? AND slot < ?"
_READ_ENDED = (
    f"SELECT slot / ?, {', '.join(_KINDS)}, sum(requests) FROM slots_ended {_IN_SPAN} GROUP BY 1, 2, 3, 4"  # noqa: S608 - no input
)
_ADDED = ", ".join(f"sum({column})" for column in BUCKETS)
_READ_FIRST_BYTE = f"SELECT slot / ?, {_ADDED} FROM slots_first_byte {_IN_SPAN} GROUP BY 1"  # noqa: S608 - no input
