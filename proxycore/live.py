"""Live sessions: WebSockets, relayed both ways message by message.

    the handshake: a passage through the keys     refused: another key, as for any request
    then the client's own handshake is answered
    the client's first message says what the session is about: a passage through the keys that will do,
    beginning with the one whose session is open
      the upstream's first message                the session has begun, with one key to its end
      a close that speaks of the key, or none     another key gets all that the client has said so far
    messages go both ways, each read when the one before it was taken
    whoever closes first, the other side is closed with the same code and reason

An ephemeral token is Google's own credential: it goes on as it is, and no key with it.
"""

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tornado.websocket import WebSocketClosedError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from proxycore.affinity import MOST_NAMES, Scope, session_steps
from proxycore.auth_token import AuthToken
from proxycore.closing import BROKEN_OFF, Closing, closing
from proxycore.credentials import credential, without_credentials
from proxycore.fields import upstream_fields
from proxycore.handshake import handshake_fault, subprotocols_in
from proxycore.kept import Kept
from proxycore.key import Key
from proxycore.lesson import scanner_for
from proxycore.live_client import LiveClient
from proxycore.messages import UpstreamError
from proxycore.outcome import Answer
from proxycore.passage import Passage
from proxycore.paths import VERSION
from proxycore.pool import Pool
from proxycore.replay import Message, Replay
from proxycore.session import UpstreamSession, close_frame_of, open_session
from proxycore.usage import usage_in

LIVE_PATHS = rf"/+(?:ws/.*|{VERSION}/interactions/live)"
"""The paths of Live sessions, as a regular expression."""

_NEW_HANDLE = re.compile(rb'"newHandle"\s*:\s*"([^"\\]{1,2048})"')
_JSON = [("Content-Type", "application/json")]  # which messages are
_SEARCHED = 64 * 1024  # bytes of a message that are searched for names


