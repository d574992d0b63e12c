"""One request's passage through the keys: which is next, what its answer means, and what follows.

    loop   key = the next one                      none: the passage is over
           answer = one attempt with it            None: it was committed, and the client has it
           judge it, rest the key if need be
    over   when no other key could do better

A request that names owned resources goes to their owner, or to all keys once each until one knows them.
If an owner says that it does not know them, those that are ready are asked all the same, in case that the
resource has moved. Not about an interaction: its owner may not know it for minutes after it was made.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxycore.affinity import Scope
from proxycore.attempt import UpstreamError
from proxycore.failover import Failover
from proxycore.handler import Record
from proxycore.kept import Kept
from proxycore.line import Lines
from proxycore.log import logger
from proxycore.owners import Owners
from proxycore.rotator import Bench, Key, Rotator
from proxycore.upstream import Upstream
from proxycore.verdict import HEALTHY, STRANGER, TROUBLE, Rest, Then, Verdict

_SILENT = Verdict("silence")
_PAUSE = (0.05, 0.25)  # seconds between attempts after the upstream's trouble; doubles with every one


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The keys and all that it takes to use them. `clock` tells seconds since the epoch."""

    rotator: Rotator
    lines: Lines
    owners: Owners
    upstream: Upstream
    max_attempts: int
    clock: Callable[[], float]
    source: random.Random


Answer = Kept | UpstreamError
"""What an attempt came to that was not committed."""

TryKey = Callable[[Key, bool], Awaitable[Answer | None]]
"""One attempt: with this key, and whether on a fresh connection. None: committed."""


class Passage:
    """The passage of one request. Raises OwnersDifferError when no key could serve it."""

    _arrivals = itertools.count()

    def __init__(self, pool: Pool, scope: Scope, record: Record, *, repeatable: bool, once: bool) -> None:
        self.scope = scope
        self.owner = pool.owners.owner(scope)
        self.last: Answer | None = None
        self._disowned: Answer | None = None  # what a key said that does not know the resource
        self.verdict = HEALTHY
        self._pool = pool
        self._record = record
        self._failover = Failover(1 if once else pool.max_attempts, repeatable)
        if self.owner:
            others = set(pool.rotator.keys) - {self.owner}
            self._failover.used |= others
            self._failover.strangers |= others
        self._arrival = next(self._arrivals)
        self._holding: Key | None = None  # whose answer others may wait for
        self._patience: float | None = None  # until when it may wait for a key, once it had to

    async def run(self, attempt: TryKey, key: Key | None = None) -> bool:
        """Tries key after key; returns whether an answer was committed. `key` is the first, if it is said."""
        failover, source = self._failover, self._pool.source
        key = key or self._key_of_group()
        try:
            while key := key or await self._next_key():
                self._holding = key
                self._record.key, self._record.attempts = key.name, self._record.attempts + 1
                fresh = failover.troubles > 0 or not failover.repeatable
                self.last = await attempt(key, fresh)
                if self.last is None:
                    return True
                self.verdict = self._judge(self.last)
                if self.verdict is STRANGER:
                    self._disowned = self.last
                self.settle(key, self.verdict)
                sent = not isinstance(self.last, UpstreamError) or self.last.sent
                if not failover.note(key, self.verdict, sent=sent):
                    break
                if key is self.owner and self.verdict is STRANGER and not self._may_be_fresh:
                    failover.used = {key}
                if self.verdict.then is Then.RETRY:
                    low, high = _PAUSE
                    await asyncio.sleep(source.uniform(low, high) * 2 ** (failover.troubles - 1))
                key = None
        finally:
            self._let_go()
        if self._disowned and not self._owner_may_rest:
            self.last, self.verdict = self._disowned, STRANGER
        return False

    def settle(self, key: Key, verdict: Verdict) -> None:
        """Puts the verdict into effect, and only then lets the next in line have the key."""
        bench = self._pool.rotator.apply(key, self.scope.model, verdict)
        if bench:
            _log_bench(key, self.scope, verdict, bench, self._pool.clock())
        if verdict.healthy:
            group = [self.scope.group] if self.scope.group else []
            self._pool.owners.learn([*self.scope.resources, *group], key)
        self._let_go()

    @property
    def wants_keys(self) -> bool:
        """Whether the passage ended for want of keys, and not with an answer for the client."""
        if self.last is None or self.verdict.then in {Then.FAILOVER, Then.ADDRESS}:
            return True
        return self.verdict is STRANGER and not self._failover.spent and self._owner_may_rest

    @property
    def ready_at(self) -> float | None:
        """When the first key that could serve is ready (seconds since the epoch), None when none ever is."""
        return self._pool.rotator.ready_at(self.scope.model, self._failover.strangers)

    @property
    def _owner_may_rest(self) -> bool:
        """Whether a key that was not asked could know the resource, once its quota is there again.

        One that is not permitted to do anything is not waited for.
        """
        now, asked = self._pool.clock(), self._failover.strangers
        return any(
            not (key.retired or (key.whole and key.whole.benched_until > now))
            for key in self._pool.rotator.keys
            if key not in asked
        )

    @property
    def _may_be_fresh(self) -> bool:
        return any(name.startswith("interactions/") for name in self.scope.resources)

    def _key_of_group(self) -> Key | None:
        if self.owner or not self.scope.group:
            return None
        key = self._pool.owners.of(self.scope.group)
        return key if key and key.ready_at(self.scope.model) <= self._pool.clock() else None

    async def _next_key(self) -> Key | None:
        lines, failover, model = self._pool.lines, self._failover, self.scope.model
        if key := lines.take(model, failover.used):
            return key
        if self.verdict.then is Then.RETRY and (key := lines.take(model, failover.strangers)):
            return key  # the trouble was no key's, so one that was used will do
        now = asyncio.get_running_loop().time()
        if self._patience is None:
            self._patience = now + lines.max_wait
        return await lines.wait(model, self._arrival, failover.strangers, self._patience - now)

    def _judge(self, answer: Answer) -> Verdict:
        if isinstance(answer, UpstreamError):
            logger.warning("request %s: %s %s", self._record.request_id, str(answer), answer.detail)
            return _SILENT if answer.silent else TROUBLE
        return answer.verdict(self._pool.clock(), self.scope)

    def _let_go(self) -> None:
        if self._holding:
            self._pool.lines.answered(self.scope.model, self._holding)
            self._holding = None


def _log_bench(key: Key, scope: Scope, verdict: Verdict, bench: Bench, now: float) -> None:
    if verdict.rest is Rest.RETIRED:
        logger.error("key %s retired: %s; it is tried again in a day", key.name, bench.reason)
        return
    what = f"key {key.name}" + (f" for {scope}" if verdict.rest is Rest.MODEL else "")
    seconds = bench.benched_until - now
    logger.warning("%s benched for %.0f s: %s, strike %d", what, seconds, bench.reason, bench.strikes)
