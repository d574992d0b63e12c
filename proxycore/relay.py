"""The relay of a request whose body is held, so that it can be sent again with another key.

    the body comes, as far as there is room for it
    the body is whole
      a passage through the keys               2xx: to the client, chunk by chunk   [committed]
                                               a stream of events: once its first is no error
                                               else: kept, judged, and perhaps another attempt
    no attempt is left: the last answer goes to the client, if it was about the request

2xx is streamed, anything else is kept until judged. Once committed there is no way back: an upstream
that breaks off then cuts the client. A client that leaves cancels the work, whatever it is at.
"""

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from http.client import responses

from proxycore.address import ADDRESSES, Places
from proxycore.affinity import Scope, scope_of, scope_steps
from proxycore.attempt import Attempt
from proxycore.auth import offered_keys
from proxycore.auth_token import AuthToken, token_of
from proxycore.body_handler import BodyHandler
from proxycore.credentials import credential, credential_part, without_credentials
from proxycore.downstream import Downstream
from proxycore.feed import Feed
from proxycore.fields import GROUP_FIELD, Fields, downstream_fields, upstream_fields, values_of
from proxycore.first_event import FirstEvent
from proxycore.handler_state import HandlerState
from proxycore.head import Head
from proxycore.held_body import HeldBody
from proxycore.judge import judge_error
from proxycore.kept import KEPT_BYTES, Kept
from proxycore.key import Key
from proxycore.lesson import scanner_for
from proxycore.log import logger
from proxycore.messages import Outgoing, UpstreamError
from proxycore.methods import repeatable, spends
from proxycore.opening import Opening
from proxycore.outcome import Answer, reason_of
from proxycore.owners import OwnersDifferError
from proxycore.passage import Passage
from proxycore.paths import canonical
from proxycore.pool import Pool
from proxycore.record import RequestOutcome
from proxycore.request_case import case_of
from proxycore.usage import Usage, usage_in
from proxycore.verdict import HEALTHY, Verdict

# The upstream would resolve them, and so find another path than the one that was looked at here.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[eE]){1,2}(?=/|$)")
_LONGEST_GROUP = 128  # characters; it is remembered
_EVENT_STREAM = re.compile(r"(?i)[ \t]*text/event-stream[ \t]*(?:;|$)")
_BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1