class LiveHandler(LiveClient):
    """Relays one session."""

    SUPPORTED_METHODS = ("GET", "OPTIONS")

    def initialize(self, pool: Pool) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize(pool)
        self._session: UpstreamSession | None = None
        self._session_key: Key | None = None  # None as well where its credential is the client's token
        self._replay = Replay()
        self._told: Closing | None = None  # the last words with which the upstream refused it
        self._lesson = scanner_for(self.path, _JSON)
        self._scoped = False  # whether the client has said what the session is about

    async def get(self) -> None:
        """The handshake, and the whole session."""
        await self._answer()

    async def serve(self) -> None:
        """Opens a session upstream, answers the client's handshake, and relays the session to its end."""
        if fault := handshake_fault(self.request):
            self.refuse(400, fault)
        elif not self.check_origin(self.request.headers.get("Origin", "")):
            self.refuse(403, "Pages of this origin may not call (CORS_ALLOW_ORIGIN).")
        elif self.token:
            await self.serve_token(self.token)
        else:
            await self._serve_with_keys()

    async def serve_token(self, token: AuthToken) -> None:
        """Relays a session that the client's token allows."""
        minter = self.pool.owners.of(token.name)
        self.record.key, self.record.attempts = (minter.name if minter else "token"), 1
        answer = await self._open_with(None)
        if self._session:
            self._session.send(self._replay)
            answer = await self._answer_of(self._session)
        if isinstance(answer, Closing):
            self.close_as(answer)
        elif isinstance(answer, UpstreamError):
            self.refuse(500, str(answer), status="UNAVAILABLE")
        elif answer:
            self.send_kept(answer)
        elif self._session:
            await self._relay_session(self._session, minter)

    async def _serve_with_keys(self) -> None:
        scope = Scope("")
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

    async def _negotiate(self, exchange: Passage) -> bool:
        """Try key after key until a session has begun or its subject is known; False if none serves it."""
        with exchange:
            while call := await exchange.next_call():
                answer = await self._attempt(exchange, call.key)
                if answer is None:
                    return True
                exchange.settle(answer)
        return False

    @property
    def _last_attempt(self) -> bool:
        """Whether the session may cost no more than one other attempt."""
        return 0 < self.pool.max_attempts <= self.record.attempts + 1

    async def _read_scope(self) -> Scope:
        """What the session is about, by the client's first message."""
        first = self._replay.begun.result()
        body = first.encode() if isinstance(first, str) else first
        scope = await self.pool.turns.run(session_steps(body))
        self._scoped = True
        return scope

    async def _attempt(self, exchange: Passage, key: Key) -> Answer | None:
        """Has the upstream begin the session with this key; None as well if it turns out what it is about."""
        session = self._session
        if session is None or self._session_key is not key:
            if answer := await self._open_with(key):
                return answer
            session = self._session
        assert session is not None  # noqa: S101 - just opened
        scope, replay = exchange.scope, self._replay
        news: set[asyncio.Future[Any]]
        if not self._scoped:
            news = {replay.begun}
        else:
            session.send(replay)
            # Where it is not known what is spoken here, the upstream may well never answer.
            news = set() if scope.model or scope.resources else {replay.filled}
        await asyncio.wait({*news, session.answer}, return_when=asyncio.FIRST_COMPLETED)
        if session.answer.done() and (answer := await self._answer_of(session)):
            return answer
        if not session.answer.done() and not self._scoped:
            exchange.hand_over()
            return None
        exchange.commit(101)
        self._begin(session)
        return None

    async def _answer_of(self, session: UpstreamSession) -> Answer | None:
        """How the upstream closed a session before it began; None once it has begun."""
        if await session.answer is not None:
            return None
        self._drop(1000, "")
        closing = self._closing(session.connection)
        if closing.code != BROKEN_OFF:
            self._told = closing
        return closing

    def _closing(self, connection: ClientConnection) -> Closing:
        code, reason = close_frame_of(connection) or (BROKEN_OFF, "")
        return closing(code, reason, now=self.pool.clock.wall())

    def _begin(self, session: UpstreamSession) -> None:
        """There is no way back from here on."""
        session.send(self._replay)
        self._replay.end()
        self.session_begun = True

    async def _open_with(self, key: Key | None) -> Answer | None:
        """Opens a session with a key, or with the token that the client has; None when it is open.

        The first one answers the client's handshake.
        """
        self._drop(1000, "")
        try:
            connection = await self._connect(key)
        except UpstreamError as error:
            return error.with_traceback(None)
        if not isinstance(connection, ClientConnection):
            return connection
        self._session, self._session_key = UpstreamSession(connection), key
        if not self.accepted:
            await self.accept()
        return None

    def drop_upstream(self, code: int | None, reason: str | None) -> None:
        """Closes the upstream's side with this code and reason; without a code at once."""
        self._replay.end()
        self._drop(code, reason)

    def _drop(self, code: int | None, reason: str | None) -> None:
        session, self._session = self._session, None
        if session:
            self.start(session.close(code, reason))

    async def _connect(self, key: Key | None) -> ClientConnection | Kept:
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
        if self.accepted:  # one was chosen, or none
            offered = [self.selected_subprotocol] if self.selected_subprotocol else []
        return await open_session(self.pool.upstream, target, fields, offered)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:  # noqa: ARG002 - Tornado's signature
        """The upstream's choice."""
        return self._session.connection.subprotocol if self._session else None

    async def on_message(self, message: Message) -> None:
        """The client's next message; the one after it is read when this was taken."""
        self.record.received_bytes += len(message)
        replay = self._replay
        if not replay.over:
            replay.put(message)
            if replay.full:
                await self.as_long_as_there(replay.ended)
        elif session := self._session:
            sending = session.send_next(message)
            await (sending if session.can_send_at_once(message) else self.as_long_as_there(sending))

    async def _relay_session(self, session: UpstreamSession, key: Key | None) -> None:
        """Passes on what the upstream says, to the session's end. Handles in it are this key's."""
        self._begin(session)
        try:
            first = await session.answer
            if first is not None:
                await self._pass_down(first, key)
                async for message in session.connection:
                    await self._pass_down(message, key)
        except ConnectionClosed:
            pass
        except WebSocketClosedError:
            return
        self.close_as(self._closing(session.connection))

    async def _pass_down(self, message: Message, key: Key | None) -> None:
        body = message.encode() if isinstance(message, str) else message
        if key:
            self.pool.owners.hear(self._names_in(body), key)
        if b'"usageMetadata"' in body:
            self.count_tokens(usage_in(body))
        self.record.sent_bytes += len(body)
        await self.write_message(message, binary=isinstance(message, bytes))

    def _names_in(self, body: bytes) -> Iterator[str]:
        """The names of what a message tells of: handles to go on with, and interactions."""
        start = body[:_SEARCHED]
        if b'"newHandle"' in start:
            matches = islice(_NEW_HANDLE.finditer(start), MOST_NAMES)
            yield from (f"handle/{match[1].decode(errors='replace')}" for match in matches)
        if self._lesson and b'"interaction' in start:
            yield from self._lesson.read(start)

    def conclude(self, exchange: Passage) -> None:
        """Answers the client after a passage in which no session was begun."""
        last = exchange.last if isinstance(exchange.last, Closing) else self._told
        if last:
            self.close_as(last)
        else:
            super().conclude(exchange)
