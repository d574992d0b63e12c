"""The relay: one request, tried with one key after the other until an answer is for the client.

    the body is whole
      loop   key = the next one                     none: 401, or 429 with a Retry-After
             answer = one attempt with it           2xx: to the client, chunk by chunk   [committed]
             judge it, rest the key if need be      else: kept, and perhaps another attempt
    no attempt is left: the last answer goes to the client, if it was about the request

2xx is streamed, anything else is kept until judged. Once committed there is no way back: an upstream
that breaks off then cuts the client. A client that leaves cancels the work, whatever it is at.
"""

import asyncio
import itertools
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.client import responses

from proxycore.access import offered_keys
from proxycore.affinity import Scope, scope_of
from proxycore.attempt import Attempt, Outgoing, UpstreamError
from proxycore.downstream import Downstream
from proxycore.failover import Failover, repeatable
from proxycore.handler import ProxyHandler
from proxycore.head import Head
from proxycore.headers import Field, downstream_fields, upstream_fields, without_credentials
from proxycore.kept import KEPT_BYTES, Kept
from proxycore.line import Lines
from proxycore.log import logger
from proxycore.rotator import Bench, Key, Rotator
from proxycore.upstream import Upstream
from proxycore.verdict import HEALTHY, TROUBLE, Rest, Then, Verdict

PATHS = r"/+(?:v\d+[A-Za-z0-9]*|download/v\d+[A-Za-z0-9]*|\$discovery)/.*"
"""The paths that are relayed, as a regular expression."""

_OPENAI = re.compile(r"/v\d+[A-Za-z0-9]*/openai(?:/|$)")
# The upstream would resolve them, and so find another path than the one that was looked at here.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[eE]){1,2}(?=/|$)")
_BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1
_SILENT = Verdict("silence")
_PAUSE = (0.05, 0.25)  # seconds between attempts after the upstream's trouble; doubles with every one


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """What relaying needs. `clock` tells seconds since the epoch."""

    rotator: Rotator
    lines: Lines
    upstream: Upstream
    max_attempts: int
    max_body_bytes: int
    clock: Callable[[], float]
    source: random.Random


