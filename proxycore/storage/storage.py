"""The storage: takes rows from the event loop without waiting, and writes them in a thread of its own.

    put_…      keep rows in memory, which costs about a microsecond
    thread     once a second writes what was kept, in one transaction; answers queries in between
    failure    what was not written is kept and tried again; said once, and once more when it works again

Memory is bounded: of requests the oldest leave the log when the disk is too slow (`dropped`), but are counted
in the usage; of facts the newest of each topic is kept.

One thread for one connection is what aiosqlite has as well, with a hop between threads for each statement and
a queue without bounds; here there is one hop for each query, and none for rows.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from proxycore.clock import Clock
from proxycore.storage.contents import Contents
from proxycore.storage.pending import Batch, Pending
from proxycore.storage.rows import (
    EventFilter,
    EventPage,
    Fact,
    NoStateFileError,
    QueryError,
    RequestFilter,
    RequestPage,
    SlotQuery,
    SlotRange,
    UsageQuery,
    UsageRow,
)
from proxycore.storage.state_file import (
    FullDiskError,
    StateFileError,
    StatementError,
    UselessFileError,
    move_aside,
    size_of,
    translate,
)
from proxycore.storage.status import StateFileStatus, StateFileUse

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DAY = 86400
_INTERVAL = 1.0  # seconds between two batches
_RETRY_PAUSE = 10.0  # seconds between two tries to use a file that can't be used
_OPEN_TIMEOUT = 2.0  # seconds that a start waits for the file
_CLOSE_TIMEOUT = 5.0  # seconds that an end waits for the last batch


class Storage:
    """The state file at `path`. Belongs to the running event loop from `start` on.

    `keep` is for how many seconds usage, requests and events are kept. `redact` removes secrets from texts;
    it is called in the storage's thread. `interval` is the time between two batches, `retry` that between two
    tries to use a file that can't be used, in seconds.
    """

    def __init__(
        self,
        path: Path,
        keep: float,
        clock: Clock,
        redact: Callable[[str], str],
        *,
        interval: float = _INTERVAL,
        retry: float = _RETRY_PAUSE,
    ) -> None:
        self.trouble: str | None = None
        """Why the file can't be used now, and what to do; None: it can."""
        self._trouble_since: float | None = None  # by the wall clock
        self._size: int | None = None  # bytes of the file
        self._path = path
        self._keep = keep
        self._clock = clock
        self._redact = redact
        self._interval = interval
        self._retry = retry
        self._pending = Pending()
        self.put_request = self._pending.request
        """Keep a request that has ended, for the next batch."""
        self.put_event = self._pending.event
        """Keep an event, for the next batch."""
        self.put_fact = self._pending.fact
        """Keep a fact by its topic, for the next batch: `make` makes it in the storage's thread."""
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._contents: Contents | None = None
        self._on_open: Callable[[list[Fact]], None] = lambda _: None
        self._try_at = 0.0
        self._thread: threading.Thread | None = None
        self._ending = False

    @property
    def dropped(self) -> int:
        """How many requests the log did not get, since the disk was too slow. The usage has them."""
        return self._pending.dropped

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Remove secrets from texts with this function from now on."""
        self._redact = redact

    async def start(self, on_open: Callable[[list[Fact]], None]) -> None:
        """Open the file; waits two seconds at most. A file that can't be used is logged, and tried again.

        `on_open` is called on the event loop with the facts that the file holds, each time that it is opened:
        what is put before that may be in a file that was lost.
        """
        loop = asyncio.get_running_loop()

        def opened(facts: list[Fact]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(on_open, facts)

        self._on_open = opened
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._do(lambda: None), _OPEN_TIMEOUT)

    async def requests(
        self, wanted: RequestFilter, *, before: int | None = None, limit: int = 100
    ) -> RequestPage:
        """Return a page of the request log, before a cursor. Raises NoStateFileError."""
        return await self._ask(lambda contents: contents.log.page(wanted, before, limit))

    async def events(self, wanted: EventFilter, *, before: int | None = None, limit: int = 100) -> EventPage:
        """Return a page of the events, before a cursor. Raises NoStateFileError."""
        return await self._ask(lambda contents: contents.events.page(wanted, before, limit))

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Return sums over requests. Raises NoStateFileError, and QueryError if there would be too many."""
        return await self._ask(lambda contents: contents.usage(query))

    async def slots(self, query: SlotQuery) -> SlotRange:
        """Return what became of requests, by slots of time. Raises NoStateFileError."""
        return await self._ask(lambda contents: contents.slots(query))

    async def status(self) -> StateFileStatus:
        """Return whether the file is in use."""
        use = StateFileUse.UNUSABLE if self.trouble else StateFileUse.ON
        days = round(self._keep / _DAY)
        return StateFileStatus(use, self.trouble, self._trouble_since, self._size, days)

    async def flush(self) -> None:
        """Wait until what was put is written, if the file can be used."""
        await self._do(self._write)

    async def close(self) -> None:
        """Write what was put, and close the file; waits five seconds at most."""
        if self._thread is None or self._ending:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._do(self._end), _CLOSE_TIMEOUT)

    async def _ask(self, query: Callable[[Contents], T]) -> T:
        if self._thread is None or self._ending:
            raise NoStateFileError("the state file is closed")
        return await self._do(lambda: self._answer(query))

    async def _do(self, job: Callable[[], T]) -> T:
        """Do a job in the thread. Raises what it raises."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:  # noqa: BLE001 - the one who waits for it gets it
                    future.set_exception(error)

        self._jobs.put(run)
        return await asyncio.wrap_future(future)

    # In the thread.

    def _run(self) -> None:
        self._write()
        write_at = time.monotonic() + self._interval
        while not self._ending:
            try:
                self._jobs.get(timeout=max(0.0, write_at - time.monotonic()))()
            except queue.Empty:
                self._write()
                write_at = time.monotonic() + self._interval

    def _end(self) -> None:
        self._write()
        self._ending = True
        self._close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()()  # whoever waits for one is told

    def _answer(self, query: Callable[[Contents], T]) -> T:
        if not self._ending:
            self._write()
        if not self._contents:
            raise NoStateFileError(self.trouble or "there is no state file")
        with self._guarded():
            try:
                return query(self._contents)
            except (OverflowError, UnicodeEncodeError) as error:
                raise QueryError(f"not a value that a file can have: {error}") from error
        raise NoStateFileError(self.trouble or "")

    def _write(self) -> None:
        """Write what is kept, and delete what is old; opens the file if need be."""
        if time.monotonic() < self._try_at:
            return
        with self._guarded():
            if self._contents and not self._path.exists():
                logger.warning("STATE_FILE: %s was removed; a new one is begun", self._path)
                self._close()
            contents = self._contents or self._open()
            now = self._clock.wall()
            if batch := self._pending.take():
                self._write_batch(contents, batch, now)
            contents.clean(now)
            self._size = size_of(self._path)
            if self.trouble:
                self.trouble = self._trouble_since = None
                logger.info("STATE_FILE: %s is in use again", self._path)

    def _write_batch(self, contents: Contents, batch: Batch, now: float) -> None:
        try:
            contents.write(batch, now)
        except StatementError as error:  # it would fail again
            logger.warning("STATE_FILE: %d requests are lost: %s", len(batch.requests), error)
        except StateFileError:
            self._pending.put_back(batch)
            raise

    def _open(self) -> Contents:
        try:
            contents = Contents(self._path, self._keep, self._clean)
        except UselessFileError as error:
            aside, reason = move_aside(self._path, error), str(error).removeprefix("it ")
            logger.warning("STATE_FILE: %s %s; moved it to %s and began a new one", self._path, reason, aside)
            contents = Contents(self._path, self._keep, self._clean)
        self._contents = contents
        self._on_open(contents.facts(self._clock.wall()))
        return contents

    def _clean(self, text: str) -> str:
        return self._redact(text)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Log an error of the file, once, and close it, unless it can be read; it is tried again later."""
        try:
            yield
        except QueryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
            reason = error if isinstance(error, StateFileError) else translate(error)
            if isinstance(reason, UselessFileError):  # the next try moves it aside
                self._close()
                return
            if not isinstance(reason, FullDiskError):
                self._close()
            self._try_at = time.monotonic() + self._retry
            if self.trouble != str(reason):
                self._trouble_since = self._trouble_since or self._clock.wall()
                self.trouble = str(reason)
                logger.warning("STATE_FILE: %s can't be used: %s", self._path, reason)

    def _close(self) -> None:
        contents, self._contents = self._contents, None
        if contents:
            with contextlib.suppress(sqlite3.Error):
                contents.close()
