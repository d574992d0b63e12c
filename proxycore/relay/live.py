"""Live sessions: WebSockets, relayed both ways message by message.

    1. a session is opened upstream; if the handshake is refused, with another key, as for any request
    2. the client's own handshake is accepted
    3. the client's first message has the session's scope: a second exchange tries the keys that can serve it,
       beginning with the one whose session is open
         the upstream's first message        the session has begun, and keeps its key to its end
         a close about the key, or none      another key gets all messages that the client has sent so far
    4. messages are relayed both ways, each read once the one before it was sent
    5. when one side closes, the other is closed with the same code and reason

An ephemeral token is Google's own credential: it is sent upstream as it is, and no key with it.
"""

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tornado.websocket import WebSocketClosedError

from proxycore.gemini.auth_token import AuthToken
from proxycore.gemini.paths import VERSION
from proxycore.gemini.request_scope import MOST_NAMES, RequestScope, session_steps
from proxycore.gemini.response_scanner import scanner_for
from proxycore.gemini.token_usage import usage_in
from proxycore.http.credentials import credential, without_credentials
from proxycore.http.fields import upstream_fields
from proxycore.http.websocket_handshake import handshake_fault, subprotocols_in
from proxycore.relay.exchange import Exchange
from proxycore.relay.live_client import LiveClient
from proxycore.relay.live_close import BROKEN_OFF, LiveClose, live_close
from proxycore.relay.outcome import AttemptResult
from proxycore.relay.pool import Pool
from proxycore.rotation.key import Key
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import UpstreamError
from proxycore.transport.replay import Message, Replay
from proxycore.transport.websocket import (
    UpstreamClosed,
    UpstreamConnection,
    UpstreamSession,
    close_frame_of,
    open_session,
)

LIVE_PATHS = rf"/+(?:ws/.*|{VERSION}/interactions/live)"
"""The paths of Live sessions, as a regular expression."""

_NEW_HANDLE = re.compile(rb'"newHandle"\s*:\s*"([^"\\]{1,2048})"')
_JSON = [("Content-Type", "application/json")]  # of every message
_SEARCHED = 64 * 1024  # bytes of a message that are searched for names


