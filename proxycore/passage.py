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
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxycore.affinity import Scope
from proxycore.attempt import UpstreamError
from proxycore.body_budget import BodyBudget
from proxycore.clock import Clock
from proxycore.failover import Failover
from proxycore.kept import Kept
from proxycore.key import Key
from proxycore.line import Lines
from proxycore.log import logger
from proxycore.meter import Meter
from proxycore.owners import Owners
from proxycore.record import Record
from proxycore.rotator import Call, Rotator
from proxycore.turns import Turns
from proxycore.upstream import Upstream
from proxycore.verdict import HEALTHY, SILENCE, STRANGER, TROUBLE, Then, Verdict

_PAUSE = (0.05, 0.25)  # seconds between attempts after the upstream's trouble; doubles with every one


@dataclass(slots=True, kw_only=True)
class Pool:
    """The keys and all that it takes to use them."""

    rotator: Rotator
    lines: Lines
    owners: Owners
    upstream: Upstream
    meter: Meter
    turns: Turns
    budget: BodyBudget
    max_attempts: int
    clock: Clock
    source: random.Random


Answer = Kept | UpstreamError
"""What an attempt came to that was not committed."""

TryKey = Callable[[Key, bool], Awaitable[Answer | None]]
"""One attempt: with this key, and whether on a fresh connection. None: committed."""


