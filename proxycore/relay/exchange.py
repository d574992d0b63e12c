"""The exchange: one request is sent with one key after another, until a response is for the client.

    with exchange:
        while call := await exchange.next_call():
            ... one attempt with the call's key ...
            exchange.commit(...)        the response goes to the client: it is the last attempt
            exchange.settle(...)        it does not: another key, the same one after a pause, or the end

`retry_policy.settle` decides what follows, and is pure. `_close` is the one place where a response takes
effect on the keys.

A request that names owned resources goes to their owner, or to all keys once each until one knows them.
If an owner does not know them, the keys that are ready are tried too, in case the resource has moved. Not for
an interaction: its owner may not know it for minutes after it was created.
"""

import asyncio
import itertools
import logging
from collections.abc import Set as AbstractSet
from typing import Self

from proxycore.gemini.prompt_size import PromptSize
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import (
    HEALTHY,
    NO_RESPONSE,
    NOT_OWNER,
    TIMED_OUT,
    Reaction,
    Verdict,
)
from proxycore.http.access_record import AccessRecord
from proxycore.relay.other_way import leave_way, may_leave_way
from proxycore.relay.outcome import AttemptResult, Outcome, verdict_on
from proxycore.relay.pool import Pool
from proxycore.relay.retry_policy import GiveUp, NextStep, Proceed, Respond, RetryPolicy, settle
from proxycore.relay.unavailable import Unavailable, explain
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, Project
from proxycore.transport.messages import UpstreamError

logger = logging.getLogger(__name__)


