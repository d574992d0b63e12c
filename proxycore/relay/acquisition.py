"""How one request gets the keys for its attempts: at once while one is ready, else in its turn."""

import asyncio
import itertools
from collections.abc import Set as AbstractSet

from proxycore.gemini.request_scope import RequestScope
from proxycore.http.access_record import AccessRecord
from proxycore.relay.pool import Pool
from proxycore.relay.retry_policy import RetryPolicy
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, Project


class Acquisition:
    """The calls of a request with this scope and `policy`, which belongs to `owner` if that is known.

    `record` gets how long it waits. `tokens` are those of its prompt, as estimated; `spends` is whether a
    call spends a quota. `first` is the key of the first call, whatever its health.
    """

    _arrivals = itertools.count()

    def __init__(
        self,
        pool: Pool,
        scope: RequestScope,
        case: Case,
        policy: RetryPolicy,
        record: AccessRecord,
        *,
        owner: Key | None,
        spends: bool,
        tokens: int,
        first: Key | None,
    ) -> None:
        self.lane = scope.lane or scope.model
        self.spends = spends
        self.tokens = tokens
        self._pool = pool
        self._scope = scope
        self._case = case
        self._policy = policy
        self._record = record
        self._owner = owner
        self._only = owner  # None once it turned out not to know the resource
        self._arrival = next(self._arrivals)
        self._deadline: float | None = None  # until when it may wait for a key, once it had to
        self._first = first or self._key_of_group()

    def prefer(self, key: Key) -> None:
        """Use this key for the first call if it is ready for the request."""
        if self._could_serve(key):
            self._first = key

    def doubt_owner(self, key: Key) -> None:
        """Try other keys as well, if the owner is this one, which does not know the resource."""
        if key is self._only:
            self._only = None

    async def next_call(self, *, failed: bool) -> Call | None:
        """Make a call with a key that is ready, or wait for one; None if that takes too long.

        `failed` is whether the last attempt was a server error, for which no key is at fault.
        """
        first, self._first = self._first, None
        return self.call(first) if first else await self._acquire(failed=failed)

    def spare_call(self, beside: Key) -> Call | None:
        """Make a call with another project that has quota to spare; None if there is none, or others wait."""
        pool = self._pool
        if pool.queues.has_waiters(self.lane):
            return None
        avoid = {*beside.project.keys, *self._policy.used, *self.unfit(), *pool.rotator.ways.avoided}
        key = pool.rotator.pick_spare(self.lane, avoid, tokens=self.tokens)
        return self.call(key) if key else None

    def call(self, key: Key) -> Call:
        """Make a call with this key."""
        return self._pool.rotator.call(key, self.lane, spends=self.spends, tokens=self.tokens)

    def unfit(self) -> set[Key]:
        """Return the keys that take no request like this one now."""
        return self._pool.rotator.unfit(self._case.origin)

    def fit_at(self) -> float | None:
        """Return when the first unfit key is fit again, a moment of the clock; None if none is unfit."""
        return self._pool.rotator.fit_at(self.lane, self._case.origin)

    def _key_of_group(self) -> Key | None:
        if self._owner or not self._scope.group:
            return None
        key = self._pool.affinity.of(self._scope.group)
        avoided = self._pool.rotator.ways.avoided
        return key if key and key not in avoided and self._could_serve(key) else None

    def _could_serve(self, key: Key) -> bool:
        ready = key.ready_at(self.lane, self.tokens) <= self._pool.clock()
        return ready and self._owner in (None, key) and key not in self.unfit()

    async def _acquire(self, *, failed: bool) -> Call | None:
        policy, rotator = self._policy, self._pool.rotator
        while True:
            advice = rotator.advise(self._case, self.lane)
            policy.pardon(advice.retryable)
            unfit, avoided = advice.unfit, rotator.ways.avoided
            if avoided and (call := self._try_acquire(unfit | avoided, advice.witness, failed=failed)):
                return call
            if call := self._try_acquire(unfit, advice.witness, failed=failed):
                return call
            if any(refusal.verdict.unknown_model for refusal in self._case.unentitled):
                return None  # benched keys are unlikely to know the model, either
            self._record.begin_wait(self._pool.clock())
            try:
                call = await self._wait(policy.refused | unfit if unfit else policy.refused)
                if call or not (self._allow_again() or await self._wait_until_fit(unfit)):
                    return call
            finally:
                self._record.end_wait(self._pool.clock())

    def _try_acquire(self, unfit: AbstractSet[Key], witness: Project | None, *, failed: bool) -> Call | None:
        queues, policy, spends, tokens = self._pool.queues, self._policy, self.spends, self.tokens
        used = policy.used | unfit if unfit else policy.used
        prefer = witness or self._pool.conversations.prefer(self._scope, used)
        call = queues.try_acquire(self.lane, used, self._only, spends=spends, prefer=prefer, tokens=tokens)
        if call or not failed:
            return call
        # No key caused the failure, so one that was used is good enough.
        refused = policy.refused | unfit if unfit else policy.refused
        return queues.try_acquire(self.lane, refused, self._only, spends=spends, tokens=tokens)

    async def _wait(self, refused: AbstractSet[Key]) -> Call | None:
        return await self._pool.queues.wait(
            self.lane,
            self._arrival,
            refused,
            self._time_left(),
            self._owner,
            spends=self.spends,
            tokens=self.tokens,
            client=self._case.client,
        )

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
        until = self.fit_at() if unfit else None
        if until is None or until - self._pool.clock() > self._time_left():
            return False
        await asyncio.sleep(max(0.0, until - self._pool.clock()))
        return True
