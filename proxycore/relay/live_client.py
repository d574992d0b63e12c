"""The client's side of a Live session: one WebSocket, however many the proxy opens upstream.

Before the handshake is accepted, the session is refused with plain HTTP, after it with the close code that
corresponds. The record is closed with the WebSocket, with status 101 if the session had begun.
"""

import asyncio
import json
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, cast

from tornado.websocket import WebSocketHandler

from proxycore.http.error_response import summary_of
from proxycore.http.handler_state import HandlerState
from proxycore.http.idle_timer import Activity
from proxycore.relay.handler import ENDED, RelayHandler
from proxycore.relay.live_close import BROKEN_OFF, LiveClose
from proxycore.relay.pool import Pool
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.websocket_stream import WebSocketStream

_LONGEST_REASON = 123  # bytes, in UTF-8 (RFC 6455 §5.5)
# The close codes that mean the same as an HTTP status: Try Again Later (IANA's registry of
# close codes), Internal Error and Policy Violation (RFC 6455 §7.4.1).
_AGAIN, _FAILED, _REFUSED = 1013, 1011, 1008


class LiveClient(RelayHandler, WebSocketHandler):
    """A client's WebSocket.

    `session_begun` is whether the upstream has begun the session, and `activity` tells when the client was
    sent something last.
    """

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        self.session_begun = False
        self.activity = Activity(self._loop)
        self._opened = self._loop.create_future()  # done when the handshake was accepted
        self._ending = HandlerState.LEFT, 499  # the final state if the session does not begin
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def accepted(self) -> bool:
        """Whether the client's handshake was accepted."""
        return self._opened.done()

    async def accept(self) -> None:
        """Accept the client's handshake, and begin to read its messages."""
        receiving = self.start(WebSocketHandler.get(self))
        await asyncio.wait({receiving, self._opened}, return_when=asyncio.FIRST_COMPLETED)

    def close_upstream(self, code: int | None, reason: str | None) -> None:
        """Close the upstream's side with this code and reason, or abort it if there is no code."""

    def check_origin(self, origin: str) -> bool:
        """Allow the origins whose pages may send requests."""
        return self.context.cors.allows(origin)

    def open(self, *_: str, **__: str) -> None:
        """Called by Tornado when the handshake was accepted."""
        self.note_first_byte()
        self.activity.at = self._loop.time()
        self.record.kind, self.record.path, self.record.activity = "live", self.request.path, self.activity
        self.set_nodelay(True)
        self._opened.set_result(None)

    async def while_connected(self, work: Awaitable[None]) -> None:
        """Wait for `work` while the client is connected; its next message is not read meanwhile."""
        waiting = asyncio.ensure_future(work)
        if self.ws_connection:
            stream = cast("WebSocketStream", self.ws_connection.stream)
            await asyncio.wait({waiting, stream.disconnected}, return_when=asyncio.FIRST_COMPLETED)
            if stream.disconnected.done():
                self.on_connection_close()
        waiting.cancel()

    def close_as(self, closing: LiveClose) -> None:
        """Close the client's side as the upstream closed its own, with or without a close frame."""
        self.close_upstream(1000, "")
        self._ending = HandlerState.FINISHED, closing.head.status
        if closing.code != BROKEN_OFF:
            if not closing.regular:
                self.record.reason = f"The upstream closed the session with code {closing.code}"
            self.close(closing.code, _reason(self.context.redactor.text(closing.text)))
        elif self.ws_connection and self.ws_connection.stream:
            self.record.reason = "The upstream broke off the connection"
            self.ws_connection.stream.close()

    def refuse(self, code: int, message: str, **options: Any) -> None:  # noqa: ANN401 - those of `BaseHandler`
        """Refuse the handshake, or close the session with a code that means the same if it was accepted."""
        if not self.accepted:
            super().refuse(code, message, **options)
            return
        message = self.context.redactor.text(message)
        self._note_refusal(message)
        self._close_with(code, message)

    def _close_with(self, code: int, message: str) -> None:
        """Close the session with a code that means the same as this HTTP status."""
        self.close_upstream(1000, "")
        self._ending = HandlerState.FINISHED, code
        self.record.reason = self.record.reason or summary_of(message)
        closes = _AGAIN if code in {429, 503} else _FAILED if code >= 500 else _REFUSED
        self.close(closes, _reason(message))

    def refuse_for(self, seconds: int, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        """Refuse until so many seconds have passed, which the message names."""
        if self.accepted:
            self.refuse(429, message)
        else:
            super().refuse_for(seconds, message, details)

    def send_buffered(self, response: BufferedResponse) -> None:
        """Send a response to the handshake, or close with its message if the handshake was accepted."""
        if not self.accepted:
            super().send_buffered(response)
            return
        message = _message_of(response) or f"The upstream responded with status {response.head.status}."
        self._close_with(response.head.status, self.context.redactor.text(message))

    def on_close(self) -> None:
        """Called by Tornado when the client's side is closed: close the upstream's side alike."""
        if self.get_status() == 101:
            self.end_request(*((HandlerState.FINISHED, 101) if self.session_begun else self._ending))
        self.close_upstream(self.close_code, self.close_reason)

    def on_connection_close(self) -> None:
        """The client has disconnected; the session counts as running until the upstream's side is closed."""
        WebSocketHandler.on_connection_close(self)
        super().on_connection_close()
        if self._tasks:
            self.context.running.add(self)

    def cut(self) -> None:
        """Close the session because the program ends."""
        if self.ws_connection:
            self.close(1001, "The proxy is shutting down.")
        elif self.state is not HandlerState.UPGRADED:  # whose socket is closed by now
            super().cut()

    def end_by_hand(self) -> None:
        """End the session, as the operator asks for: with a close code once it was accepted."""
        if self.accepted:
            self.record.ended = True
            self.refuse(499, ENDED)
        else:
            super().end_by_hand()

    def on_finish(self) -> None:
        """Close the record, unless the session has been accepted: then it is closed at the session's end."""
        if self.get_status() != 101:
            super().on_finish()
        elif not self.state.over:
            self._become(HandlerState.UPGRADED)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start work that the session does not wait for, but the program does when it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.state.over and not self._tasks:
            self.context.running.discard(self)


def _message_of(response: BufferedResponse) -> str:
    try:
        message = json.loads(response.body or b"")["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return message if isinstance(message, str) else ""


def _reason(text: str) -> str:
    return text.encode()[:_LONGEST_REASON].decode(errors="ignore")