class LiveHandler(LiveClient):
    """Relays one session."""

    SUPPORTED_METHODS = ("GET", "OPTIONS")

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        self._session: UpstreamSession | None = None
        self._session_key: Key | None = None  # None also where its credential is the client's token
        self._replay = Replay()
        self._refusal: LiveClose | None = (
            None  # the last close frame with which the upstream refused the session
        )
        self._scanner = scanner_for(self.path, _JSON)
        self._scoped = False  # whether the client's first message has been read

    async def get(self) -> None:
        """Serve the whole session."""
        await self._respond()

    async def serve(self) -> None:
        """Open a session upstream, accept the client's handshake, and relay the session to its end."""
        if fault := handshake_fault(self.request):
            self.refuse(400, fault)
        elif not self.check_origin(self.request.headers.get("Origin", "")):
            self.refuse(403, "Requests from this origin are not allowed (CORS_ALLOW_ORIGIN).")
        elif self.token:
            await self.serve_token(self.token)
        else:
            await self._serve_with_keys()

    async def serve_token(self, token: AuthToken) -> None:
        """Relay a session with the client's token."""
        minter = self.pool.affinity.of(token.name)
        self.record.key, self.record.attempts = (minter.name if minter else "token"), 1
        result = await self._open_with(None)
        if self._session:
            self._session.send(self._replay)
            result = await self._refusal_by(self._session)
        if isinstance(result, LiveClose):
            self.close_as(result)
        elif isinstance(result, UpstreamError):
            self.refuse(500, str(result), status="UNAVAILABLE")
        elif result:
            self.send_buffered(result)
        elif self._session:
            await self._relay_session(self._session, minter)

    async def _serve_with_keys(self) -> None:
        scope = RequestScope("")
        while exchange := self.exchange(scope, once=self._last_attempt):
            if self._session and self._session_key:
                exchange.prefer(self._session_key)
            if not await self._negotiate(exchange):
                self.conclude(exchange)
                return
            if self.session_begun and self._session:
                await self._relay_session(self._session, self._session_key)
                return
            scope = await self._read_scope()

    async def _negotiate(self, exchange: Exchange) -> bool:
        """Try keys until a session has begun or its first message is there; False if none serves it."""
        with exchange:
            while call := await exchange.next_call():
                result = await self._attempt(exchange, call.key)
                if result is None:
                    return True
                exchange.settle(result)
        return False

    @property
    def _last_attempt(self) -> bool:
        """Whether only one more attempt is allowed."""
        return 0 < self.pool.max_attempts <= self.record.attempts + 1

    async def _read_scope(self) -> RequestScope:
        """The scope of the session, from the client's first message."""
        first = self._replay.begun.result()
        body = first.encode() if isinstance(first, str) else first
        scope = await self.pool.turns.run(session_steps(body))
        self._scoped = True
        return scope

    async def _attempt(self, exchange: Exchange, key: Key) -> AttemptResult | None:
        """Begin the session with this key. None if it has begun, or if the client sent its first message."""
        session = self._session
        if session is None or self._session_key is not key:
            if result := await self._open_with(key):
                return result
            session = self._session
        assert session is not None  # noqa: S101 - just opened
        scope, replay = exchange.scope, self._replay
        events: set[asyncio.Future[Any]]
        if not self._scoped:
            events = {replay.begun}
        else:
            session.send(replay)
            # Where the protocol is unknown, the upstream may never send anything.
            events = set() if scope.model or scope.resources else {replay.filled}
        await asyncio.wait({*events, session.first_message}, return_when=asyncio.FIRST_COMPLETED)
        if session.first_message.done() and (result := await self._refusal_by(session)):
            return result
        if not session.first_message.done() and not self._scoped:
            exchange.hand_over()
            return None
        exchange.commit(101)
        self._begin(session)
        return None

    async def _refusal_by(self, session: UpstreamSession) -> AttemptResult | None:
        """The close frame with which the upstream refused the session; None if it has begun."""
        if await session.first_message is not None:
            return None
        self._close_session(1000, "")
        closing = self._closing(session.connection)
        if closing.code != BROKEN_OFF:
            self._refusal = closing
        return closing

    def _closing(self, connection: UpstreamConnection) -> LiveClose:
        code, reason = close_frame_of(connection) or (BROKEN_OFF, "")
        return live_close(code, reason, now=self.pool.clock.wall())

    def _begin(self, session: UpstreamSession) -> None:
        """Commit to this session: no other one is possible from here on."""
        session.send(self._replay)
        self._replay.end()
        self.session_begun = True

    async def _open_with(self, key: Key | None) -> AttemptResult | None:
        """Open a session with a key, or with the client's token (None); return None when it is open.

        The first one that is open accepts the client's handshake.
        """
        self._close_session(1000, "")
        try:
            connection = await self._connect(key)
        except UpstreamError as error:
            return error.with_traceback(None)
        if not isinstance(connection, UpstreamConnection):
            return connection
        self._session, self._session_key = UpstreamSession(connection), key
        if not self.accepted:
            await self.accept()
        return None

    def close_upstream(self, code: int | None, reason: str | None) -> None:
        """Close the upstream's side with this code and reason, or abort it if there is no code."""
        self._replay.end()
        self._close_session(code, reason)

    def _close_session(self, code: int | None, reason: str | None) -> None:
        session, self._session = self._session, None
        if session:
            self.start(session.close(code, reason))

    async def _connect(self, key: Key | None) -> UpstreamConnection | BufferedResponse:
        query, token = self.request.query, self.token
        query = token.query(query) if token else without_credentials(query)
        target = self.path + (f"?{query}" if query else "")
        fields = [
            (name, value)
            for name, value in upstream_fields(self.request.headers.get_all())
            if not name.lower().startswith("sec-websocket-")
        ]
        if key:
            fields.append(credential(key.secret, target))
        elif token and token.field:
            fields.append(token.field)
        offered = subprotocols_in(self.request)
        if self.accepted:  # the client was told which one is selected
            offered = [self.selected_subprotocol] if self.selected_subprotocol else []
        upstream = self.pool.upstream
        behind = key or (self.pool.affinity.of(token.name) if token else None)
        proxy = behind.proxy if behind else upstream.route.proxy
        return await open_session(upstream, target, fields, offered, proxy=proxy)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:  # noqa: ARG002 - Tornado's signature
        """Select the subprotocol that the upstream selected."""
        return self._session.connection.subprotocol if self._session else None

    async def on_message(self, message: Message) -> None:
        """Send the client's next message upstream; the one after it is read when this one was sent."""
        self.record.received_bytes += len(message)
        replay = self._replay
        if not replay.over:
            replay.put(message)
            if replay.full:
                await self.while_connected(replay.ended)
        elif session := self._session:
            sending = session.send_next(message)
            await (sending if session.can_send_at_once(message) else self.while_connected(sending))

    async def _relay_session(self, session: UpstreamSession, key: Key | None) -> None:
        """Relay the upstream's messages to the session's end. Resumption handles in them belong to `key`."""
        self._begin(session)
        try:
            first = await session.first_message
            if first is not None:
                await self._send_down(first, key)
                async for message in session.connection:
                    await self._send_down(message, key)
        except UpstreamClosed:
            pass
        except WebSocketClosedError:
            return
        self.close_as(self._closing(session.connection))

    async def _send_down(self, message: Message, key: Key | None) -> None:
        body = message.encode() if isinstance(message, str) else message
        if key:
            self.pool.affinity.learn_mentioned(self._names_in(body), key)
        if b'"usageMetadata"' in body:
            self.count_tokens(usage_in(body))
        self.record.sent_bytes += len(body)
        self.activity.at = self._loop.time()
        await self.write_message(message, binary=isinstance(message, bytes))

    def _names_in(self, body: bytes) -> Iterator[str]:
        """The names of resumption handles and interactions in a message."""
        start = body[:_SEARCHED]
        if b'"newHandle"' in start:
            matches = islice(_NEW_HANDLE.finditer(start), MOST_NAMES)
            yield from (f"handle/{match[1].decode(errors='replace')}" for match in matches)
        if self._scanner and b'"interaction' in start:
            yield from self._scanner.scan(start)

    def conclude(self, exchange: Exchange) -> None:
        """Respond to the client after an exchange in which no session has begun."""
        last = exchange.last if isinstance(exchange.last, LiveClose) else self._refusal
        if last:
            self.close_as(last)
        else:
            super().conclude(exchange)
