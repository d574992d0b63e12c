"""Relays a request whose body is held, so that it can be sent again with another key.

    the body arrives, as far as there is room for it
    the body is complete
      an exchange: one attempt after the other      2xx: streamed to the client             [committed]
                                                    a stream of events: once its first is not an error
                                                    else: buffered, judged, and perhaps another attempt
    no attempt is left: the last response goes to the client if it was about the request

A client that disconnects cancels the work, whatever it waits for.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable
from dataclasses import replace

from proxycore.gemini.auth_token import AuthToken, token_of
from proxycore.gemini.prompt_size import PromptSize, prompt_size
from proxycore.gemini.request_scope import SEARCHED_AT_ONCE, RequestScope, scope_of, scope_steps
from proxycore.gemini.token_usage import TokenUsage
from proxycore.http.access_record import RequestOutcome
from proxycore.http.credentials import credential, without_credentials
from proxycore.http.fields import GROUP_FIELD, upstream_fields
from proxycore.http.handler_state import HandlerState
from proxycore.relay.exchange import Exchange
from proxycore.relay.hedged_attempts import HedgedAttempts, is_hedgeable
from proxycore.relay.limited_request import LimitedRequest
from proxycore.relay.outcome import reason_of
from proxycore.relay.pool import Pool
from proxycore.relay.relay_attempt import RelayAttempt
from proxycore.relay.request_case import case_of
from proxycore.relay.request_row import row_of
from proxycore.relay.response_handler import ResponseHandler
from proxycore.rotation.affinity import AffinityConflictError
from proxycore.rotation.key import Key
from proxycore.stats.limits.ledger import LimitRules
from proxycore.transport.held_body import HeldBody
from proxycore.transport.messages import Outgoing, UpstreamError
from proxycore.transport.request_body import RequestBodyStream

logger = logging.getLogger(__name__)

# The upstream would resolve them, and so find another path than the one that was examined here.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[eE]){1,2}(?=/|$)")
_LONGEST_GROUP = 128  # characters, since it is stored

ENDED = "The operator of this proxy has ended the request."
"""What the client is told of a request that was ended by hand."""


class RelayHandler(ResponseHandler):
    """Relays one request, with its body held."""

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        headers = self.request.headers
        self.token = token_of(
            headers.get_list("Authorization"), headers.get_list("x-goog-api-key"), self.request.query
        )
        self._work: asyncio.Task[object] | None = None  # while the request is being served
        self._limited: LimitedRequest | None = None  # if its client has limits

    def check(self) -> Awaitable[None] | None:
        """Refuse the request before its body is read if its credential is wrong, or its client over a limit.

        Else count it as open.
        """
        clients = self.context.clients
        name = clients.client_of(self.request.headers, self.request.query)
        self.record.client = name or "-"
        if name is None and clients.required and not self.is_capability:
            return self.refuse_credential(
                "The API key is missing or invalid. Send the key that the operator of this proxy gave you."
            )
        self.pool.meter.opened(self.record)
        if _DOT_SEGMENT.search(self.request.path):
            self.refuse(404, "A path with dot segments is not relayed.")
        elif (rules := self.pool.limiter.rules) and (name or not self.is_capability):
            return self._check_limits(rules, name or self.request.remote_ip or "-")
        return None

    def _check_limits(self, rules: LimitRules, client: str) -> Awaitable[None] | None:
        limits = rules.of(client)
        if limits is None:
            return None
        self._limited = LimitedRequest(self, client, limits)
        return self._limited.begin()

    @property
    def is_capability(self) -> bool:
        """Whether the request needs no client key: a token is a credential itself."""
        return self.token is not None

    async def _respond(self) -> None:
        if self.finish_body():
            await self.work()

    get = head = post = put = patch = delete = options = _respond

    async def work(self) -> None:
        """Serve the request, until the client disconnects. Raises CancelledError if others cancel it."""
        if self.state.over:
            return
        self._work = asyncio.current_task()
        try:
            await self.serve()
        except asyncio.CancelledError:
            # The client disconnected or was cut: either has closed the record, and nobody waits for more.
            if not self.state.over or self._work is None:
                raise
            self._work.uncancel()
        except Exception:
            logger.exception("internal error", extra={"fields": {"id": self.record.request_id}})
            self.refuse(500, "Internal error of the proxy.")
        finally:
            self._work = None

    def on_connection_close(self) -> None:
        """Cancel the work for a client that has disconnected."""
        super().on_connection_close()
        if self._work:
            self._work.cancel()

    def on_record_closed(self, outcome: RequestOutcome) -> None:
        """Count the request, unless it is a preflight."""
        super().on_record_closed(outcome)
        if self._limited:
            self._limited.end()
        request = self.request
        if request.method != "OPTIONS" or not self.context.cors.is_preflight(request.method, request.headers):
            seconds = self._loop.time() - self._started
            self.pool.meter.closed(self.record, outcome, seconds)
            if self.pool.journal:
                self.pool.journal.put_request(row_of(request, self.record, outcome, seconds, self.pool.clock))

    def count_tokens(self, usage: TokenUsage | None) -> None:
        """Count the tokens that a response reported, also for the client's limits."""
        super().count_tokens(usage)
        if self._limited and usage:
            self._limited.spend(usage)

    def on_body_timeout(self, seconds: float) -> None:
        """Refuse the request, and cancel the work for it."""
        super().on_body_timeout(seconds)
        if self._work:
            self._work.cancel()

    def cut(self) -> None:
        """Close the client's connection and cancel the work for it."""
        super().cut()
        if self._work and self._work is not asyncio.current_task():
            self._work.cancel()

    def end_by_hand(self) -> None:
        """End the request, as the operator asks for: refuse it if no response has begun, else cut it.

        The status is one that client libraries do not retry, as they do a connection that was closed.
        """
        self.record.ended = True
        if self.state is HandlerState.PENDING:
            self.refuse(499, ENDED, linger=False)
            if self._work:
                self._work.cancel()
        else:
            self._note_refusal(ENDED)
            self.cut()

    async def serve(self) -> None:
        """Serve the request: with the client's own token, or with one key after the other."""
        if self.token:
            await self.serve_token(self.token)
            return
        body, query = self.body.data, self.request.query
        if len(body) <= SEARCHED_AT_ONCE:
            scope = scope_of(self.path, body, query)
        else:
            scope = await self.pool.turns.run(scope_steps(self.path, body, query))
        if conversation := self.pool.conversations.name_of(self.path, body):
            scope = replace(scope, conversation=conversation)
        size = prompt_size(body) if self.call.spends else None
        if exchange := self.exchange(scope, size):
            await self.relay(exchange, self.outgoing(self.body))

    async def serve_token(self, token: AuthToken) -> None:
        """Relay the request with the client's token, once, and with no key."""
        minter = self.pool.affinity.of(token.name)
        self.record.key, self.record.attempts = (minter.name if minter else "token"), 1
        self.record.model = scope_of(self.path, b"").model
        query = token.query(self.request.query)
        outgoing = self.outgoing(self.body)._replace(target=self.path + (f"?{query}" if query else ""))
        result = await RelayAttempt(self, outgoing, token.field, minter).run()
        if isinstance(result, UpstreamError):
            self.refuse(500, str(result), status="UNAVAILABLE")
        elif result:
            self.send_buffered(result)

    def exchange(
        self,
        scope: RequestScope,
        size: PromptSize | None = None,
        *,
        once: bool = False,
        first: Key | None = None,
    ) -> Exchange | None:
        """The exchange of a request with this scope; None if it was refused.

        That is if its client may not use its model, or if its resources have two owners.

        `size` is that of the prompt in the held body, if there is one. `once` allows no second attempt;
        `first` is the key of the first attempt, whatever its health.
        """
        self.record.model = scope.model
        if self._limited and not self._limited.allows(scope.model):
            return None
        if group := self.request.headers.get(GROUP_FIELD):
            scope = replace(scope, group=f"group/{self.record.client}/{group[:_LONGEST_GROUP]}")
        try:
            return Exchange(
                self.pool,
                scope,
                self.record,
                repeatable=self.call.repeatable,
                spends=self.call.spends,
                once=once,
                case=case_of(self.request, self.path, self.record),
                size=size,
                first=first,
            )
        except AffinityConflictError as error:
            self.refuse(400, str(error))
            return None

    def outgoing(self, body: HeldBody | RequestBodyStream) -> Outgoing:
        """The request for the upstream."""
        request = self.request
        query = without_credentials(request.query) if request.query else ""
        target = self.path + (f"?{query}" if query else "")
        return Outgoing(request.method or "GET", target, upstream_fields(request.headers.get_all()), body)

    async def relay(self, exchange: Exchange, outgoing: Outgoing) -> None:
        """Make one attempt after the other, and respond to the client in any case."""
        target, hedged = outgoing.target, None
        if self.pool.hedging.share and is_hedgeable(exchange.scope, self.call):
            hedged = HedgedAttempts(self, exchange, outgoing)
        with exchange:
            while call := await exchange.next_call():
                if hedged:
                    if await hedged.run(call):
                        return
                    continue
                field = credential(call.key.secret, target)
                result = await RelayAttempt(self, outgoing, field, call.key, exchange).run()
                if result is None:
                    return
                exchange.settle(result)
        self.conclude(exchange)

    def conclude(self, exchange: Exchange) -> None:
        """Respond to the client after an exchange that committed to no response."""
        result = exchange.outcome.client_response
        if result is None:
            self.refuse_unavailable(exchange)
        elif isinstance(result, UpstreamError):
            self.refuse(500, str(result), status="UNAVAILABLE")
        else:
            self.record.reason = reason_of(result, exchange.verdict)
            self.send_buffered(result)

    def refuse_unavailable(self, exchange: Exchange) -> None:
        """Respond with the time at which a key is ready for the request, or with 401 if none ever will be."""
        self.record.refused = True
        unavailable = exchange.explain()
        if unavailable.seconds is None:
            self.refuse(401, unavailable.message)
        else:
            self.refuse_for(unavailable.seconds, unavailable.message, exchange.outcome.details())
