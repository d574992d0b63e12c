"""The link between a worker and the hub of its host: one Unix socket for updates and for figures.

Updates: both ends have a store. Each sends a snapshot of its own at first, and every new update from then on.
A peer that reads too slowly is sent no more updates until it has caught up, and then a snapshot.

Figures: a worker reports what it has counted since its last report every few seconds, at its end, and when
the hub asks. When a worker asks the hub for the sums, the hub asks all other workers first. Each question has
a number: a report that was already sent may lack what was counted last.

Rows for the state file: a worker sends those of its requests and events every second, and at its end.
Queries: a worker asks the hub for what the state file has, see `records_link`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from proxycore.peers.limit_link import LimitLink
from proxycore.peers.link_messages import (
    Answer,
    LimitAnswer,
    Message,
    Query,
    Question,
    Report,
    Synced,
    decode,
    encode,
)
from proxycore.peers.replies import Replies
from proxycore.peers.row_batch import RowBuffer
from proxycore.peers.store import Store
from proxycore.peers.update import Update
from proxycore.stats.counters import Counters
from proxycore.stats.figures import Figures, FiguresError
from proxycore.stats.meter import Meter

PATIENCE = 1.0
"""Seconds that a worker may take to report to the hub; the hub may take twice as long to reply."""

QUERY_TIMEOUT = 10.0
"""Seconds that the hub may take to answer a query."""

_LONGEST_LINE = 256 * 1024 * 1024  # bytes
_LARGEST_BACKLOG = 8 * 1024 * 1024  # bytes that a peer may leave unread before it is sent no more updates
_RETRY_PAUSE = 0.1  # seconds between two tries to reach the hub
_REPORT_EVERY = 5.0  # seconds between two reports of a worker without a question
_ROWS_EVERY = 1.0  # seconds between two batches of rows
_CLOSE_TIMEOUT = 5.0  # seconds that a peer may take to read what is left for it


class Channel(asyncio.Protocol):
    """One end of a connection. Synchronises the `store` with that of the peer.

    `handle` is called with this channel and each message that is no update, `on_lost` when the connection has
    ended.
    """

    def __init__(
        self,
        store: Store,
        handle: "Callable[[Channel, Message], None]",
        on_lost: "Callable[[Channel], None]" = lambda _: None,
    ) -> None:
        self.lost = asyncio.Event()
        self._store = store
        self._handle = handle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._unfinished: list[bytes] = []  # parts of a line whose end has not come yet
        self._reports: Replies[Report] = Replies()
        self._answers: Replies[Answer] = Replies()
        self.is_paused = False  # whether the peer reads too slowly
        self._is_behind = False  # whether it was not sent all updates for that
        self._largest_backlog = _LARGEST_BACKLOG

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is established."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes
        self._store.subscribe(self._send_updates)
        self._send_snapshot()
        self.send(Synced())

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes from the peer."""
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._unfinished.append(data)
            if sum(map(len, self._unfinished)) > _LONGEST_LINE and self._transport:
                self._transport.abort()
            return
        lines = b"".join((*self._unfinished, whole)).split(b"\n")
        self._unfinished = [rest]
        self._receive(lines)

    def pause_writing(self) -> None:
        """Called by asyncio when the peer reads too slowly."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when the peer has read most of the backlog."""
        self.is_paused = False
        self._largest_backlog = _LARGEST_BACKLOG
        if self._is_behind:
            self._is_behind = False
            self._send_snapshot()

    def connection_lost(self, _: Exception | None) -> None:
        """Called by asyncio when the connection has ended."""
        self._detach()
        self.lost.set()
        self._on_lost(self)

    def send(self, *messages: Message) -> None:
        """Send messages; does nothing once the connection has ended."""
        if self._transport and messages:
            self._transport.write(b"".join([encode(message) + b"\n" for message in messages]))

    def ask(self) -> "asyncio.Future[Report | None]":
        """Ask the peer for its figures. The result is None if the connection ends before its report."""
        number, report = self._reports.expect()
        self._send_or_end(Question(number))
        return report

    def query(self, text: str) -> "asyncio.Future[Answer | None]":
        """Ask the peer for what the state file has. The result is None if the connection ends before."""
        number, answer = self._answers.expect()
        self._send_or_end(Query(number, text))
        return answer

    async def close(self) -> None:
        """Send what is left, and end the connection."""
        if transport := self._transport:
            self._detach()
            transport.close()
            try:
                await asyncio.wait_for(self.lost.wait(), _CLOSE_TIMEOUT)
            except TimeoutError:
                transport.abort()

    def _detach(self) -> None:
        self._transport = None
        self._store.unsubscribe(self._send_updates)
        self._end_replies()

    def _send_or_end(self, message: Message) -> None:
        self.send(message)
        if not self._transport:
            self._end_replies()

    def _end_replies(self) -> None:
        self._reports.end()
        self._answers.end()

    def _receive(self, lines: Sequence[bytes]) -> None:
        updates: list[Update] = []
        others: list[Message] = []
        for line in lines:
            try:
                message = decode(line)
            except ValueError:  # another version of this program, perhaps
                continue
            if isinstance(message, Update):
                updates.append(message)
            else:
                others.append(message)
        self._store.publish(updates, self._send_updates)
        for message in others:
            self._handle(self, message)
            if isinstance(message, Report) and message.answers is not None:
                self._reports.receive(message.answers, message)
            elif isinstance(message, Answer):
                self._answers.receive(message.number, message)

    def _send_updates(self, updates: Sequence[Update]) -> None:
        if self._transport and not self._is_behind:
            self.send(*updates)
            self._is_behind = self._transport.get_write_buffer_size() > self._largest_backlog

    def _send_snapshot(self) -> None:
        self.send(*self._store.snapshot())
        if self._transport:  # the snapshot itself is not the peer's backlog
            self._largest_backlog = _LARGEST_BACKLOG + self._transport.get_write_buffer_size()


