"""The keys and their health: random choice among those that are ready, benches, retirement.

A key's story. It is *ready* until an answer says otherwise. A refusal *benches* it until a moment, for a
reason, either for one model (a quota, which is its whole project's) or as a whole (a permission). When that
moment has passed it is ready again, for one call at a time until one succeeds; if it is refused again, that
is one more *strike*, and where answers give no time the bench doubles with every strike in a row. A success
clears the strikes. A key that is dead is *retired*: it is tried once a day, with a call of our own.

A quota that a refusal told is *learned*: from then on the key rests before it would be refused. When many
keys are refused alike, that is an *outage*, and no key is benched for it.

Pure: the clock and the random source come in.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxycore.bench import Bench, Doubling, bench_after
from proxycore.choice import Choice
from proxycore.clock import Clock
from proxycore.key import Key, Project
from proxycore.verdict import DAY, Backoff, Rest, Verdict

RETRIAL = DAY
"""Seconds after which a retired key is tried once more."""

_KINDS = {Rest.MODEL: "model", Rest.KEY: "whole", Rest.RETIRED: "retired"}

APART = 0.002
"""Seconds by which a reserved call may be later than it could be."""


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A bench or retirement that begins or ends here: of a key, by its kind as listeners hear it.

    `model` is empty when the kind is not `model`, or when the requests that it is about name none. `request`
    is the id of the request whose answer caused it; empty when none did.
    """

    key: Key
    kind: str
    model: str
    bench: Bench
    request: str = ""


Reporter = Callable[[KeyEvent], None]
"""Is told of a bench or retirement that begins or ends here."""


@dataclass(eq=False, slots=True)
class Call:
    """A call with a key: for a model, sent at a moment. `spends` is whether it spends a quota."""

    key: Key
    model: str
    at: float
    spends: bool