class Passage:
    """The passage of one request. Raises OwnersDifferError when no key could serve it."""

    _arrivals = itertools.count()

    def __init__(
        self, pool: Pool, scope: Scope, record: Record, *, repeatable: bool, spends: bool, once: bool
    ) -> None:
        self.scope = scope
        self.owner = pool.owners.owner(scope)
        self.last: Answer | None = None
        self._disowned: Answer | None = None  # what a key said that does not know the resource
        self.verdict = HEALTHY
        self._pool = pool
        self._record = record
        self._failover = Failover(1 if once else pool.max_attempts, repeatable)
        self._spends = spends
        self._only = self.owner  # as long as it may know the resource
        self._call: Call | None = None  # whose answer is not there yet
        self._arrival = next(self._arrivals)
        self._patience: float | None = None  # until when it may wait for a key, once it had to

    async def run(self, attempt: TryKey, key: Key | None = None) -> bool:
        """Tries key after key; returns whether an answer was committed. `key` is the first, if it is said."""
        failover, source, rotator = self._failover, self._pool.source, self._pool.rotator
        key = key or self._key_of_group()
        call = rotator.call(key, self.scope.model, spends=self._spends) if key else None
        try:
            while call := call or await self._next_call():
                if key and self.last and call.key is not key:
                    self._pool.meter.failed_over(key)
                self._call, key = call, call.key
                self._record.key, self._record.attempts = key.name, self._record.attempts + 1
                fresh = failover.troubles > 0 or not failover.repeatable
                self.last = await attempt(key, fresh)
                if self.last is None:
                    return True
                self.verdict = self._judge(self.last)
                if self.verdict is STRANGER:
                    self._disowned = self.last
                sent = not isinstance(self.last, UpstreamError) or self.last.sent
                if call.spends and not sent:
                    rotator.uncount(key, call.model, call.at)
                self.settle(self.verdict, _in_a_word(self.last))
                outage = rotator.outages.of(self.scope.model) is not None
                if not failover.note(key, self.verdict, sent=sent, outage=outage):
                    break
                if key is self._only and self.verdict is STRANGER and not self._may_be_fresh:
                    self._only = None
                if self.verdict.then is Then.RETRY:
                    low, high = _PAUSE
                    await asyncio.sleep(source.uniform(low, high) * 2 ** (failover.troubles - 1))
                call = None
        finally:
            self._abandon()
        if self._disowned and not self._owner_may_rest:
            self.last, self.verdict = self._disowned, STRANGER
        return False

    def settle(self, verdict: Verdict, answer: int | str) -> None:
        """Puts what the answer to the call under way says into effect: a status, or what it was instead."""
        call, self._call = self._call, None
        if call is None:
            return
        self._pool.meter.attempted(call.key, answer)
        self._pool.rotator.apply(call, verdict, self._record.request_id)
        if verdict.healthy:
            group = [self.scope.group] if self.scope.group else []
            self._pool.owners.learn([*self.scope.resources, *group], call.key)

    @property
    def wants_keys(self) -> bool:
        """Whether the passage ended for want of keys, and not with an answer for the client."""
        if self.last is None or self.verdict.then in {Then.FAILOVER, Then.ADDRESS}:
            return True
        return self.verdict is STRANGER and not self._failover.spent and self._owner_may_rest

    def want(self) -> tuple[str, int | None]:
        """Why no key served the request, for people, and seconds after which a new one would be served.

        None if it never would. Else it is expected then.
        """
        owned = f" that owns {self.scope.resources[0]}" if self.owner and self.scope.resources else ""
        seconds = self._come_back()
        if seconds is not None:
            every = f"Every Gemini API key that could serve {self.scope.model or 'this'}"
            who = f"The Gemini API key{owned}" if owned else every
            return f"{who} rests or was refused. Retry in {seconds}s.", seconds
        reason = "No Gemini API key is configured"
        if owned:
            reason = f"The Gemini API key{owned} was refused for good"
        elif self._pool.rotator.keys:
            reason = "All Gemini API keys are retired"
        return f"{reason} on this proxy. Its operator has to set GOOGLE_API_KEY_1.", None

    def _come_back(self) -> int | None:
        pool, model = self._pool, self.scope.model
        ready_at = pool.rotator.ready_at(model, self._failover.strangers, self.owner)
        if ready_at is None:
            return None
        now = pool.clock()
        seconds = max(1, math.ceil(ready_at - now))
        pool.lines.expect(model, now + seconds)
        return seconds

    @property
    def _owner_may_rest(self) -> bool:
        """Whether a key that was not asked could know the resource, once its quota is there again.

        One that is not permitted to do anything is not waited for.
        """
        now, asked = self._pool.clock(), self._failover.strangers
        keys = (self.owner,) if self.owner else self._pool.rotator.keys
        return any(key.rests_until <= now for key in keys if key not in asked)

    @property
    def _may_be_fresh(self) -> bool:
        return any(name.startswith("interactions/") for name in self.scope.resources)

    def _key_of_group(self) -> Key | None:
        if self.owner or not self.scope.group:
            return None
        key = self._pool.owners.of(self.scope.group)
        return key if key and key.ready_at(self.scope.model) <= self._pool.clock() else None

    async def _next_call(self) -> Call | None:
        lines, failover, model, spends = self._pool.lines, self._failover, self.scope.model, self._spends
        if call := lines.take(model, failover.used, self._only, spends=spends):
            return call
        if self.verdict.then is Then.RETRY and (
            call := lines.take(model, failover.strangers, self._only, spends=spends)
        ):
            return call  # the trouble was no key's, so one that was used will do
        now = asyncio.get_running_loop().time()
        if self._patience is None:
            self._patience = now + lines.max_wait
        return await lines.wait(
            model, self._arrival, failover.strangers, self._patience - now, self.owner, spends=spends
        )

    def _judge(self, answer: Answer) -> Verdict:
        """What the answer says of the key. The log tells of it when it is not for the client."""
        if isinstance(answer, UpstreamError):
            verdict = SILENCE if answer.silent else TROUBLE
            self._log(logging.WARNING, verdict, reason=str(answer), detail=answer.detail or None)
            return verdict
        verdict = answer.verdict(self._pool.clock.wall(), self.scope)
        if verdict.then is not Then.RELAY:
            self._log(logging.INFO, verdict, status=answer.head.status)
        return verdict

    def _log(self, level: int, verdict: Verdict, **fields: object) -> None:
        record = self._record
        about = {"key": record.key, "model": self.scope.model or None, **fields, "verdict": verdict.reason}
        logger.log(level, "attempt failed", extra={"fields": about | {"id": record.request_id}})

    def _abandon(self) -> None:
        """Nobody waits for the answer any more. The call was made, as far as is known."""
        if call := self._call:
            self._call = None
            self._pool.meter.attempted(call.key, "abandoned")
            self._pool.rotator.settle(call)


def _in_a_word(answer: Answer) -> int | str:
    return answer.head.status if isinstance(answer, Kept) else answer.word