class RelayHandler(BodyHandler):
    """Relays one request."""

    def initialize(self, pool: Pool) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize(pool)
        self.path = canonical(self.request.path)
        headers = self.request.headers
        self.token = token_of(
            headers.get_list("Authorization"), headers.get_list("x-goog-api-key"), self.request.query
        )
        self._work: asyncio.Task[object] | None = None  # while it is being answered

    def check(self) -> Awaitable[None] | None:
        """Lets in who may come in, before the body does."""
        clients = self.site.clients
        name = clients.name_of(offered_keys(self.request.headers, self.request.query))
        self.record.client = name or "-"
        if name or not clients.required or self.is_capability:
            self.pool.meter.opened(self.record)
        if clients.required and name is None and not self.is_capability:
            return self.refuse_credential(
                "The API key is missing or wrong. Send the key that the operator of this proxy gave you."
            )
        if _DOT_SEGMENT.search(self.request.path):
            self.refuse(404, "A path with dot segments is not relayed.")
        return None

    @property
    def is_capability(self) -> bool:
        """Whether the request is allowed by itself: its token allows what it was minted for, and no more."""
        return self.token is not None

    async def _answer(self) -> None:
        if self.body_whole():
            await self.work()

    get = head = post = put = patch = delete = options = _answer

    async def work(self) -> None:
        """Serves the request, as long as the client stays. Raises nothing but foreign cancellation."""
        if self.state.over:
            return
        self._work = asyncio.current_task()
        try:
            await self.serve()
        except asyncio.CancelledError:
            # The client left, or was cut: both have written the record, and nobody is left to be told.
            if not self.state.over or self._work is None:
                raise
            self._work.uncancel()
        except Exception:  # noqa: BLE001 - logged below; a fault in one request must not touch another
            logger.exception("internal error", extra={"fields": {"id": self.record.request_id}})
            self.refuse(500, "The proxy failed on this request.")
        finally:
            self._work = None

    def on_connection_close(self) -> None:
        """The client has left: whatever is being done for it ends now."""
        super().on_connection_close()
        if self._work:
            self._work.cancel()

    def on_record_closed(self, outcome: RequestOutcome) -> None:
        """Counts the request; a browser's question before it is none."""
        super().on_record_closed(outcome)
        if not self.site.cors.is_preflight(self.request.method, self.request.headers):
            self.pool.meter.closed(self.record, outcome, self._loop.time() - self._started)

    def _fell_silent(self, seconds: float) -> None:
        super()._fell_silent(seconds)
        if self._work:
            self._work.cancel()

    def cut(self) -> None:
        """Closes the client's connection, never as if the answer were whole."""
        super().cut()
        if self._work and self._work is not asyncio.current_task():
            self._work.cancel()

    async def serve(self) -> None:
        """The request's passage through the keys, to its answer."""
        if self.token:
            await self.serve_token(self.token)
            return
        scope = await self.pool.turns.run(scope_steps(self.path, self.body.data, self.request.query))
        if passage := self.passage(scope):
            await self.pass_through(passage, self.outgoing(self.body))

    async def serve_token(self, token: AuthToken) -> None:
        """Relays the request with the client's token, once, and with no key."""
        minter = self.pool.owners.of(token.name)
        self.record.key, self.record.attempts = (minter.name if minter else "token"), 1
        self.record.model = scope_of(self.path, b"").model
        query = token.query(self.request.query)
        outgoing = replace(self.outgoing(self.body), target=self.path + (f"?{query}" if query else ""))
        attempt = Attempt(self.pool.upstream, outgoing, token.field, fresh=False)
        try:
            head = await attempt.head()
            if 200 <= head.status < 300:
                self._commit(head, minter)
                await self._relay(head, attempt, minter, None)
            else:
                self.send_kept(Kept(head, await attempt.read(KEPT_BYTES)))
        except UpstreamError as error:
            self.refuse(500, str(error), status="UNAVAILABLE")
        finally:
            attempt.end()

    def passage(self, scope: Scope, *, once: bool = False) -> Passage | None:
        """The passage of a request with this scope; None when it was refused, for no key could serve it."""
        method = self.request.method or ""
        self.record.model = scope.model
        if group := self.request.headers.get(GROUP_FIELD):
            scope = replace(scope, group=f"group/{self.record.client}/{group[:_LONGEST_GROUP]}")
        try:
            return Passage(
                self.pool,
                scope,
                self.record,
                repeatable=repeatable(method, self.path),
                spends=spends(method, self.path),
                once=once,
                case=case_of(self.request, self.path, len(self.body), self.record),
            )
        except OwnersDifferError as error:
            self.refuse(400, str(error))
            return None

    def outgoing(self, body: HeldBody | Feed) -> Outgoing:
        """The request as it goes upstream."""
        request = self.request
        query = without_credentials(request.query)
        target = self.path + (f"?{query}" if query else "")
        return Outgoing(request.method or "GET", target, upstream_fields(request.headers.get_all()), body)

    async def pass_through(self, passage: Passage, outgoing: Outgoing, key: Key | None = None) -> None:
        """Tries key after key (`key` first, if it is said), and answers the client in any case."""

        async def attempt(key: Key, fresh: bool) -> Answer | None:
            return await self._try(passage, key, outgoing, fresh=fresh)

        if not await passage.run(attempt, key):
            self.conclude(passage)

    async def _try(self, passage: Passage, key: Key, outgoing: Outgoing, *, fresh: bool) -> Answer | None:
        attempt = Attempt(self.pool.upstream, outgoing, credential(key.secret, outgoing.target), fresh=fresh)
        begun = self._loop.time()
        first: FirstEvent | None = None

        def commit(verdict: Verdict) -> None:
            if self.state.over:
                return  # the client left a moment ago; the attempt will hear of it
            passage.settle(verdict, head.status)
            if verdict.healthy:
                self.pool.meter.answered(key, self._loop.time() - begun)
            self._commit(head, key)

        try:
            head = await attempt.head()
            if not 200 <= head.status < 300:
                return Kept(head, await attempt.read(KEPT_BYTES))
            if self._is_stream(head):
                judge = partial(self._judge, passage.scope)
                first = FirstEvent(Opening(self.site.redactor, head.fields), judge, commit, attempt.end_in)
            else:
                commit(HEALTHY)
            await self._relay(head, attempt, key, first)
        except UpstreamError as error:
            if first is None or not first.error:
                return error.with_traceback(None)  # which would hold all of this
        finally:
            attempt.end()
        return Kept(head, first.came, first.error) if first and first.error else None

    def _is_stream(self, head: Head) -> bool:
        """Whether a 2xx answer comes as events, or as the elements of an array."""
        if head.status == 206 or self.request.method == "HEAD":
            return False
        kinds = values_of(head.fields, "content-type")
        return self.path.endswith(":streamGenerateContent") or any(map(_EVENT_STREAM.match, kinds))

    def _judge(self, scope: Scope, error: bytes) -> Verdict | None:
        """What the error that opens a stream says of the key.

        Only a call for an answer is refused by it: what else is streamed (a file, an old interaction) is
        there already, and the client may have written it.
        """
        if not spends(self.request.method or "", self.path):
            return None
        return judge_error(error, now=self.pool.clock.wall(), names_resource=scope.names_resource)

    def _commit(self, head: Head, key: Key | None) -> None:
        """The answer is this one: from here on there is no way back."""
        self._set_head(head, key)
        self._become(HandlerState.STREAMING)
        self.body.drop_when_read()
        self.record.kind = "stream"
        self.note_first_byte()
        self.pool.meter.first_byte(self.record)

    async def _relay(self, head: Head, attempt: Attempt, key: Key | None, first: FirstEvent | None) -> None:
        """Relays a 2xx answer. Raises UpstreamError if it breaks off before it is committed."""
        owners = self.pool.owners
        whole = head.status != 206 and self.request.method != "HEAD"  # a part of something is no error
        opening = first or (Opening(self.site.redactor, head.fields) if whole else None)
        downstream = Downstream(self, opening)
        lesson = scanner_for(self.path, head.fields)

        def learn_and_send(chunk: bytes) -> "asyncio.Future[None] | None":
            if lesson and key:
                owners.hear(lesson.read(chunk), key)
            return downstream.send(chunk)

        try:
            await attempt.relay(learn_and_send if lesson else downstream.send)
        except UpstreamError as error:
            if not self.begun:
                raise
            self.record.reason = f"{error} {error.detail}".strip()
            self.cut()
            return
        finally:
            if self.begun:
                self._count_tokens(head, downstream.tail)
        if first and first.error:
            return
        downstream.end()
        if downstream.gone:
            self.leave()  # before Tornado could say so
        else:
            self.end_answer()

    def _count_tokens(self, head: Head, tail: bytes) -> None:
        if not spends(self.request.method or "", self.path):
            return
        if any(name.lower() == "content-encoding" and value != "identity" for name, value in head.fields):
            self.pool.meter.unread()
        else:
            self.use(usage_in(tail))

    def use(self, usage: Usage) -> None:
        """Counts the tokens that an answer told of."""
        self.record.use(usage)
        self.pool.meter.used(self.record, usage)

    def _set_head(self, head: Head, key: Key | None) -> None:
        self.set_status(head.status, self._phrase(head))
        self.clear_header("Date")
        fields = self.readdressed(downstream_fields(head.fields), key)
        self.add_fields(self.site.redactor.fields(fields))

    def _phrase(self, head: Head) -> str:
        """The upstream's reason phrase, or the standard one where it has none that can be passed on."""
        phrase = head.reason
        if phrase and phrase.isascii() and phrase.isprintable() and self.site.redactor.text(phrase) is phrase:
            return phrase
        return responses.get(head.status, "Unknown")

    @property
    def places(self) -> Places:
        """Where the upstream is, and where this client finds the proxy."""
        request, upstream = self.request, self.pool.upstream
        public = self.site.public_url or f"{request.protocol}://{request.host}"
        return Places(upstream.origin, upstream.prefix, public)

    def readdressed(self, fields: Fields, key: Key | None) -> Fields:  # noqa: ARG002 - what uploads need
        """The fields with addresses at the upstream changed to ours. `key` is the one that was committed."""
        if not any(name.lower() in ADDRESSES for name, _ in fields):
            return fields
        return self.places.readdressed(fields, credential_part(self.request.query))

    def conclude(self, passage: Passage) -> None:
        """Answers the client after a passage in which nothing was committed."""
        answer = passage.outcome.answer
        if answer is None:
            self.refuse_for_want_of_keys(passage)
        elif isinstance(answer, UpstreamError):
            self.refuse(500, str(answer), status="UNAVAILABLE")
        else:
            self.record.reason = reason_of(answer, passage.verdict)
            self.send_kept(answer)

    def refuse_for_want_of_keys(self, passage: Passage) -> None:
        """Says when a key that could serve the request is ready again, or that none ever is."""
        self.record.refused = True
        message, seconds = passage.want()
        if seconds is None:
            self.refuse(401, message)
            return
        self.refuse_for(seconds, message, passage.outcome.details())

    def send_kept(self, kept: Kept) -> None:
        """Passes on an answer as it was, less the secrets in it."""
        clean = kept.without_secrets(self.site.redactor)
        if clean is None:
            self.refuse(kept.head.status, "The upstream's error can't be read, so it is not passed on.")
            return
        head, body = clean
        self._set_head(head, None)
        if kept.error:
            self.record.code = kept.status
        if self.request.method != "HEAD" and head.status not in _BODILESS:
            self.set_header("Content-Length", len(body))
        self.record.sent_bytes += len(body)
        self.note_first_byte()
        self.write(body)
        self.flush()
        self.end_answer()
