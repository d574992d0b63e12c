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
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from proxycore.affinity import Scope
from proxycore.calls import Call
from proxycore.case import Case
from proxycore.closing import Closing
from proxycore.failover import FEW, Failover
from proxycore.judge import judge
from proxycore.kept import Kept
from proxycore.key import Key
from proxycore.log import logger
from proxycore.messages import UpstreamError
from proxycore.outcome import Answer, Outcome
from proxycore.pool import Pool
from proxycore.record import Record
from proxycore.verdict import HEALTHY, SILENCE, STRANGER, TROUBLE, Then, Verdict

_PAUSE = (0.05, 0.25)  # seconds between attempts after server errors; doubles with every one
_LONGEST_PAUSE = 2.0


TryKey = Callable[[Key, bool], Awaitable[Answer | None]]
"""One attempt: with this key, and whether on a fresh connection. None: committed."""


class Passage:
    """The passage of one request. Raises OwnersDifferError when no key could serve it.

    `case` says who asks, and for what.
    """

    _arrivals = itertools.count()

    def __init__(
        self,
        pool: Pool,
        scope: Scope,
        record: Record,
        *,
        repeatable: bool,
        spends: bool,
        once: bool,
        case: Case | None = None,
    ) -> None:
        self.scope = scope
        self.lane = scope.lane or scope.model
        self.owner = pool.owners.owner(scope)
        self.verdict = HEALTHY
        self.outcome = Outcome()
        self._pool = pool
        self._record = record
        self._case = case or Case(request=record.request_id)
        self._failover = Failover(1 if once else pool.max_attempts, repeatable)
        self._spends = spends
        self._only = self.owner  # as long as it may know the resource
        self._call: Call | None = None  # whose answer is not there yet
        self._arrival = next(self._arrivals)
        self._deadline: float | None = None  # until when it may wait for a key, once it had to
        self._troubled_at: float | None = None  # when the first server error came
        pool.retries.earn()

    @property
    def last(self) -> Answer | None:
        """The last answer that was not committed."""
        return self.outcome.last

    async def run(self, attempt: TryKey, key: Key | None = None) -> bool:
        """Tries key after key; returns whether an answer was committed. `key` is the first, if it is said."""
        failover, rotator = self._failover, self._pool.rotator
        key = key or self._key_of_group()
        call = rotator.call(key, self.lane, spends=self._spends) if key else None
        try:
            while call := call or await self._next_call():
                if key and self.last and call.key is not key:
                    self._pool.meter.failed_over(key)
                self._call, key = call, call.key
                self._record.key, self._record.attempts = key.name, self._record.attempts + 1
                fresh = failover.troubles > 0 or not failover.repeatable
                answer = await attempt(key, fresh)
                if answer is None:
                    return True
                if not await self._goes_on(call, answer):
                    return False
                call = None
        finally:
            self._abandon()
        if not failover.spent:
            rotator.exhausted(self._case, self.lane)
        self.outcome.end(self._owner_may_rest)
        return False

    def settle(self, verdict: Verdict, answer: int | str) -> None:
        """Puts what the answer to the call under way says into effect: a status, or what it was instead."""
        call, self._call = self._call, None
        if call is None:
            return
        self._pool.meter.attempted(call.key, answer)
        self._pool.rotator.apply(call, verdict, self._case)
        if verdict.healthy:
            group = [self.scope.group] if self.scope.group else []
            self._pool.owners.learn([*self.scope.resources, *group], call.key)

    def hand_over(self) -> None:
        """Leaves the call under way to another passage of the same request, which counts it."""
        call, self._call = self._call, None
        if call is not None:
            self._pool.rotator.settle(call)
            self._record.attempts -= 1

    def takes(self, key: Key) -> bool:
        """Whether this key could serve the request now, as far as is known."""
        ready = key.ready_at(self.lane) <= self._pool.clock()
        return ready and self.owner in (None, key) and key not in self._unfit()

    def want(self) -> tuple[str, int | None]:
        """Why no key served the request, for people, and seconds after which a new one would be served.

        None if it never would. Else it is expected then.
        """
        rotator, lane = self._pool.rotator, self.lane
        unfit, unfit_until = self._unfit(), self._unfit_until()
        avoid = self._failover.refused if self.outcome.disowned else unfit
        turn = rotator.next_turn(lane, avoid, self.owner)
        moments = [moment for moment in (turn and turn[1], unfit_until) if moment is not None]
        words = self.outcome.words or (turn and rotator.words_of(turn[0], lane)) or rotator.last_words
        said = f" Google's last reason: {words}" if words else ""
        if moments:
            seconds = self._pool.lines.retry_after(lane, min(moments))
            return f"{self._no_key(self.scope.model or 'this')} Retry in {seconds}s.{said}", seconds
        reason = "No Gemini API key is configured on this proxy."
        if self.owner and self.scope.resources:
            reason = f"The Gemini API key that owns {self.scope.resources[0]} is disabled."
        elif rotator.keys:
            reason = f"All {len(rotator.keys)} Gemini API keys of this proxy are disabled."
        return f"{reason} Its operator has to set GOOGLE_API_KEY_1.{said}", None

    def _no_key(self, what: str) -> str:
        if self.owner and self.scope.resources:
            return f"The Gemini API key that owns {self.scope.resources[0]} is not available."
        keys, now = self._pool.rotator.keys, self._pool.clock()
        disabled = sum(key.retired is not None for key in keys)
        resting = sum(key.retired is None and key.ready_at(self.lane) > now for key in keys)
        counts = f"{resting} of {len(keys)} are cooling down, {disabled} disabled"
        return f"No Gemini API key is available for {what} ({counts})."

    async def _goes_on(self, call: Call, answer: Answer) -> bool:
        """Takes note of an answer that was not committed; returns whether the passage goes on."""
        failover, key = self._failover, call.key
        self.verdict = verdict = self._judge(answer)
        self.outcome.note(verdict, answer)
        sent = not isinstance(answer, UpstreamError) or answer.sent
        if call.spends and not sent:
            self._pool.rotator.uncount(key, call.model, call.at)
        self.settle(verdict, _in_a_word(answer))
        wanted = failover.note(key, verdict, self._case, sent=sent)
        if verdict.then is Then.ENTITLED and wanted:
            wanted = self._pool.rotator.seeks_entitled(self._case, self.lane)
        if not wanted:
            self.outcome.decided = True
            return False
        if failover.spent:
            self.outcome.end(self._owner_may_rest)
            return False
        if key is self._only and verdict is STRANGER and not self._may_be_fresh:
            self._only = None
        return verdict.then is not Then.RETRY or await self._may_retry()

    async def _may_retry(self) -> bool:
        """Whether a call may be made again after a server error, and the pause before it."""
        loop, pool, troubles = asyncio.get_running_loop(), self._pool, self._failover.troubles
        now = loop.time()
        if self._troubled_at is None:
            self._troubled_at = now
        left = self._troubled_at + pool.lines.max_wait - now
        low, high = (min(seconds * 2 ** (troubles - 1), _LONGEST_PAUSE) for seconds in _PAUSE)
        pause = pool.source.uniform(low, high)
        if troubles < FEW:
            pause = min(pause, max(left, _PAUSE[0]))
        if pause > max(left, _PAUSE[0]) or not pool.retries.spend():
            self.outcome.decided = True
            return False
        await asyncio.sleep(pause)
        return True

    @property
    def _owner_may_rest(self) -> bool:
        """Whether a key that was not asked could know the resource, once its quota is there again.

        One that is not permitted to do anything is not waited for.
        """
        now, asked = self._pool.clock(), self._failover.refused
        keys = (self.owner,) if self.owner else self._pool.rotator.keys
        return not self._failover.spent and any(key.rests_until <= now for key in keys if key not in asked)

    @property
    def _may_be_fresh(self) -> bool:
        return any(name.startswith("interactions/") for name in self.scope.resources)

    def _key_of_group(self) -> Key | None:
        if self.owner or not self.scope.group:
            return None
        key = self._pool.owners.of(self.scope.group)
        return key if key and self.takes(key) else None

    async def _next_call(self) -> Call | None:
        lines, failover, rotator = self._pool.lines, self._failover, self._pool.rotator
        while True:
            advice = rotator.advise(self._case, self.lane)
            failover.pardon(advice.pardoned)
            unfit = advice.unfit
            used = failover.used | unfit if unfit else failover.used
            refused = failover.refused | unfit if unfit else failover.refused
            if call := lines.try_acquire(
                self.lane, used, self._only, spends=self._spends, prefer=advice.witness
            ):
                return call
            if self.verdict.then is Then.RETRY and (
                call := lines.try_acquire(self.lane, refused, self._only, spends=self._spends)
            ):
                return call  # the trouble was no key's, so one that was used will do
            if any(refusal.verdict.unknown for refusal in self._case.unentitled):
                return None  # keys that rest would hardly know the model, either
            seconds = self._patience()
            call = await lines.wait(
                self.lane, self._arrival, refused, seconds, self.owner, spends=self._spends
            )
            if call or not (self._pardon() or await self._grows_fit(unfit)):
                return call

    def _pardon(self) -> bool:
        """Whether a key that refused the request may be asked again, since the search is over."""
        return self._failover.pardon(self._pool.rotator.attribution.pardoned(self._case, self.lane))

    def _patience(self) -> float:
        """Seconds that the request may still wait for a key."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._pool.lines.max_wait
        return self._deadline - now

    async def _grows_fit(self, unfit: AbstractSet[Key]) -> bool:
        """Waits for the first key that is unfit for this request to be fit, if that is soon enough."""
        until = self._unfit_until() if unfit else None
        if until is None or until - self._pool.clock() > self._patience():
            return False
        await asyncio.sleep(max(0.0, until - self._pool.clock()))
        return True

    def _unfit(self) -> set[Key]:
        return self._pool.rotator.unfit(self.lane, self._case.size, self._case.origin)

    def _unfit_until(self) -> float | None:
        return self._pool.rotator.fit_at(self.lane, self._case.size, self._case.origin)

    def _judge(self, answer: Answer) -> Verdict:
        """What the answer says of the key. The log tells of it when it is not for the client."""
        if isinstance(answer, UpstreamError):
            verdict = SILENCE if answer.silent else TROUBLE
            self._log(logging.WARNING, verdict, reason=str(answer), detail=answer.detail or None)
            return verdict
        verdict = self._verdict(answer)
        if verdict.then is not Then.RELAY:
            self._log(logging.INFO, verdict, status=answer.status)
        return verdict

    def _verdict(self, answer: Kept) -> Verdict:
        now, scope = self._pool.clock.wall(), self.scope
        if isinstance(answer, Closing):
            return answer.verdict(now, scope)
        return judge(
            answer.head.status,
            answer.head.fields,
            answer.body or b"",
            now=now,
            names_resource=scope.names_resource,
            opening_error=answer.error,
        )

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
    return answer.status if isinstance(answer, Kept) else answer.word
