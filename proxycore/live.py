"""Live sessions: WebSockets, relayed both ways message by message.

    the handshake: a passage through the keys     refused: another key, as for any request
    then the client's own handshake is answered   one key for the whole session
    the first message names what the session is about: if that belongs to another key, the session moves
    there before anything is sent
    messages go both ways, each read when the one before it was taken
    whoever closes first, the other side is closed with the same code and reason

An ephemeral token is Google's own credential: it goes on as it is, and no key with it.
"""

import asyncio
import contextlib
import re
from collections.abc import Coroutine
from itertools import islice
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from proxycore.affinity import MOST_NAMES, Scope, scope_steps
from proxycore.attempt import UpstreamError
from proxycore.headers import Fields, credential, query_values, upstream_fields, without_credentials
from proxycore.key import Key
from proxycore.owners import OwnersDifferError
from proxycore.passage import Answer, Pool
from proxycore.relay import RelayHandler
from proxycore.session import close_session, closing_of, open_session
from proxycore.usage import usage_in
from proxycore.verdict import HEALTHY

LIVE_PATHS = r"/+ws/.*"
"""The paths of Live sessions, as a regular expression."""

_TOKEN = "auth_tokens/"  # noqa: S105 - how every ephemeral token begins (ai.google.dev/gemini-api/docs/ephemeral-tokens)
_NEW_HANDLE = re.compile(rb'"newHandle"\s*:\s*"([^"\\]{1,2048})"')
_HANDLE = re.compile(rb'"handle"\s*:\s*"([^"\\]{1,2048})"')
_REGULAR = {1000, 1001, 1005}  # codes of sessions that ended as they should (RFC 6455 §7.4.1)
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN_OF_HTTP = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_SEARCHED = 64 * 1024  # bytes of a message that are searched for a handle
_LONGEST_REASON = 123  # bytes, in UTF-8 (RFC 6455 §5.5)


