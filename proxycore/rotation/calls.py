"""Makes and reserves calls with keys, and counts them against the known quotas. Pure."""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from proxycore.clock import Clock
from proxycore.gemini.lane import counted_as
from proxycore.gemini.verdict import DAY, Backoff, Verdict
from proxycore.rotation.accounts import Accounts
from proxycore.rotation.attribution import Attribution
from proxycore.rotation.bench import BenchPlace, ExponentialBackoff
from proxycore.rotation.benches import Benches
from proxycore.rotation.events import CallCounted, CallUncounted, Origin, ProjectAssigned, QuotaLearned
from proxycore.rotation.key import Key, Project
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.quota import QuotaRefusal
from proxycore.rotation.search import Search
from proxycore.rotation.spent_days import SpentDays
from proxycore.rotation.ways import Ways

APART = 0.002
"""Seconds by which a reserved call may be later than necessary: no two are reserved for the same moment."""


@dataclass(eq=False, slots=True)
class Call:
    """A call with a key: for a lane (`model`), sent at a moment. `spends` is whether it spends a quota.

    `tokens` are those of its prompt, as estimated; `search` is the search that it is a try of, if any.
    """

    key: Key
    model: str
    at: float
    spends: bool
    tokens: int = 0
    search: Search | None = None


class Calls(Benches):
    """Benches, and the calls that are made and reserved.

    `patience` is the seconds that a request may wait for a key.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        backoffs: dict[Backoff, ExponentialBackoff],
        *,
        clock: Clock,
        source: random.Random,
        patience: float = 10.0,
    ) -> None:
        super().__init__(keys, backoffs, clock=clock, source=source)
        self.attribution = Attribution()
        self._spent_days = SpentDays(self.events, clock=clock, source=source)
        self.accounts = Accounts()
        self.ways = Ways(self.keys, clock)
        self.patience = patience
        self._alone = True

    @property
    def alone(self) -> bool:
        """Whether no other process uses these keys, as far as is known."""
        return self._alone

    def join_peers(self) -> None:
        """Other processes use these keys as well from now on, and publish their calls."""
        self._alone = False

    def acquire(
        self,
        model: str,
        avoid: Collection[Key] = (),
        only: Key | None = None,
        prefer: Project | None = None,
        *,
        spends: bool,
        tokens: int = 0,
    ) -> Call | None:
        """Make a call with a ready key, chosen as by `pick`; None when no key is ready."""
        now = self._clock()
        key = self._pick(model, now, avoid, only, prefer, tokens=tokens)
        return self._make_call(key, model, now, tokens, spends=spends) if key else None

    def acquire_out_of_order(
        self, model: str, avoid: Collection[Key], only: Key | None, *, spends: bool, tokens: int
    ) -> Call | None:
        """Make a call with a ready key of a later group, since a request can't wait for one of an earlier."""
        if only or not self._indexes.ordered or self.searches.holding(model):
            return None
        key = self._draw(model, self._clock(), avoid, self.counted_tokens(model, tokens))
        return self.call(key, model, spends=spends, tokens=tokens) if key else None

    def call(self, key: Key, model: str, *, spends: bool, tokens: int = 0) -> Call:
        """Make a call with this key."""
        return self._make_call(key, model, self._clock(), tokens, spends=spends)

    def _make_call(self, key: Key, model: str, now: float, tokens: int, *, spends: bool) -> Call:
        call = Call(key, model, now, spends and bool(model), tokens)
        key.tried_at = now  # written here and not by a method of the key: every attempt comes by
        if call.spends:
            self._count(key, model, now, now, tokens, mine=True)
        self._sent(call)
        return call

    def reserve(self, key: Key, model: str, at: float, tokens: int = 0) -> float:
        """Reserve a call with this key for about this moment; returns the exact one."""
        # Processes that reserve at once get different moments, so that it is clear which has to move.
        at += self._random.uniform(0.0, APART)
        self.count(key, model, at, tokens)
        return at

    def redeem(self, key: Key, model: str, at: float, *, spends: bool, tokens: int = 0) -> Call:
        """Make the call that was reserved for this moment."""
        key.tried_at = self._clock()
        if spends:
            key.project.limiter(counted_as(model)).open_reserved(at)
        call = Call(key, model, at, spends, tokens)
        self._sent(call)
        return call

    def _sent(self, call: Call) -> None:
        self.attribution.sent(call, call.key.project, call.model, call.at)
        if self.ways.failing:
            self.ways.sent(call.key, call.at)
        if (search := self.searches.holding(call.model)) and search.trying is call.key:
            call.search = search

    def count(self, key: Key, model: str, at: float, tokens: int = 0, origin: Origin = Origin.HERE) -> None:
        """Count a call from `at` on, which may be later than now."""
        self._count(key, model, at, self._clock(), tokens, mine=False, origin=origin)

    def _count(
        self,
        key: Key,
        model: str,
        at: float,
        now: float,
        tokens: int,
        *,
        mine: bool,
        origin: Origin = Origin.HERE,
    ) -> None:
        """Count a call; `mine` is whether its response arrives in this process."""
        lane = counted_as(model)
        limiter = key.project.limiter(lane)
        if limiter.today:
            limiter.today.roll(self._clock)
        limiter.add(at, now, tokens, mine=mine)
        if limiter.today and limiter.today.spent:
            self._spent_days.watch(key.project, lane)
        if not mine and limiter.learn_again(now):
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        if limiter.counted and self.events.is_wanted(CallCounted):
            self.events.publish(CallCounted(origin, key, lane, at, tokens))

    def count_tokens(self, call: Call, tokens: int) -> None:
        """Correct the tokens of a call's prompt, once its response has told them, if they are counted."""
        lane = counted_as(call.model)
        limiter = call.key.project.limiters.get(lane)
        if limiter and call.spends and lane in self._counts_tokens and tokens != call.tokens:
            call.tokens = tokens
            limiter.log.set_tokens(call.at, tokens)
            if self.events.is_wanted(CallCounted):
                self.events.publish(CallCounted(Origin.HERE, call.key, lane, call.at, tokens))

    def uncount(self, key: Key, model: str, at: float, origin: Origin = Origin.HERE) -> None:
        """Stop counting a call that was not made after all, or was refused."""
        lane = counted_as(model)
        if limiter := key.project.limiters.get(lane):
            limiter.remove(at)
            if limiter.learn_again(self._clock()):
                self.events.publish(QuotaLearned(Origin.HERE, key, lane))
            if limiter.is_idle(self._clock()):
                del key.project.limiters[lane]  # the model may well be invented
            self.reconsider(key.project, lane)
            if limiter.counted and self.events.is_wanted(CallUncounted):
                self.events.publish(CallUncounted(origin, key, lane, at))

    def learn_quotas(self, key: Key, lane: str, value: object, moments: Sequence[float]) -> None:
        """Apply what a peer knows of the quotas of a key's project. Raises ValueError if it is malformed."""
        limiter = key.project.limiter(lane)
        limiter.learn_quotas(value, moments, self._clock)
        if any(quota.of_tokens for quota in limiter.quotas.each):
            self._counts_tokens.add(lane)
        self.reconsider(key.project, lane)
        self.events.publish(QuotaLearned(Origin.PEER, key, lane))

    def retry_spent_days(self) -> None:
        """Permit one call where a day has been spent for some time, since its quota may have been raised.

        Call it about every second.
        """
        for project, lane in self._spent_days.due():
            key = next((key for key in project.keys if key in self._current_keys), None)
            limiter = project.limiters.get(lane)
            if key and limiter:
                self._retry_spent_day(key, lane, limiter)

    def _retry_spent_day(self, key: Key, lane: str, limiter: Limiter) -> None:
        bench, today, now = limiter.bench, limiter.today, self._clock()
        if today and today.spent and today.ends > now:
            today.permit_one(now)
            self.reconsider(key.project, lane)
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        if bench and bench.is_of_day(now):
            self.set_bench(key, BenchPlace.MODEL, replace(bench, benched_until=now), lane)

    def _end_trial_of_day(self, call: Call) -> None:
        """Apply that a call was served: if it was the one that was permitted, the day is not spent."""
        lane = counted_as(call.model)
        limiter = call.key.project.limiters.get(lane)
        if limiter and limiter.today and limiter.today.served():
            self.reconsider(call.key.project, lane)
            self.events.publish(QuotaLearned(Origin.HERE, call.key, lane))

    def learn_limits(self, call: Call, verdict: Verdict, now: float) -> float | None:
        """Learn the quotas that a refusal names; returns how many seconds the project has to rest."""
        if not call.spends:
            return verdict.seconds
        limiter = call.key.project.limiter(counted_as(call.model))
        if verdict.day:
            limiter.spend_day(verdict.limits, self._clock)
        refusals = [
            QuotaRefusal(limit, verdict.seconds, call.at, now, call.tokens)
            for limit in verdict.limits
            if limit.seconds < DAY
        ]
        rests = [limiter.refused(refusal, alone=self.alone) for refusal in refusals]
        return verdict.seconds if verdict.day else max(rests, default=verdict.seconds)

    def settle(self, call: Call) -> None:
        """Close a call whose response has no information about the key."""
        self.attribution.closed(call, call.model)
        if call.search:
            self.searches.end_try(call.search, alike=True)
        lane = counted_as(call.model)
        limiter = call.key.project.limiters.get(lane)
        if not call.spends or not limiter:
            return
        if limiter.counted:
            limiter.log.end(call.at)  # Google may have counted it
        else:
            self.uncount(call.key, lane, call.at)

    def withdraw(self, call: Call) -> None:
        """Take back a call that will not be sent after all."""
        self.attribution.closed(call, call.model)
        if call.spends:
            self.uncount(call.key, call.model, call.at)
        if call.search:
            self.searches.end_try(call.search, alike=False)

    def assign(self, key: Key, project: str, origin: Origin = Origin.HERE) -> None:
        """Move a key to the project that it belongs to, whose quotas and benches it then shares."""
        if key.project.name == project or key not in self._current_keys:
            return
        known = next((one.project for one in self.keys if one.project.name == project), None)
        if known is None and key.project.name.isdigit():
            return  # Google has named two for this key: the first one stays
        if known is None:
            key.project.rename(project)
        else:
            former = key.project
            known.absorb(former)
            self.attribution.forget(former)
            self.accounts.forget(former)
            self.reconsider_all()
        self.events.publish(ProjectAssigned(origin, key))

    def _untried(self, search: Search) -> list[Key]:
        """Return the ready keys that were not tried in this search."""
        ready = self._indexes.ready(search.lane or "", self._clock())
        return [key for project in ready for key in project.keys if search.tries(key) <= 0]
