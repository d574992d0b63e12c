"""The contents of an open state file: its parts, written in one transaction, and read."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proxycore.storage.event_log import EventLog
from proxycore.storage.facts import read_facts, write_facts
from proxycore.storage.pending import Batch
from proxycore.storage.request_log import RequestLog
from proxycore.storage.retention import Retention
from proxycore.storage.rows import Fact, SlotQuery, SlotRange, UsageQuery, UsageRow
from proxycore.storage.slots import Slots
from proxycore.storage.state_file import open_state_file, translate
from proxycore.storage.usage import Usage
from proxycore.storage.words import Words

_FOLD_EVERY = 60.0  # seconds
_DAY = 86400


class Contents:
    """The parts of the file at `path`. Used by one thread.

    `keep` is for how many seconds usage, requests and events are kept, `redact` removes secrets from texts;
    a fact that has one is not kept.
    Everything here raises StateFileError when the file can't be used any more.
    """

    def __init__(self, path: Path, keep: float, redact: Callable[[str], str]) -> None:
        self.connection = open_state_file(path)
        self._redact = redact
        self._fold_at = 0.0
        try:
            self._words = Words(self.connection, redact)
            self.log = RequestLog(self.connection, self._words)
            self.events = EventLog(self.connection, self._words)
            self._usage = Usage(self.connection, self._words)
            self._slots = Slots(self.connection, self._words)
            self._retention = Retention(self.connection, keep)
        except sqlite3.Error as error:
            self.close()
            raise translate(error) from error

    def write(self, batch: Batch, now: float) -> None:
        """Write all of a batch, or nothing. `now` is the time."""
        with self._transaction():
            self._words.begin(int(now // _DAY))
            if batch.requests:
                self.log.write(batch.requests)
            if batch.events:
                self.events.write(batch.events)
            if batch.sums:
                self._usage.write(batch.sums)
                self._slots.write(batch.slots)
            if batch.facts:
                write_facts(self.connection, filter(self._is_free_of_secrets, batch.facts.values()), now)
            if time.monotonic() >= self._fold_at:
                self._fold()

    def clean(self, now: float) -> None:
        """Delete some of what is too old at the time `now`."""
        with self._transaction():
            if self._retention.delete_requests(now):
                self.log.reload()
            if self._retention.sweep(now):
                self._words.reload()
                self.log.reload()
        self._retention.give_back()

    def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Return sums over requests. Raises QueryError if there would be too many."""
        with self._transaction():
            self._fold()
        return self._usage.read(query)

    def slots(self, query: SlotQuery) -> SlotRange:
        """Return what became of requests, by slots of time."""
        with self._transaction():
            self._fold()
        return self._slots.read(query)

    def facts(self, now: float) -> list[Fact]:
        """Return the facts that hold at the time `now`."""
        return read_facts(self.connection, now)

    def close(self) -> None:
        """Close the file, which writes its journal into it."""
        self.connection.close()

    def _is_free_of_secrets(self, fact: Fact) -> bool:
        """Whether a fact may be kept: an error may quote a key, and a file may be named after one."""
        text = f"{fact.topic}\n{fact.line.decode()}"
        return self._redact(text) == text

    def _fold(self) -> None:
        self._usage.fold()
        self._slots.fold()
        last = "coalesce((SELECT max(n) FROM requests), n)"
        self.connection.execute(f"UPDATE marks SET n = {last} WHERE name = 'folded'")  # noqa: S608 - no input
        self._fold_at = time.monotonic() + _FOLD_EVERY

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self.connection.in_transaction:  # an error has left it open
            self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except Exception as error:  # whatever it is, the rest of the program goes on
            with contextlib.suppress(sqlite3.Error):
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self._words.reload()
                self.log.reload()
            raise translate(error) from error
