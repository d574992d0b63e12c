"""One attempt of a request, whose 2xx response is streamed to the client.

A stream of events is held back until its first event is known not to be an error. Any other response is
buffered. Once an attempt is committed, it is the last one: if the upstream breaks off, the client's
connection is cut.
"""

import asyncio
import re
from dataclasses import replace
from functools import partial

from proxycore.gemini.first_event import FirstEvent
from proxycore.gemini.judge import judge_error
from proxycore.gemini.response_opening import ResponseOpening
from proxycore.gemini.response_scanner import ResponseScanner, scanner_for
from proxycore.gemini.token_usage import TokenUsage
from proxycore.gemini.usage_reader import UsageReader
from proxycore.gemini.verdict import HEALTHY, Reaction, Verdict
from proxycore.http.fields import Field
from proxycore.relay.exchange import Exchange
from proxycore.relay.outcome import AttemptResult
from proxycore.relay.response_handler import ResponseHandler
from proxycore.rotation.key import Key
from proxycore.transport.attempt import Attempt, Sink
from proxycore.transport.buffered_response import BUFFERED_BYTES, BufferedResponse
from proxycore.transport.messages import Outgoing, UpstreamError
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.response_writer import ResponseWriter

_EVENT_STREAM = re.compile(r"(?i)[ \t]*text/event-stream[ \t]*(?:;|$)")


class RelayAttempt:
    """An attempt whose response goes to the client of `handler`.

    The resources that the response names are recorded as owned by `key`. Without an `exchange` (the
    credential is the client's own token) the response's first event is not judged.
    """

    __slots__ = (
        "_attempt",
        "_began",
        "_committed",
        "_exchange",
        "_handler",
        "_head",
        "_key",
        "_loop",
    )

    def __init__(
        self,
        handler: ResponseHandler,
        outgoing: Outgoing,
        credential: Field | None,
        key: Key | None,
        exchange: Exchange | None = None,
    ) -> None:
        fresh = exchange is not None and exchange.fresh
        self._handler = handler
        self._key = key
        self._exchange = exchange
        upstream = handler.pool.upstream
        proxy = key.proxy if key else upstream.route.proxy
        self._attempt = Attempt(upstream, outgoing, credential, proxy=proxy, fresh=fresh)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._head: ResponseHead  # until the attempt is committed
        self._committed = False

    async def run(self) -> AttemptResult | None:
        """Run the attempt; return its result, None if the response went to the client, complete or not."""
        attempt = self._attempt
        first: FirstEvent | None = None  # local: as an attribute, it and this would hold each other
        try:
            head = self._head = await attempt.head()
            if not 200 <= head.status < 300:
                return BufferedResponse(head, await attempt.read(BUFFERED_BYTES))
            opening = self._opening(head)
            if opening and self._exchange and self._is_stream(head):
                first = FirstEvent(opening, self._judge, self._commit, attempt.end_in)
            else:
                self._commit(HEALTHY)
            usage = self._usage_reader(head)
            downstream = ResponseWriter(self._handler, head, first or opening, usage)
            sink = self._sink(head, downstream)
            del head  # a stream may go on for hours, and has no use for it
            await self._relay(sink, downstream, first, usage)
        except UpstreamError as error:
            if first is None or not first.error:
                return error.with_traceback(None)  # which would hold all of this
        finally:
            attempt.end()
        if first and first.error:
            return BufferedResponse(self._head, first.received, first.error)
        return None

    def _opening(self, head: ResponseHead) -> ResponseOpening | None:
        """The redaction of an error at the body's beginning; None if there can be none."""
        handler = self._handler
        if head.status == 206 or handler.request.method == "HEAD":
            return None
        return ResponseOpening(handler.context.redactor, head.values.get("content-encoding", ()))

    def _usage_reader(self, head: ResponseHead) -> UsageReader | None:
        """A reader of the tokens that the response reports; None if the call is none that spends any."""
        return UsageReader(head.values.get("content-encoding", ())) if self._handler.call.spends else None

    def _is_stream(self, head: ResponseHead) -> bool:
        """Whether a 2xx response is a stream of events, or of the elements of an array."""
        kinds = head.values.get("content-type", ())
        return self._handler.call.streams or any(map(_EVENT_STREAM.match, kinds))

    def _judge(self, error: bytes) -> Verdict | None:
        """Judge what the error that opens a stream says about the key.

        Only where a response is generated: what else is streamed (a file, an old interaction) exists already,
        and the client may have written it.
        """
        handler, exchange = self._handler, self._exchange
        if not handler.call.spends or exchange is None:
            return None
        names_resource = exchange.scope.names_resource
        verdict = judge_error(error, now=handler.pool.clock.wall(), names_resource=names_resource)
        if verdict and verdict.way and exchange.may_leave_way(verdict):
            return replace(verdict, then=Reaction.FAILOVER)
        return verdict

    def _commit(self, verdict: Verdict) -> None:
        handler = self._handler
        if handler.state.over:
            return  # the client disconnected a moment ago, and this attempt is about to be cancelled
        if self._exchange:
            self._exchange.commit(self._head.status, verdict, self._loop.time() - self._began)
        handler.begin_response(self._head, self._key)
        handler.record.activity = self._attempt.activity
        self._committed = True
        del self._head

    def _sink(self, head: ResponseHead, downstream: ResponseWriter) -> Sink:
        """Where the chunks go: to the client, by way of the scanner if they may name resources."""
        handler, key = self._handler, self._key
        if key and handler.call.may_name and (scanner := scanner_for(handler.path, head.fields)):
            return partial(self._learn_and_send, scanner, key, downstream)
        return downstream.send

    def _learn_and_send(
        self, scanner: ResponseScanner, key: Key, downstream: ResponseWriter, chunk: bytes
    ) -> "asyncio.Future[None] | None":
        self._handler.pool.affinity.learn_mentioned(scanner.scan(chunk), key)
        return downstream.send(chunk)

    async def _relay(
        self, sink: Sink, downstream: ResponseWriter, first: FirstEvent | None, usage: UsageReader | None
    ) -> None:
        """Relay a 2xx response. Raises UpstreamError if it breaks off before it is committed to."""
        handler = self._handler
        try:
            await self._attempt.relay(sink)
        except UpstreamError as error:
            if not self._committed:
                raise
            handler.record.reason = f"{error} {error.detail}".strip()
            handler.cut()
            return
        finally:
            if self._committed and usage:
                self._count_tokens(usage.usage())
        if first and first.error:
            return
        if downstream.end():
            handler.end_response()
        else:
            handler.leave()

    def _count_tokens(self, usage: TokenUsage | None) -> None:
        self._handler.count_tokens(usage)
        if usage and self._exchange:
            self._exchange.count_tokens(usage.input)
