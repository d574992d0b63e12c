"""The calls that are made with the keys: counted against what is known of quotas. Pure."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxycore.attribution import Attribution
from proxycore.bench import Doubling
from proxycore.benches import Benches
from proxycore.clock import Clock
from proxycore.events import CallCounted, CallUncounted, Origin, ProjectAssigned, QuotaLearned
from proxycore.key import Key
from proxycore.lane import counted_as
from proxycore.search import Search
from proxycore.verdict import Backoff

APART = 0.002
"""Seconds by which a reserved call may be later than it could be."""


@dataclass(eq=False, slots=True)
class Call:
    """A call with a key: for a lane, sent at a moment. `spends` is whether it spends a quota.

    `search` is the one that it is a try of.
    """

    key: Key
    model: str
    at: float
    spends: bool
    search: Search | None = None


class Calls(Benches):
    """Extends the benches: remembers the calls made with the keys.

    `patience` is for how many seconds a request may wait for a key.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        doublings: dict[Backoff, Doubling],
        *,
        clock: Clock,
        source: random.Random,
        patience: float = 10.0,
    ) -> None:
        super().__init__(keys, doublings, clock=clock, source=source)
        self.attribution = Attribution()
        self.patience = patience
        self._alone = True
        self.since = clock()  # when it began to know of calls

    @property
    def alone(self) -> bool:
        """Whether no other process uses these keys, as far as is known."""
        return self._alone

    def join_peers(self) -> None:
        """Others use these keys, too, and tell of their calls from now on."""
        self._alone = False

    def call(self, key: Key, model: str, *, spends: bool) -> Call:
        """A call is made with this key, now."""
        call = Call(key, model, self._clock(), spends and bool(model))
        key.tried_at = call.at
        if call.spends:
            self.count(key, model, call.at, mine=True)
        self._sent(call)
        return call

    def reserve(self, key: Key, model: str, at: float) -> float:
        """A call is reserved on this key, for about this moment; returns which it is."""
        # Never quite the same as another's who reserves it in this moment: the later one has to move.
        at += self._random.uniform(0.0, APART)
        self.count(key, model, at)
        return at

    def redeem(self, key: Key, model: str, at: float, *, spends: bool) -> Call:
        """The call that was reserved for this moment is made now."""
        key.tried_at = self._clock()
        if spends:
            key.project.allowance(counted_as(model)).begin(at)
        call = Call(key, model, at, spends)
        self._sent(call)
        return call

    def _sent(self, call: Call) -> None:
        self.attribution.sent(call, call.key.project, call.model, call.at)
        if self.searches and (search := self.holding(call.model)) and search.trying is call.key:
            call.search = search

    def count(
        self, key: Key, model: str, at: float, *, mine: bool = False, origin: Origin = Origin.HERE
    ) -> None:
        """A call counts from `at` on, which may be later than now. `mine`: its answer will be told."""
        now, lane = self._clock(), counted_as(model)
        allowance = key.project.allowance(lane)
        if allowance.today:
            allowance.today.roll(self._clock)
        allowance.add(at, now, mine=mine)
        if not mine and allowance.learn_again(now):
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        if allowance.counted and self.events.is_wanted(CallCounted):
            self.events.publish(CallCounted(origin, key, lane, at))

    def uncount(self, key: Key, model: str, at: float, origin: Origin = Origin.HERE) -> None:
        """A call was not made after all, or was refused: it does not count."""
        lane = counted_as(model)
        if allowance := key.project.allowances.get(lane):
            allowance.remove(at)
            if allowance.learn_again(self._clock()):
                self.events.publish(QuotaLearned(Origin.HERE, key, lane))
            self.reconsider(key.project, lane)
            if allowance.counted and self.events.is_wanted(CallUncounted):
                self.events.publish(CallUncounted(origin, key, lane, at))

    def learn_quotas(self, key: Key, lane: str, value: object, moments: Sequence[float]) -> None:
        """A peer knows this of the quotas of a key's project; raises ValueError when it makes no sense."""
        key.project.allowance(lane).learn_quotas(value, moments, self.since, self._clock)
        self.events.publish(QuotaLearned(Origin.PEER, key, lane))

    def settle(self, call: Call) -> None:
        """A call is over, with nothing to say about the key."""
        self.attribution.over(call, call.model)
        if call.search:
            self._end_try(call.search, alike=True)
        lane = counted_as(call.model)
        allowance = call.key.project.allowances.get(lane)
        if not call.spends or not allowance:
            return
        if allowance.counted:
            allowance.settled(call.at)  # Google may have counted it
        else:
            allowance.remove(call.at)
            if allowance.idle(self._clock()):
                del call.key.project.allowances[lane]  # the model may well be invented

    def assign(self, key: Key, project: str, origin: Origin = Origin.HERE) -> None:
        """The key turned out to be of this project, and so to share what the others of it know."""
        if key.project.name == project or key not in self._there:
            return
        known = next((one.project for one in self.keys if one.project.name == project), None)
        if known is None and key.project.name.isdigit():
            return  # Google names two for one key: the first stands
        if known is None:
            key.project.name = project
        else:
            known.absorb(key.project)
            self.reconsider(known)
        self.events.publish(ProjectAssigned(origin, key))

    def _end_try(self, search: Search, *, alike: bool) -> None:
        if self.searches.get(search.lane) is search:
            search.end_try(self._clock(), alike=alike)
            self._publish_search(search)

    def _untried(self, search: Search) -> list[Key]:
        """The keys that are ready and were not tried in this search."""
        ready = self._roster(search.lane or "", self._clock()).ready(self._clock())
        return [key for project in ready for key in project.keys if search.tries(key) <= 0]