class RelayHandler(ProxyHandler):
    """Relays one request."""

    _arrivals = itertools.count()

    def initialize(self, relay: Relay) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize()
        self._relay = relay
        self._chunks: list[bytes] = []
        self._size = 0
        self._arrival = next(self._arrivals)
        self._work: asyncio.Task[object] | None = None  # while it is being answered
        self._committed = False
        self._holding: tuple[str, Key] | None = None  # a model's key whose answer others may wait for
        self._patience: float | None = None  # until when it may wait for a key, once it had to

    def prepare(self) -> None:
        """Lets in who may come in, before the body does."""
        super().prepare()
        if self._refused or self._finished:
            return
        clients = self.site.clients
        name = clients.name_of(offered_keys(self.request.headers, self.request.query))
        self.record.client = name or "-"
        if clients.required and name is None:
            self.refuse(
                401, "The API key is missing or wrong. Send the key that the operator of this proxy gave you."
            )
        elif _DOT_SEGMENT.search(self.request.path):
            self.refuse(404, "A path with dot segments is not relayed.")
        elif int(self.request.headers.get("Content-Length", "0")) > self._relay.max_body_bytes:
            self._refuse_size()

    def data_received(self, chunk: bytes) -> None:
        """Holds the body, so that it can be sent again."""
        super().data_received(chunk)
        if self._refused:
            return
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > self._relay.max_body_bytes:
            self._refuse_size()

    def _refuse_size(self) -> None:
        self._chunks.clear()
        limit = self._relay.max_body_bytes / (1024 * 1024)
        self.refuse(413, f"The request's body is larger than {limit:g} MB (MAX_BODY_MB).")

    async def _answer(self) -> None:
        if not self.body_whole():
            return
        self._work = asyncio.current_task()
        try:
            await self._serve()
        except asyncio.CancelledError:
            # The client left, or was cut: both have written the record, and nobody is left to be told.
            if not self._closed or self._work is None:
                raise
            self._work.uncancel()
        except Exception:  # noqa: BLE001 - logged below; a fault in one request must not touch another
            logger.exception("a fault in request %s", self.record.request_id)
            if self._committed:
                self.cut()
            else:
                self.refuse(500, "The proxy failed on this request.")
        finally:
            self._work = None
            self._let_go()

    get = head = post = put = patch = delete = options = _answer

    def on_connection_close(self) -> None:
        """The client has left: whatever is being done for it ends now."""
        super().on_connection_close()
        if self._work:
            self._work.cancel()

    def cut(self) -> None:
        """Closes the client's connection, never as if the answer were whole."""
        super().cut()
        if self._work and self._work is not asyncio.current_task():
            self._work.cancel()

    async def _serve(self) -> None:
        request, relay = self.request, self._relay
        path = "/" + request.path.lstrip("/")
        query = without_credentials(request.query)
        body = b"".join(self._chunks)
        self._chunks.clear()
        scope = scope_of(path, body)
        method = request.method or "GET"
        outgoing = Outgoing(
            method, path + (f"?{query}" if query else ""), upstream_fields(request.headers.get_all()), body
        )
        failover = Failover(relay.max_attempts, repeatable(method, path))
        last: Kept | UpstreamError | None = None
        verdict = HEALTHY
        while key := await self._next_key(scope, failover, verdict):
            self._holding = (scope.model, key)
            last = await self._try(key, scope, outgoing, failover)
            if last is None:
                return
            verdict = self._judge(last, scope)
            self._settle(key, scope, verdict)
            sent = not isinstance(last, UpstreamError) or last.sent
            if not failover.note(key, verdict, sent=sent):
                break
            if verdict.then is Then.RETRY:
                low, high = _PAUSE
                await asyncio.sleep(relay.source.uniform(low, high) * 2 ** (failover.troubles - 1))
        self._conclude(last, verdict, scope)

    async def _next_key(self, scope: Scope, failover: Failover, verdict: Verdict) -> Key | None:
        lines = self._relay.lines
        if key := lines.take(scope.model, failover.used):
            return key
        if verdict.then is Then.RETRY and (key := lines.take(scope.model, failover.strangers)):
            return key  # the trouble was no key's, so one that was used will do
        now = self._loop.time()
        if self._patience is None:
            self._patience = now + lines.max_wait
        return await lines.wait(scope.model, self._arrival, failover.strangers, self._patience - now)

    async def _try(
        self, key: Key, scope: Scope, outgoing: Outgoing, failover: Failover
    ) -> Kept | UpstreamError | None:
        """One attempt; None when it was committed, and the client has its answer."""
        self.record.key, self.record.attempts = key.name, self.record.attempts + 1
        fresh = failover.troubles > 0 or not failover.repeatable
        attempt = Attempt(self._relay.upstream, outgoing, _credential(key, outgoing.target), fresh=fresh)
        try:
            head = await attempt.head()
            if 200 <= head.status < 300:
                self._settle(key, scope, HEALTHY)
                await self._commit(head, attempt)
                return None
            return Kept(head, await attempt.read(KEPT_BYTES))
        except UpstreamError as error:
            return error
        finally:
            attempt.end()

    def _judge(self, answer: Kept | UpstreamError, scope: Scope) -> Verdict:
        if isinstance(answer, UpstreamError):
            logger.warning("request %s: %s %s", self.record.request_id, str(answer), answer.detail)
            return _SILENT if answer.silent else TROUBLE
        return answer.verdict(self._relay.clock(), scope)

    def _settle(self, key: Key, scope: Scope, verdict: Verdict) -> None:
        """Puts the verdict into effect, and only then lets the next in line have the key."""
        bench = self._relay.rotator.apply(key, scope.model, verdict)
        if bench:
            _log_bench(key, scope, verdict, bench, self._relay.clock())
        self._let_go()

    def _let_go(self) -> None:
        if self._holding:
            self._relay.lines.answered(*self._holding)
            self._holding = None

    async def _commit(self, head: Head, attempt: Attempt) -> None:
        """Relays a 2xx answer. Raises nothing but cancellation: a broken one cuts the client."""
        self._set_head(head)
        self._committed = True
        self.note_first_byte()
        downstream = Downstream(self)
        try:
            await attempt.relay(downstream.send)
        except UpstreamError as error:
            logger.warning("request %s: %s %s", self.record.request_id, str(error), error.detail)
            self.cut()
            return
        downstream.send_head()
        if downstream.gone:
            self.close_record(499, "left")  # before Tornado could say so
        self.finish()

    def _set_head(self, head: Head) -> None:
        reason = head.reason or responses.get(head.status, "Unknown")
        self.set_status(head.status, reason)
        self.clear_header("Date")
        self.add_fields(self.site.redactor.fields(downstream_fields(head.fields)))

    def _conclude(self, last: Kept | UpstreamError | None, verdict: Verdict, scope: Scope) -> None:
        if verdict.then in {Then.FAILOVER, Then.ADDRESS} or last is None:
            self._refuse_for_want_of_keys(scope)
        elif isinstance(last, UpstreamError):
            self.refuse(500, str(last), status="UNAVAILABLE")
        else:
            self._send_kept(last)

    def _refuse_for_want_of_keys(self, scope: Scope) -> None:
        rotator = self._relay.rotator
        ready_at = rotator.ready_at(scope.model)
        if ready_at is None:
            reason = "All Gemini API keys are retired" if rotator.keys else "No Gemini API key is configured"
            self.refuse(401, f"{reason} on this proxy. Its operator has to set GOOGLE_API_KEY_1.")
            return
        seconds = max(1, math.ceil(ready_at - self._relay.clock()))
        self.set_header("Retry-After", seconds)
        self.refuse(
            429,
            f"Every Gemini API key that could serve {scope} rests or was refused. Retry in {seconds}s.",
            details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}],
        )

    def _send_kept(self, kept: Kept) -> None:
        """Passes on an answer as it was, less the secrets in it."""
        clean = kept.without_secrets(self.site.redactor)
        if clean is None:
            self.refuse(kept.head.status, "The upstream's error can't be read, so it is not passed on.")
            return
        head, body = clean
        self._set_head(head)
        if self.request.method != "HEAD" and head.status not in _BODILESS:
            self.set_header("Content-Length", len(body))
        self.record.sent_bytes += len(body)
        self.note_first_byte()
        self.write(body)
        self.flush()
        self.finish()


def _credential(key: Key, target: str) -> Field:
    if _OPENAI.match(target):
        return ("Authorization", f"Bearer {key.secret}")
    return ("x-goog-api-key", key.secret)


def _log_bench(key: Key, scope: Scope, verdict: Verdict, bench: Bench, now: float) -> None:
    if verdict.rest is Rest.RETIRED:
        logger.error("key %s retired: %s; it is tried again in a day", key.name, bench.reason)
        return
    what = f"key {key.name}" + (f" for {scope}" if verdict.rest is Rest.MODEL else "")
    seconds = bench.benched_until - now
    logger.warning("%s benched for %.0f s: %s, strike %d", what, seconds, bench.reason, bench.strikes)