class Rotator(Choice):
    """Extends the choice among keys: remembers the calls made with them, and what answers said of them."""

    def __init__(
        self,
        keys: Iterable[Key],
        doublings: dict[Backoff, Doubling],
        *,
        clock: Clock,
        source: random.Random,
    ) -> None:
        super().__init__(keys, clock=clock, source=source)
        self._doublings = doublings
        self.on_bench: list[Reporter] = []
        self.on_recovery: list[Reporter] = []
        self.alone = True  # whether nobody else uses these keys, as far as is known
        self.since = clock()  # when it began to know of calls

    def __repr__(self) -> str:
        now = self._clock()
        retired = sum(key.retired is not None for key in self.keys)
        resting = sum(key.retired is None and key.rests_until > now for key in self.keys)
        return f"<Rotator {len(self.keys)} keys, {resting} benched, {retired} retired>"

    def change(self, keys: Iterable[Key], doublings: dict[Backoff, Doubling]) -> None:
        """From now on, these keys are there. Those that are retired get another chance."""
        self._set(keys)
        self._doublings = doublings
        self.reconsider_all()
        self.changed("keys", None)
        for key in self.keys:
            if key.retired:
                self.release(key, "retired")

    def reckon_days(self) -> None:
        """The wall clock was set: what lasts until the end of Google's day lasts until that comes now."""
        for project in self.projects:
            for allowance in project.allowances.values():
                allowance.reckon_day(self._clock)
            for key in project.keys:
                if key.whole:
                    key.whole.reckon_day(self._clock)
        self.reconsider_all()
        self.changed("day", None)

    # Calls.

    def call(self, key: Key, model: str, *, spends: bool) -> Call:
        """A call is made with this key, now."""
        call = Call(key, model, self._clock(), spends and bool(model))
        key.tried_at = call.at
        if call.spends:
            self.count(key, model, call.at, mine=True)
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
            key.project.allowance(model).begin(at)
        return Call(key, model, at, spends)

    def count(self, key: Key, model: str, at: float, *, mine: bool = False) -> None:
        """A call counts from `at` on, which may be later than now. `mine`: its answer will be told."""
        now = self._clock()
        allowance = key.project.allowance(model)
        if allowance.today:
            allowance.today.roll(self._clock)
        allowance.add(at, now, mine=mine)
        if not mine and allowance.learn_again(now):
            self.changed("lesson", key, model)
        if allowance.counted:
            self.changed("call", key, model, at)

    def uncount(self, key: Key, model: str, at: float) -> None:
        """A call was not made after all, or was refused: it does not count."""
        if allowance := key.project.allowances.get(model):
            allowance.remove(at)
            if allowance.learn_again(self._clock()):
                self.changed("lesson", key, model)
            self.reconsider(key.project, model)
            if allowance.counted:
                self.changed("uncall", key, model, at)

    # Verdicts.

    def apply(self, call: Call, verdict: Verdict, request: str = "") -> Bench | None:
        """Puts a verdict into effect; returns the bench or retirement when it is a new one.

        `request` is the id of the request that the call was made for.
        """
        key, model = call.key, call.model
        for ended in self.outages.ended(model, verdict, call.at):
            self.changed("outage", None, ended.model or "")
        if verdict.healthy:
            self._clear(call, request)
            return None
        if verdict.project:
            self.assign(key, verdict.project)
        if verdict.rest is Rest.NOTHING:
            self.settle(call)
        elif call.spends:
            self.uncount(key, model, call.at)
        if outage := self.outages.begun(key.project, model, verdict, self._clock()):
            self._acquit(outage.failed, model, verdict)
            self.changed("outage", None, outage.model or "")
        known = self.outages.of(model)
        if verdict.rest is Rest.NOTHING or (known and known.covers(verdict)):
            return None
        bench = self._bench(call, verdict)
        if bench:
            kind = _KINDS[verdict.rest]
            event = KeyEvent(key, kind, model if kind == "model" else "", bench, request)
            self.report(self.on_bench, event)
        return bench

    def settle(self, call: Call) -> None:
        """A call is over, with nothing to say about the key."""
        allowance = call.key.project.allowances.get(call.model)
        if not call.spends or not allowance:
            return
        if allowance.counted:
            allowance.settled(call.at)  # Google may have counted it
        else:
            allowance.remove(call.at)
            if allowance.idle(self._clock()):
                del call.key.project.allowances[call.model]  # the model may well be invented

    def assign(self, key: Key, project: str) -> None:
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
        self.changed("project", key)

    def rest(self, key: Key, kind: str, bench: Bench, model: str = "") -> None:
        """A bench or retirement (by its kind, as listeners hear it) begins, or turned out to be this."""
        if kind == "model":
            key.project.allowance(model).bench = bench
        else:
            setattr(key, kind, bench)
        self.changed(kind, key, model)

    def release(self, key: Key, kind: str, model: str = "") -> None:
        """A bench or retirement (by its kind, as listeners hear it) is over."""
        if kind == "model":
            if allowance := key.project.allowances.get(model):
                allowance.relieve()
            self.reconsider(key.project, model)
        else:
            setattr(key, kind, None)
            self.reconsider(key.project)
        self.changed(kind, key, model)

    def recover(self, key: Key, kind: str, model: str = "", request: str = "") -> None:
        """Releases a bench or retirement, since the key was found to work, or somebody said so."""
        allowance = key.project.allowances.get(model)
        bench = getattr(key, kind) if kind != "model" else allowance.bench if allowance else None
        if bench:
            self.release(key, kind, model)
            self.report(self.on_recovery, KeyEvent(key, kind, model, bench, request))

    def report(self, reporters: Iterable[Reporter], event: KeyEvent) -> None:
        """Tells of a bench or a recovery."""
        for reporter in reporters:
            reporter(event)

    def _clear(self, call: Call, request: str) -> None:
        # An answer to a call that was sent before the bench began says nothing about now, so a bench
        # that still runs is kept. A retirement is not: it was for good, and a success proves it wrong.
        now, key = self._clock(), call.key
        if key.retired:
            self.recover(key, "retired", request=request)
        if key.whole and key.whole.benched_until <= now:
            self.recover(key, "whole", request=request)
        allowance = key.project.allowances.get(call.model)
        if allowance is None:
            return
        if allowance.bench and allowance.bench.benched_until <= now:
            self.recover(key, "model", call.model, request)
        if call.spends and allowance.served(call.at):
            self.reconsider(key.project, call.model)
            self.changed("room", key, call.model)

    def _bench(self, call: Call, verdict: Verdict) -> Bench | None:
        now, key, model = self._clock(), call.key, call.model
        doubling = self._doublings[verdict.backoff]
        if verdict.rest is Rest.RETIRED:
            if key.retired:
                return None
            self.rest(key, "retired", Bench(verdict.reason, now + RETRIAL))
            return key.retired
        if verdict.rest is Rest.KEY:
            if fresh := bench_after(key.whole, verdict, doubling, now, self._random):
                self.rest(key, "whole", fresh)
            return fresh
        allowance = key.project.allowance(model)
        for limit in verdict.limits if call.spends else ():
            allowance.refused(limit, verdict.seconds or 0.0, call.at, now, self.since, alone=self.alone)
        self._forget_old(key.project)
        fresh = bench_after(allowance.bench, verdict, doubling, now, self._random)
        self.rest(key, "model", fresh or allowance.bench or Bench(verdict.reason, now), model)
        if verdict.limits:
            self.changed("quota", key, model)
        return fresh

    def _acquit(self, projects: Iterable[Project], model: str, verdict: Verdict) -> None:
        """Takes back the benches that were not these projects' fault."""
        for project in projects:
            allowance = project.allowances.get(model)
            if allowance and allowance.bench and allowance.bench.reason == verdict.reason:
                self.release(project.keys[0], "model", model)
            for key in project.keys:
                if key.whole and key.whole.reason == verdict.reason:
                    self.release(key, "whole")
                if key.retired and key.retired.reason == verdict.reason:
                    self.release(key, "retired")

    def _forget_old(self, project: Project) -> None:
        # Strikes are worth remembering for as long as the longest doubling; after that the model's
        # bench is only memory that invented model names could fill.
        now = self._clock()
        horizon = now - self._doublings[Backoff.QUOTA].longest
        for model, allowance in list(project.allowances.items()):
            if allowance.bench and allowance.bench.benched_until < horizon:
                allowance.bench = None
                if allowance.idle(now):
                    del project.allowances[model]
