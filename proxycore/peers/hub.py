"""The hub: the process of a host that connects its workers with each other, and the host with other hosts.

It keeps the store that workers share, the sums of their figures, and the state file, and answers queries of
it. It serves no requests.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from proxycore.peers.channel import Channel
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.limit_keeper import LimitKeeper
from proxycore.peers.link_messages import (
    EndRequest,
    LimitNews,
    LimitQuestion,
    Message,
    Query,
    Question,
    Report,
    RequestEnded,
)
from proxycore.peers.records_link import answer_query
from proxycore.peers.redis_link import RedisLink
from proxycore.peers.row_batch import RowBatch
from proxycore.peers.store import Store
from proxycore.peers.worker_link import END_TIMEOUT, PATIENCE
from proxycore.stats.figures import FiguresSum
from proxycore.storage.records import NoRecords, RecordsSource


class Hub:
    """Serves workers that connect through a Unix socket. Belongs to the running event loop.

    `link` makes the link to other hosts for a store, by the current settings, `disk` that to the state file,
    and `limits` what keeps the limits of clients; None if there is none. `clock` returns the moment, in
    seconds.
    """

    def __init__(
        self,
        link: Callable[[Store], RedisLink | None],
        clock: Callable[[], float],
        disk: Callable[[Store], DiskLink | None] = lambda _: None,
        limits: Callable[[Store], LimitKeeper | None] = lambda _: None,
    ) -> None:
        self._link = link
        self._store = Store(clock)
        self.disk = disk(self._store)
        self._records: RecordsSource = self.disk.storage if self.disk else NoRecords()
        self._limits = limits(self._store)
        self._figures = FiguresSum(clock)
        self._channels: set[Channel] = set()
        self._replies: set[asyncio.Task[None]] = set()
        self._replicas: RedisLink | None = None
        self._reload = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Open the state file, connect to other hosts, wait for what they know, then serve workers.

        That takes two and a half seconds at most.
        """
        if self.disk:
            await self.disk.start()
        if self._limits:
            self._limits.start()
        await self._connect()
        self._reloading = asyncio.create_task(self._connect_at_reloads())
        self._server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=listener)

    def reload(self) -> None:
        """Connect to other hosts anew, by the current settings."""
        self._reload.set()

    async def close(self) -> None:
        """End all connections."""
        if self._reloading:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        if self._replicas:
            await self._replicas.close()
        if self._server:
            self._server.close()
        await asyncio.gather(*(channel.close() for channel in self._channels))
        if self._limits:
            await self._limits.close()
        if self.disk:
            await self.disk.close()

    async def _connect(self) -> None:
        if self._replicas:
            await self._replicas.close()
        self._replicas = self._link(self._store)
        if self._replicas:
            await self._replicas.start()
        if self._limits:
            await self._limits.connect()

    async def _connect_at_reloads(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._connect()

    def _accept(self) -> Channel:
        channel = Channel(self._store, self._handle, self._lost)
        self._channels.add(channel)
        return channel

    def _lost(self, channel: Channel) -> None:
        self._channels.discard(channel)
        self._figures.remove(channel)
        if self._limits:
            self._limits.lender.release_all(channel)

    def _handle(self, channel: Channel, message: Message) -> None:
        match message:
            case Report(counts, processes):
                self._figures.add(channel, counts, processes)
            case LimitQuestion() | LimitNews() if self._limits:
                self._limits.server.handle(channel, channel.send, message)
            case RowBatch(requests, events):
                if self.disk:
                    self.disk.keep_rows(requests, events)
            case Question(number):
                self._begin(self._reply(channel, number))
            case EndRequest(number, request):
                self._begin(self._end(channel, number, request))
            case Query(number, text):
                self._begin(self._answer(channel, number, text))

    def _begin(self, reply: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(reply)
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _reply(self, asker: Channel, number: int) -> None:
        others = [channel.ask() for channel in self._channels if channel is not asker]
        if others:
            await asyncio.wait(others, timeout=PATIENCE)
        figures = self._figures.read()
        asker.send(Report(figures.counters.entries(), figures.processes, number))

    async def _end(self, asker: Channel, number: int, request: str) -> None:
        """Have all other workers end a request. Without a reply of each, nobody knows that there is none."""
        others = [channel.end_request(request) for channel in self._channels if channel is not asker]
        late: set[asyncio.Future[RequestEnded | None]] = set()
        found = False
        if others:
            done, late = await asyncio.wait(others, timeout=END_TIMEOUT)
            found = any((reply := one.result()) and reply.found for one in done)
        if found or not late:
            asker.send(RequestEnded(number, found))

    async def _answer(self, asker: Channel, number: int, text: str) -> None:
        if answer := await answer_query(self._records, number, text):
            asker.send(answer)