class LiveHandler(RelayHandler, WebSocketHandler):
    """Relays one session."""

    SUPPORTED_METHODS = ("GET", "OPTIONS")

    def initialize(self, pool: Pool) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize(pool)
        self._token = _token_of(self.request)
        self._session: ClientConnection | None = None
        self._key: Key | None = None
        self._begun = False  # whether the client has said what the session is about
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_capability(self) -> bool:
        """A token allows by itself what it was minted for; the upstream knows whether it is one."""
        return self._token is not None

    async def get(self) -> None:
        """The handshake, and the whole session."""
        await self._answer()

    async def serve(self) -> None:
        """Opens the session upstream, and then answers the client's handshake."""
        headers = self.request.headers
        if fault := self._handshake_fault():
            self.refuse(400, fault)
        elif not self.check_origin(headers.get("Origin", "")):
            self.refuse(403, "Pages of this origin may not call (CORS_ALLOW_ORIGIN).")
        elif self._token:
            await self._serve_token(self._token)
        elif passage := self.passage(Scope("")):

            async def attempt(key: Key, _fresh: bool) -> Answer | None:
                answer = await self._connect(key)
                if answer is None:
                    passage.settle(HEALTHY, 101)
                    await self._converse()
                return answer

            if not await passage.run(attempt):
                self.conclude(passage)

    def _handshake_fault(self) -> str:
        """What is wrong with the client's handshake (RFC 6455 §4.2.1); empty if nothing is."""
        headers = self.request.headers
        options = [option.strip().lower() for option in headers.get("Connection", "").split(",")]
        if headers.get("Upgrade", "").lower() != "websocket" or not self.get_websocket_protocol():
            return "Live sessions are WebSockets, version 13: this address takes nothing else."
        if "upgrade" not in options:
            return "The Connection field of a WebSocket's handshake has to say Upgrade."
        if not _KEY.fullmatch(headers.get("Sec-WebSocket-Key", "")):
            return "Sec-WebSocket-Key is not 16 bytes in base64."
        names = self._subprotocols
        if len(set(names)) < len(names) or not all(map(_TOKEN_OF_HTTP.fullmatch, names)):
            return "Sec-WebSocket-Protocol is not a list of different names."
        return ""

    @property
    def _subprotocols(self) -> list[str]:
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        return [name.strip() for name in offered if name.strip()]

    async def _serve_token(self, token: str) -> None:
        minter = self.pool.owners.of(token)
        self.record.key, self.record.attempts = (minter.name if minter else "token"), 1
        answer = await self._connect(None)
        if answer is None:
            self._key = minter
            await self._converse()
        elif isinstance(answer, UpstreamError):
            self.refuse(500, str(answer), status="UNAVAILABLE")
        else:
            self.send_kept(answer)

    async def _connect(self, key: Key | None) -> Answer | None:
        """Opens the session with a key, or with the token that the client has; None when it is open."""
        query = without_credentials(self.request.query, kept="" if key else "access_token")
        target = self.path + (f"?{query}" if query else "")
        fields = [
            (name, value)
            for name, value in upstream_fields(self.request.headers.get_all())
            if not name.lower().startswith("sec-websocket-")
        ]
        fields += [credential(key.secret, target)] if key else _token_fields(self.request)
        try:
            session = await open_session(self.pool.upstream, target, fields, self._subprotocols)
        except UpstreamError as error:
            return error.with_traceback(None)
        if not isinstance(session, ClientConnection):
            return session
        self._session, self._key = session, key
        return None

    async def _converse(self) -> None:
        """Answers the client's handshake; returns when the session has ended."""
        try:
            await WebSocketHandler.get(self)
        finally:
            self.on_close()

    def check_origin(self, origin: str) -> bool:
        """Pages may open sessions as they may call."""
        return self.site.cors.allows(origin)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:  # noqa: ARG002 - Tornado's signature
        """The upstream's choice."""
        return self._session.subprotocol if self._session else None

    def open(self, *_: str, **__: str) -> None:
        """The client's handshake was answered."""
        self.note_first_byte()
        self.record.kind = "live"
        self.set_nodelay(True)
        if self._session:
            self._start(self._relay_down(self._session))

    async def on_message(self, message: str | bytes) -> None:
        """The client's next message; the one after it is read when this was taken."""
        self.record.received_bytes += len(message)
        if not self._begun:
            self._begun = True
            if not await self._move_to_owner(message):
                return
        if self._session:
            with contextlib.suppress(ConnectionClosed):
                # Of a session that is closed the other direction tells the client.
                await self._session.send(message)

    async def _move_to_owner(self, message: str | bytes) -> bool:
        """Moves the session to the key that owns what its first message names, if that is another."""
        owners = self.pool.owners
        body = message.encode() if isinstance(message, str) else message
        scope = await self.pool.turns.run(scope_steps("", body))
        self.record.model = scope.model
        try:
            owner = owners.owner(Scope(scope.model, (*scope.resources, *_handles_in(_HANDLE, body))))
        except OwnersDifferError as error:
            self.close(1008, _reason(str(error)))
            return False
        if owner is None or owner is self._key or self._token:
            return True
        before, self._session = self._session, None
        if before:
            self._start(close_session(before, 1000, ""))
        answer = await self._connect(owner)
        if answer is not None or self._session is None:
            self.close(
                1011, _reason(f"The key that owns what this session names can't be used: key {owner.name}.")
            )
            return False
        self.record.key = owner.name
        self.record.attempts += 1
        self._start(self._relay_down(self._session))
        return True

    async def _relay_down(self, session: ClientConnection) -> None:
        try:
            async for message in session:
                body = message.encode() if isinstance(message, str) else message
                if self._key and b'"newHandle"' in body[:_SEARCHED]:
                    self.pool.owners.learn(_handles_in(_NEW_HANDLE, body), self._key)
                if b'"usageMetadata"' in body:
                    self.use(usage_in(body))
                self.record.sent_bytes += len(body)
                await self.write_message(message, binary=isinstance(message, bytes))
        except ConnectionClosed:
            pass
        except WebSocketClosedError:
            return
        if session is self._session:
            self._end(closing_of(session))

    def _end(self, closing: tuple[int, str] | None) -> None:
        """Closes the client's side as the upstream closed its own; broken off, if that is what it did."""
        if closing:
            code, reason = closing
            if code not in _REGULAR:
                self.record.reason = f"The upstream closed the session with code {code}"
            self.close(code, _reason(self.site.redactor.text(reason)))
        elif self.ws_connection and self.ws_connection.stream:
            self.record.reason = "The upstream broke off"
            self.ws_connection.stream.close()

    def on_close(self) -> None:
        """The client's side is closed: the upstream's is closed alike."""
        if self.get_status() == 101:
            self.close_record(101)
        if self._session:
            self._start(close_session(self._session, self.close_code, self.close_reason))
            self._session = None

    def on_connection_close(self) -> None:
        """The client's side is gone; the session runs until the upstream's is, too."""
        super().on_connection_close()
        if self._tasks:
            self.site.running.add(self)

    def cut(self) -> None:
        """Ends the session because the program ends."""
        if self.ws_connection:
            self.close(1001, "The proxy is going away.")
        else:
            super().cut()

    def on_finish(self) -> None:
        """The handshake was answered; the record is closed at the session's end."""
        if self.get_status() != 101:
            super().on_finish()

    def on_written(self) -> None:
        """The same: the session goes on running."""
        if self.get_status() != 101:
            super().on_written()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._closed and not self._tasks:
            self.site.running.discard(self)


def _token_of(request: HTTPServerRequest) -> str | None:
    offers = query_values(request.query, "access_token")
    offers += [
        value.strip().removeprefix("Token ").strip() for value in request.headers.get_list("Authorization")
    ]
    return next((offer for offer in offers if offer.startswith(_TOKEN)), None)


def _token_fields(request: HTTPServerRequest) -> Fields:
    values = request.headers.get_list("Authorization")
    return [("Authorization", value) for value in values if _TOKEN in value]


def _handles_in(pattern: re.Pattern[bytes], body: bytes) -> list[str]:
    matches = islice(pattern.finditer(body, 0, _SEARCHED), MOST_NAMES)
    return [f"handle/{match[1].decode(errors='replace')}" for match in matches]


def _reason(text: str) -> str:
    return text.encode()[:_LONGEST_REASON].decode(errors="ignore")
