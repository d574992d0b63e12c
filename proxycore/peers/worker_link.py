"""The link between a worker and the hub of its host: one Unix socket for updates and for figures.

Updates: both ends have a store, see `channel`.

Figures: a worker reports what it has counted since its last report every few seconds, at its end, and when
the hub asks. When a worker asks the hub for the sums, the hub asks all other workers first. Each question has
a number: a report that was already sent may lack what was counted last.

Rows for the state file: a worker sends those of its requests and events every second, and at its end.
Queries: a worker asks the hub for what the state file has, see `records_link`.
Open requests: a worker has the hub ask all other workers to end one.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from proxycore.peers.channel import Channel
from proxycore.peers.limit_link import LimitLink
from proxycore.peers.link_messages import (
    Answer,
    EndRequest,
    LimitAnswer,
    Message,
    Question,
    Report,
    RequestEnded,
    Synced,
)
from proxycore.peers.row_batch import RowBuffer
from proxycore.peers.store import Store
from proxycore.stats.counters import Counters
from proxycore.stats.figures import Figures, FiguresError
from proxycore.stats.meter import Meter

PATIENCE = 1.0
"""Seconds that a worker may take to report to the hub; the hub may take twice as long to reply."""

END_TIMEOUT = 5.0
"""Seconds that a worker may take to end a request."""

QUERY_TIMEOUT = 10.0
"""Seconds that the hub may take to answer a query, or to have a request ended."""

_RETRY_PAUSE = 0.1  # seconds between two tries to reach the hub
_REPORT_EVERY = 5.0  # seconds between two reports of a worker without a question
_ROWS_EVERY = 1.0  # seconds between two batches of rows


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
        self.end_here: Callable[[str], bool] = lambda _: False
        """Ends an open request of this worker; returns whether there was one."""
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

    async def end_request(self, request: str) -> bool:
        """Have another worker end an open request; return whether one has it.

        Raises FiguresError when they do not reply in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUERY_TIMEOUT):
                while not (channel := self._channel):
                    await self._connected.wait()
                if ended := await channel.end_request(request):
                    return ended.found
        raise FiguresError("The other processes do not respond now. Try again.")

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
            case EndRequest(number, request):
                channel.send(RequestEnded(number, self.end_here(request)))
            case LimitAnswer() if self.limits:
                self.limits.answered(message)
