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
from typing import Self

from proxycore.gemini.prompt_size import PromptSize
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import (
    HEALTHY,
    NOT_OWNER,
    Reaction,
    Verdict,
)
from proxycore.http.access_record import AccessRecord, AttemptRecord
from proxycore.relay.acquisition import Acquisition
from proxycore.relay.attempt_verdict import verdict_on
from proxycore.relay.other_way import leave_way, may_leave_way
from proxycore.relay.outcome import AttemptResult, Outcome
from proxycore.relay.pool import Pool
from proxycore.relay.retry_policy import GiveUp, NextStep, Proceed, Respond, RetryPolicy, settle
from proxycore.relay.unavailable import Unavailable, explain
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key
from proxycore.transport.messages import UpstreamError


class Exchange:
    """The exchange of one request. Raises AffinityConflictError when no key could serve it.

    `case` describes the request for the comparison of refusals, `size` is that of its prompt, if it has one.
    `first` is the key of the first attempt, whatever its health. `once` allows no second attempt.
    """

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
        self.owner = pool.affinity.owner(scope) if scope.resources or scope.possible_resources else None
        self.verdict = HEALTHY
        self.outcome = Outcome()
        self._pool = pool
        self._record = record
        self._case = case or Case(client=record.client, request=record.request_id)
        self._policy = RetryPolicy(1 if once else pool.max_attempts, repeatable)
        self._step: NextStep = Proceed()
        self._size = size
        self._acquisition = Acquisition(
            pool,
            scope,
            self._case,
            self._policy,
            record,
            owner=self.owner,
            spends=spends,
            tokens=pool.token_ratios.estimate(scope.model, size) if size else 0,
            first=first,
        )
        self._call: Call | None = None  # the attempt in flight
        self._served: Call | None = None  # the attempt whose response went to the client
        self._hedge: Call | None = None  # the one beside it, if it is hedged
        self._last_key: Key | None = None  # of the attempt before
        self._first_failure_at: float | None = None  # when the first server error came

    @property
    def lane(self) -> str:
        """What the quotas of the request's model and method are counted for."""
        return self._acquisition.lane

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Abandon what is in flight."""
        self._abandon()

    def _abandon(self) -> None:
        """Abandon what is in flight. A call counts as made, since the upstream may have received it."""
        while call := self._call:
            self._call, self._hedge = self._hedge, None
            self._pool.meter.attempted(call.key, "abandoned")
            self._end_attempt(call)
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
        self._acquisition.prefer(key)

    async def next_call(self) -> Call | None:
        """Wait for a key for the next attempt; None if there is no other attempt."""
        step, rotator = self._step, self._pool.rotator
        if not isinstance(step, Proceed):
            return None
        if step.pause:
            await asyncio.sleep(step.pause)
        call = await self._acquisition.next_call(failed=self.verdict.then is Reaction.RETRY)
        if call is None:
            rotator.exhausted(self._case, self.lane)
            self.outcome.end(self._owner_may_be_untried)
            return None
        if self._last_key and self.last and self._last_key is not call.key:
            self._pool.meter.failed_over(self._last_key)
        self._call, self._last_key = call, call.key
        self._record.key = call.key.name
        self._begin_attempt(call)
        return call

    def hedge(self) -> Call | None:
        """Make a second call, beside the one in flight; None unless another project has quota to spare."""
        first, policy = self._call, self._policy
        if first is None or 0 < policy.max_attempts <= policy.attempts + 1:
            return None
        self._hedge = self._acquisition.spare_call(first.key)
        if self._hedge:
            self._begin_attempt(self._hedge)
        return self._hedge

    def turn_to(self, call: Call) -> None:
        """Let this be the call that `commit` and `settle` are about, of the two in flight."""
        if call is self._hedge:
            self._call, self._hedge = call, self._call
        self._record.key = call.key.name

    def commit(self, status: int, verdict: Verdict = HEALTHY, seconds: float | None = None) -> None:
        """Put the attempt's response into effect: it goes to the client, and a hedge of it is abandoned.

        `seconds` is the time to its head, None if that is not counted.
        """
        if self._call:
            self._served = self._call
            self._close(self._call, verdict, status, seconds if verdict is HEALTHY else None)
            self._abandon()

    def count_tokens(self, tokens: int) -> None:
        """Learn how many tokens the prompt had, as the response that was committed to tells."""
        if self._size and tokens and self._served:
            self._pool.token_ratios.learn(self.scope.model, self._size, tokens)
            self._pool.rotator.count_tokens(self._served, tokens)

    def settle(self, result: AttemptResult) -> None:
        """Put the attempt's response, which was not relayed, into effect, and decide what follows.

        If the request is hedged, the other attempt follows, unless the response is about the request.
        """
        call = self._call
        assert call is not None  # noqa: S101 - there is no response without an attempt
        status = result.label if isinstance(result, UpstreamError) else result.status
        self.verdict = verdict = verdict_on(
            result,
            self.scope,
            self._record,
            now=self._pool.clock.wall(),
            ways=self._pool.rotator.ways.several,
        )
        self.outcome.note(verdict, result)
        sent = not isinstance(result, UpstreamError) or result.sent
        if call.spends and not sent:
            self._pool.rotator.uncount(call.key, call.model, call.at)
        self._close(call, verdict, status)
        if self._call and (verdict.then is not Reaction.RELAY or isinstance(result, UpstreamError)):
            self._policy.note(call.key, verdict, self._case, sent=sent)
            return
        self._step = step = self._decide(call.key, verdict, sent=sent)
        if isinstance(step, Respond):
            self.outcome.decided = True
        elif isinstance(step, GiveUp):
            self.outcome.end(self._owner_may_be_untried)
        elif verdict is NOT_OWNER and not self._may_be_new:
            self._acquisition.doubt_owner(call.key)

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
            self._record.tried.remove(self._attempt_of(call))

    def explain(self) -> Unavailable:
        """Explain why no key served the request. If that names a time, the client is expected back then."""
        avoid = self._policy.refused if self.outcome.disowned else self._acquisition.unfit()
        return explain(
            self._pool,
            self.scope,
            self.owner,
            self._case.client,
            avoid=avoid,
            tokens=self._acquisition.tokens,
            fit_at=self._acquisition.fit_at(),
            words=self.outcome.words,
        )

    def _close(self, call: Call, verdict: Verdict, result: int | str, seconds: float | None = None) -> None:
        """Put a response into effect. `result` is its status, or the label of the error in its place."""
        self._call, self._hedge = self._hedge, None
        self._pool.meter.attempted(call.key, result, seconds)
        self._end_attempt(call, result if isinstance(result, int) else 0, verdict, seconds)
        self._pool.rotator.apply(call, verdict, self._case)
        if verdict is HEALTHY:
            self._pool.retries.earn()
            self._pool.conversations.served(self.scope, call.key)
            self._pool.affinity.learn([*self.scope.resources, *filter(None, [self.scope.group])], call.key)

    def _begin_attempt(self, call: Call) -> None:
        self._record.attempts += 1
        self._record.tried.append(AttemptRecord(call.key.name, call.at))

    def _end_attempt(
        self, call: Call, status: int = 0, verdict: Verdict | None = None, seconds: float | None = None
    ) -> None:
        """Record how an attempt ended, after `seconds` if they are known; without a verdict: abandoned."""
        attempt = self._attempt_of(call)
        attempt.seconds = max(0.0, self._pool.clock() - call.at) if seconds is None else seconds
        if verdict is HEALTHY:
            attempt.status, attempt.verdict = status, "served"
        elif verdict:
            attempt.status, attempt.verdict, attempt.why = status, verdict.then.name.lower(), verdict.reason

    def _attempt_of(self, call: Call) -> AttemptRecord:
        """The record of an attempt in flight: there are two at most, with different keys."""
        tried, name = self._record.tried, call.key.name
        last = tried[-1]
        if last.key == name and last.seconds is None:
            return last
        return next(one for one in reversed(tried) if one.key == name and one.seconds is None)

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