class WorkerLink:
    """A worker's end of the link, through the hub's socket at `path`.

    Synchronises `store` with that of the hub, reports what `meter` counts, and reads the sums. `limits` are
    the clients' limits, once they are shared.
    """

    def __init__(self, path: Path, store: Store, meter: Meter) -> None:
        self.meter = meter
        self.limits: LimitLink | None = None
        self.rows = RowBuffer()
        """The journal of the worker: what it keeps goes to the hub."""
        self._path = path
        self._store = store
        self._channel: Channel | None = None
        self._connected = asyncio.Event()  # set while there is a channel
        self._synced = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect; waits up to a second for what the hub knows."""
        works = (self._stay_connected(), self._report_often(), self._send_rows_often())
        self._tasks = [asyncio.create_task(work) for work in works]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._synced.wait(), PATIENCE)

    async def read(self) -> Figures:
        """Return the figures of all workers. Raises FiguresError when the hub does not reply in time.

        The figures of this worker alone would look as if all counters had been reset.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * PATIENCE):
                while not (channel := self._channel):
                    await self._connected.wait()
                self._report(channel)
                if report := await channel.ask():
                    counters = Counters()
                    counters.merge(report.counts)
                    return Figures(counters, report.processes)
        raise FiguresError("The figures of the other processes are not available now.")

    async def query(self, text: str) -> Answer:
        """Ask the hub for what the state file has. Raises FiguresError when it does not reply in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUERY_TIMEOUT):
                while not (channel := self._channel):
                    await self._connected.wait()
                if answer := await channel.query(text):
                    return answer
        raise FiguresError("The process that has the state file does not respond now. Try again.")

    async def close(self) -> None:
        """Send what is left, and end the link."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if channel := self._channel:
            self._report(channel)
            self._send_rows(channel)
            await channel.close()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                _, self._channel = await loop.create_unix_connection(
                    lambda: Channel(self._store, self._handle), str(self._path)
                )
                self._connected.set()
                self._report(self._channel)
                if self.limits:
                    self.limits.connected(self._channel.send)
                await self._channel.lost.wait()
            self._channel = None
            self._connected.clear()
            if self.limits:
                self.limits.disconnected()
            await asyncio.sleep(_RETRY_PAUSE)

    async def _report_often(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY)
            if self._channel and not self._channel.is_paused:  # else it keeps counting
                self._report(self._channel)

    async def _send_rows_often(self) -> None:
        while True:
            await asyncio.sleep(_ROWS_EVERY)
            if self._channel and not self._channel.is_paused:  # else it keeps them
                self._send_rows(self._channel)

    def _send_rows(self, channel: Channel) -> None:
        if not channel.lost.is_set() and (batch := self.rows.take()):
            channel.send(batch)

    def _report(self, channel: Channel, answers: int | None = None) -> None:
        if not channel.lost.is_set():  # what is taken would be lost with it
            self.meter.catch_up()
            channel.send(Report(self.meter.counters.drain(), [self.meter.now()], answers))

    def _handle(self, channel: Channel, message: Message) -> None:
        match message:
            case Question(number):
                self._report(channel, number)
            case Synced():
                self._synced.set()
            case LimitAnswer() if self.limits:
                self.limits.answered(message)