class Exchange:
    """The exchange of one request. Raises AffinityConflictError when no key could serve it.

    `case` describes the request for the comparison of refusals, `size` is that of its prompt, if it has one.
    `first` is the key of the first attempt, whatever its health. `once` allows no second attempt.
    """

    _arrivals = itertools.count()

    def __init__(
        self,
        pool: Pool,
        scope: RequestScope,
        record: AccessRecord,
        *,
        repeatable: bool,
        spends: bool,
        once: bool,
        case: Case | None = None,
        size: PromptSize | None = None,
        first: Key | None = None,
    ) -> None:
        self.scope = scope
        self.lane = scope.lane or scope.model
        self.owner = pool.affinity.owner(scope) if scope.resources or scope.possible_resources else None
        self.spends = spends
        self.verdict = HEALTHY
        self.outcome = Outcome()
        self._pool = pool
        self._record = record
        self._case = case or Case(client=record.client, request=record.request_id)
        self._policy = RetryPolicy(1 if once else pool.max_attempts, repeatable)
        self._step: NextStep = Proceed()
        self._size = size
        self._tokens = pool.token_ratios.estimate(scope.model, size) if size else 0
        self._first = first or self._key_of_group()
        self._only = self.owner  # None once it turned out not to know the resource
        self._call: Call | None = None  # the attempt in flight
        self._served: Call | None = None  # the attempt whose response went to the client
        self._last_key: Key | None = None  # of the attempt before
        self._arrival = next(self._arrivals)
        self._deadline: float | None = None  # until when it may wait for a key, once it had to
        self._first_failure_at: float | None = None  # when the first server error came
        pool.retries.earn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Abandon an attempt in flight. Its call counts as made, since the upstream may have received it."""
        if call := self._call:
            self._call = None
            self._pool.meter.attempted(call.key, "abandoned")
            self._pool.rotator.settle(call)

    @property
    def last(self) -> AttemptResult | None:
        """The last response that was settled."""
        return self.outcome.last

    @property
    def fresh(self) -> bool:
        """Whether an attempt needs a new connection: a reused one may turn out to be closed."""
        return self._policy.server_errors > 0 or not self._policy.repeatable

    def prefer(self, key: Key) -> None:
        """Use this key for the first attempt if it is ready for the request."""
        if self._could_serve(key):
            self._first = key

    async def next_call(self) -> Call | None:
        """Wait for a key for the next attempt; None if there is no other attempt."""
        step, rotator = self._step, self._pool.rotator
        if not isinstance(step, Proceed):
            return None
        if step.pause:
            await asyncio.sleep(step.pause)
        first, self._first = self._first, None
        call = (
            rotator.call(first, self.lane, spends=self.spends, tokens=self._tokens)
            if first
            else await self._acquire()
        )
        if call is None:
            rotator.exhausted(self._case, self.lane)
            self.outcome.end(self._owner_may_be_untried)
            return None
        if self._last_key and self.last and self._last_key is not call.key:
            self._pool.meter.failed_over(self._last_key)
        self._call, self._last_key = call, call.key
        self._record.key, self._record.attempts = call.key.name, self._record.attempts + 1
        return call

    def commit(self, status: int, verdict: Verdict = HEALTHY, seconds: float | None = None) -> None:
        """Put the attempt's response into effect: it goes to the client, and no other attempt is made.

        `seconds` is the time to its head, None if that is not counted.
        """
        if self._call:
            self._served = self._call
            self._close(self._call, verdict, status, seconds if verdict is HEALTHY else None)

    def count_tokens(self, tokens: int) -> None:
        """Learn how many tokens the prompt had, as the response that was committed to tells."""
        if self._size and tokens and self._served:
            self._pool.token_ratios.learn(self.scope.model, self._size, tokens)
            self._pool.rotator.count_tokens(self._served, tokens)

    def settle(self, result: AttemptResult) -> None:
        """Put the attempt's response, which was not relayed, into effect, and decide what follows."""
        call = self._call
        assert call is not None  # noqa: S101 - there is no response without an attempt
        status = result.label if isinstance(result, UpstreamError) else result.status
        self.verdict = verdict = self._judge(result, status)
        self.outcome.note(verdict, result)
        sent = not isinstance(result, UpstreamError) or result.sent
        if call.spends and not sent:
            self._pool.rotator.uncount(call.key, call.model, call.at)
        self._close(call, verdict, status)
        self._step = step = self._decide(call.key, verdict, sent=sent)
        if isinstance(step, Respond):
            self.outcome.decided = True
        elif isinstance(step, GiveUp):
            self.outcome.end(self._owner_may_be_untried)
        elif call.key is self._only and verdict is NOT_OWNER and not self._may_be_new:
            self._only = None

    def may_leave_way(self, verdict: Verdict) -> bool:
        """Whether such a response to the attempt in flight leads to a key behind another outbound proxy."""
        if self._call is None or self.owner:
            return False
        return may_leave_way(self._pool, self._policy, self._call.key, verdict, self.lane)

    def hand_over(self) -> None:
        """Leave the attempt in flight to another exchange of the same request, which counts it."""
        call, self._call = self._call, None
        if call is not None:
            self._pool.rotator.settle(call)
            self._record.attempts -= 1

    def explain(self) -> Unavailable:
        """Explain why no key served the request. If that names a time, the client is expected back then."""
        avoid = self._policy.refused if self.outcome.disowned else self._unfit()
        return explain(
            self._pool,
            self.scope,
            self.owner,
            self._case.client,
            avoid=avoid,
            tokens=self._tokens,
            fit_at=self._fit_at(),
            words=self.outcome.words,
        )

    def _close(self, call: Call, verdict: Verdict, result: int | str, seconds: float | None = None) -> None:
        """Put a response into effect. `result` is its status, or the label of the error in its place."""
        self._call = None
        self._pool.meter.attempted(call.key, result, seconds)
        self._pool.rotator.apply(call, verdict, self._case)
        if verdict is HEALTHY:
            self._pool.conversations.served(self.scope, call.key)
            self._pool.affinity.learn([*self.scope.resources, *filter(None, [self.scope.group])], call.key)

    def _decide(self, key: Key, verdict: Verdict, *, sent: bool) -> NextStep:
        policy, pool, window = self._policy, self._pool, 0.0
        useful = policy.note(key, verdict, self._case, sent=sent)
        if verdict.way and not useful and self.owner is None:
            useful = leave_way(pool, policy, key, verdict, self.lane)
        if verdict.then is Reaction.ENTITLED and useful:
            useful = pool.rotator.seeks_entitled(self._case, self.lane)
        if verdict.then is Reaction.RETRY:
            now = asyncio.get_running_loop().time()
            self._first_failure_at = now if self._first_failure_at is None else self._first_failure_at
            window = self._first_failure_at + pool.queues.max_wait - now
        step = settle(policy, verdict, useful=useful, window=window, source=pool.source)
        if isinstance(step, Proceed) and step.pause and not pool.retries.spend():
            return Respond()
        return step

    @property
    def _owner_may_be_untried(self) -> bool:
        """Whether a key that was not tried, and is not benched as a whole, may own the resource."""
        now, tried = self._pool.clock(), self._policy.refused
        keys = (self.owner,) if self.owner else self._pool.rotator.keys
        return not self._policy.spent and any(key.usable_at <= now for key in keys if key not in tried)

    @property
    def _may_be_new(self) -> bool:
        return any(name.startswith("interactions/") for name in self.scope.resources)

    def _key_of_group(self) -> Key | None:
        if self.owner or not self.scope.group:
            return None
        key = self._pool.affinity.of(self.scope.group)
        avoided = self._pool.rotator.ways.avoided
        return key if key and key not in avoided and self._could_serve(key) else None

    def _could_serve(self, key: Key) -> bool:
        ready = key.ready_at(self.lane, self._tokens) <= self._pool.clock()
        return ready and self.owner in (None, key) and key not in self._unfit()

    async def _acquire(self) -> Call | None:
        """Acquire a key that is ready, or wait for one in order of arrival; None if that takes too long."""
        queues, policy, rotator, spends = self._pool.queues, self._policy, self._pool.rotator, self.spends
        while True:
            advice = rotator.advise(self._case, self.lane)
            policy.pardon(advice.retryable)
            unfit, avoided = advice.unfit, rotator.ways.avoided
            if avoided and (call := self._try_acquire(unfit | avoided, advice.witness)):
                return call
            if call := self._try_acquire(unfit, advice.witness):
                return call
            if any(refusal.verdict.unknown_model for refusal in self._case.unentitled):
                return None  # benched keys are unlikely to know the model, either
            seconds = self._time_left()
            call = await queues.wait(
                self.lane,
                self._arrival,
                policy.refused | unfit if unfit else policy.refused,
                seconds,
                self.owner,
                spends=spends,
                tokens=self._tokens,
                client=self._case.client,
            )
            if call or not (self._allow_again() or await self._wait_until_fit(unfit)):
                return call

    def _try_acquire(self, unfit: AbstractSet[Key], witness: Project | None) -> Call | None:
        """Acquire a ready key that is neither unfit nor used; after a server error also a used one."""
        queues, policy, spends, tokens = self._pool.queues, self._policy, self.spends, self._tokens
        used = policy.used | unfit if unfit else policy.used
        prefer = witness or self._pool.conversations.prefer(self.scope, used)
        call = queues.try_acquire(self.lane, used, self._only, spends=spends, prefer=prefer, tokens=tokens)
        if call or self.verdict.then is not Reaction.RETRY:
            return call
        # No key caused the failure, so one that was used is good enough.
        refused = policy.refused | unfit if unfit else policy.refused
        return queues.try_acquire(self.lane, refused, self._only, spends=spends, tokens=tokens)

    def _allow_again(self) -> bool:
        """Allow keys that refused the request again, once a search is over; return whether there is any."""
        if not self._case.refusals:
            return False
        return self._policy.pardon(self._pool.rotator.attribution.retryable(self._case, self.lane))

    def _time_left(self) -> float:
        """Seconds that the request may still wait for a key."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._pool.queues.max_wait
        return self._deadline - now

    async def _wait_until_fit(self, unfit: AbstractSet[Key]) -> bool:
        """Wait until the first of the keys that are unfit for this request is fit, if that is soon enough."""
        until = self._fit_at() if unfit else None
        if until is None or until - self._pool.clock() > self._time_left():
            return False
        await asyncio.sleep(max(0.0, until - self._pool.clock()))
        return True

    def _unfit(self) -> set[Key]:
        return self._pool.rotator.unfit(self._case.origin)

    def _fit_at(self) -> float | None:
        return self._pool.rotator.fit_at(self.lane, self._case.origin)

    def _judge(self, result: AttemptResult, status: int | str) -> Verdict:
        """Return the verdict on the key. Log a response that is not for the client."""
        if isinstance(result, UpstreamError):
            verdict = TIMED_OUT if result.is_timeout else NO_RESPONSE
            self._log(logging.WARNING, verdict, reason=str(result), detail=result.detail or None)
            return verdict
        verdict = verdict_on(result, self.scope, self._pool.clock.wall())
        if verdict.then is not Reaction.RELAY or (verdict.way and self._pool.rotator.ways.several):
            self._log(logging.INFO, verdict, status=status)
        return verdict

    def _log(self, level: int, verdict: Verdict, **fields: object) -> None:
        record = self._record
        about = {"key": record.key, "model": self.scope.model or None, **fields, "verdict": verdict.reason}
        logger.log(level, "attempt failed", extra={"fields": about | {"id": record.request_id}})
