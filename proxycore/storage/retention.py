"""Deletes from the state file what is older than it is kept, a little at a time, and gives the space back."""

import sqlite3

from proxycore.storage.rows import SLOT
from proxycore.storage.schema import BLOCK_BITS

_BLOCKS = 16  # that are deleted at a time
_EVENTS = 20_000
_PAGES = 1000  # that are given back at a time
_SPARE_PAGES = 4000  # that are kept for what is written next
_SWEEP_EVERY = 600.0  # seconds between two deletions of what is small
_DAY = 86400
_END = 1 << 62


class Retention:
    """Deletes what is older than `keep` seconds."""

    def __init__(self, connection: sqlite3.Connection, keep: float) -> None:
        self._connection = connection
        self._keep = keep
        self._swept = 0.0  # when

    def delete_requests(self, now: float) -> bool:
        """Delete some requests that are too old at the time `now`; returns whether there were any."""
        query = "SELECT block FROM blocks WHERE latest < ? LIMIT ?"
        old = self._connection.execute(query, (self._oldest(now), _BLOCKS)).fetchall()
        for (block,) in old:
            bounds = block << BLOCK_BITS, block + 1 << BLOCK_BITS
            # The sums have them: requests are folded every minute, and kept for a day at least.
            self._connection.execute("DELETE FROM requests WHERE n >= ? AND n < ?", bounds)
            self._connection.execute("DELETE FROM blocks WHERE block = ?", (block,))
        return bool(old)

    def sweep(self, now: float) -> bool:
        """Delete what else is too old at the time `now`, every ten minutes; returns whether it did."""
        if abs(now - self._swept) < _SWEEP_EVERY:
            return False
        self._swept = now
        oldest, execute = self._oldest(now), self._connection.execute
        execute(f"DELETE FROM present WHERE block < coalesce((SELECT min(block) FROM blocks), {_END})")  # noqa: S608 - a number
        execute(
            "DELETE FROM events WHERE n IN (SELECT n FROM events WHERE time < ? ORDER BY n LIMIT ?)",
            (oldest, _EVENTS),
        )
        execute("DELETE FROM facts WHERE until <= ?", (now,))
        day = oldest // 1000 // _DAY
        execute("DELETE FROM usage_days WHERE day < ?", (day,))
        execute("DELETE FROM usage_clients WHERE hour < ?", (24 * day,))
        execute("DELETE FROM usage_keys WHERE hour < ?", (24 * day,))
        execute("DELETE FROM slots_ended WHERE slot < ?", (day * _DAY // SLOT,))
        execute("DELETE FROM slots_first_byte WHERE slot < ?", (day * _DAY // SLOT,))
        execute("DELETE FROM words WHERE day < ?", (day - 1,))
        return True

    def give_back(self) -> None:
        """Give some space back to the file system; outside of a transaction."""
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if free > _SPARE_PAGES:
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()

    def _oldest(self, now: float) -> int:
        return int(1000 * (now - self._keep))
