"""The client's side of a Live session: one WebSocket, whatever becomes of the upstream's.

before the handshake was answered     refusals are plain HTTP
after it                              they are a close that says the same
its record is closed when the socket is, with 101 if the session had begun
"""

import asyncio
import json
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from tornado.websocket import WebSocketHandler

from proxycore.closing import BROKEN_OFF, Closing
from proxycore.departure import has_left
from proxycore.handler_state import HandlerState
from proxycore.kept import Kept
from proxycore.pool import Pool
from proxycore.relay import RelayHandler

_LOOK = 0.025  # seconds between two looks whether a client that has to wait has left
_LONGEST_REASON = 123  # bytes, in UTF-8 (RFC 6455 §5.5)
# What closes a session that the same HTTP status would have refused: Try Again Later (IANA's registry of
# close codes), Internal Error and Policy Violation (RFC 6455 §7.4.1).
_AGAIN, _FAILED, _REFUSED = 1013, 1011, 1008


class LiveClient(RelayHandler, WebSocketHandler):
    """One client's socket. `session_begun` is whether the upstream has begun the session."""

    def initialize(self, pool: Pool) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize(pool)
        self.session_begun = False
        self._opened = self._loop.create_future()  # done when the handshake was answered
        self._ending = HandlerState.LEFT, 499  # of a session that had not begun
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def accepted(self) -> bool:
        """Whether the client's handshake was answered."""
        return self._opened.done()

    async def accept(self) -> None:
        """Answers the client's handshake, and begins to read its messages."""
        receiving = self.start(WebSocketHandler.get(self))
        await asyncio.wait({receiving, self._opened}, return_when=asyncio.FIRST_COMPLETED)

    def drop_upstream(self, code: int | None, reason: str | None) -> None:
        """Closes the upstream's side with this code and reason; without a code at once."""

    def check_origin(self, origin: str) -> bool:
        """Pages may open sessions as they may call."""
        return self.site.cors.allows(origin)

    def open(self, *_: str, **__: str) -> None:
        """The client's handshake was answered."""
        self.note_first_byte()
        self.record.kind = "live"
        self.set_nodelay(True)
        self._opened.set_result(None)

    async def as_long_as_there(self, work: Awaitable[None]) -> None:
        """Waits for it while the client is not read, which has to be looked at: it may leave."""
        waiting = asyncio.ensure_future(work)
        while not waiting.done() and self.ws_connection:
            await asyncio.wait({waiting}, timeout=_LOOK)
            if not self._is_there:
                self.on_connection_close()
        waiting.cancel()

    @property
    def _is_there(self) -> bool:
        socket = self.ws_connection
        return socket is not None and socket.stream is not None and not has_left(socket.stream)

    def close_as(self, closing: Closing) -> None:
        """Closes the client's side as the upstream closed its own; broken off, if that is what it did."""
        self.drop_upstream(1000, "")
        self._ending = HandlerState.FINISHED, closing.head.status
        if closing.code != BROKEN_OFF:
            if not closing.regular:
                self.record.reason = f"The upstream closed the session with code {closing.code}"
            self.close(closing.code, _reason(self.site.redactor.text(closing.text)))
        elif self.ws_connection and self.ws_connection.stream:
            self.record.reason = "The upstream broke off"
            self.ws_connection.stream.close()

    def refuse(self, code: int, message: str, **options: Any) -> None:  # noqa: ANN401 - those of `ProxyHandler`
        """Refuses the handshake; one that was answered already is followed by a close that says the same."""
        if not self.accepted:
            super().refuse(code, message, **options)
            return
        self.drop_upstream(1000, "")
        self._ending = HandlerState.FINISHED, code
        self.record.reason = self.record.reason or message.partition(". ")[0].rstrip(".")
        closes = _AGAIN if code in {429, 503} else _FAILED if code >= 500 else _REFUSED
        self.close(closes, _reason(self.site.redactor.text(message)))

    def refuse_for(self, seconds: int, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        """Refuses for so many seconds, which the message names."""
        if self.accepted:
            self.refuse(429, message)
        else:
            super().refuse_for(seconds, message, details)

    def send_kept(self, kept: Kept) -> None:
        """Passes on an answer to a handshake; where the client has one already, its message."""
        if not self.accepted:
            super().send_kept(kept)
            return
        self.refuse(kept.head.status, _message_of(kept) or f"The upstream answered {kept.head.status}.")

    def on_close(self) -> None:
        """The client's side is closed: the upstream's is closed alike."""
        if self.get_status() == 101:
            self.end_request(*((HandlerState.FINISHED, 101) if self.session_begun else self._ending))
        self.drop_upstream(self.close_code, self.close_reason)

    def on_connection_close(self) -> None:
        """The client's side is gone; the session runs until the upstream's is, too."""
        super().on_connection_close()
        if self._tasks:
            self.site.running.add(self)

    def cut(self) -> None:
        """Ends the session because the program ends."""
        if self.ws_connection:
            self.close(1001, "The proxy is going away.")
        elif self.state is not HandlerState.UPGRADED:  # whose socket is closed by now
            super().cut()

    def on_finish(self) -> None:
        """The handshake was answered; the record is closed at the session's end."""
        if self.get_status() != 101:
            super().on_finish()
        elif not self.state.over:
            self._become(HandlerState.UPGRADED)

    def on_written(self) -> None:
        """The same: the session goes on running."""
        if self.get_status() != 101:
            super().on_written()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begins some work that the session does not wait for; the program's end does."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.state.over and not self._tasks:
            self.site.running.discard(self)


def _message_of(kept: Kept) -> str:
    try:
        message = json.loads(kept.body or b"")["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return message if isinstance(message, str) else ""


def _reason(text: str) -> str:
    return text.encode()[:_LONGEST_REASON].decode(errors="ignore")
