"""One end of the connection between a worker and the hub: a Unix socket, with a message in each line.

Both ends have a store. Each sends a snapshot of its own at first, and every new update from then on. A peer
that reads too slowly is sent no more updates until it has caught up, and then a snapshot.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from proxycore.peers.link_messages import (
    Answer,
    EndRequest,
    Message,
    Query,
    Question,
    Report,
    RequestEnded,
    Synced,
    decode,
    encode,
)
from proxycore.peers.replies import Replies
from proxycore.peers.store import Store
from proxycore.peers.update import Update

_LONGEST_LINE = 256 * 1024 * 1024  # bytes
_LARGEST_BACKLOG = 8 * 1024 * 1024  # bytes that a peer may leave unread before it is sent no more updates
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
        self._ended: Replies[RequestEnded] = Replies()
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

    def end_request(self, request: str) -> "asyncio.Future[RequestEnded | None]":
        """Have the peer end an open request. The result is None if the connection ends before its reply."""
        number, ended = self._ended.expect()
        self._send_or_end(EndRequest(number, request))
        return ended

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
        self._ended.end()

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
            elif isinstance(message, RequestEnded):
                self._ended.receive(message.number, message)

    def _send_updates(self, updates: Sequence[Update]) -> None:
        if self._transport and not self._is_behind:
            self.send(*updates)
            self._is_behind = self._transport.get_write_buffer_size() > self._largest_backlog

    def _send_snapshot(self) -> None:
        self.send(*self._store.snapshot())
        if self._transport:  # the snapshot itself is not the peer's backlog
            self._largest_backlog = _LARGEST_BACKLOG + self._transport.get_write_buffer_size()
