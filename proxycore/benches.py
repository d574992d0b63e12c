"""Where keys rest, and until when: benches begin, are suspected, undone and ended here. Pure.

kind      what rests                                kept in
model     project x lane                            the project's allowance
caller    key x lane                                `Key.callers`
origin    key x the origin of the client's page     `Key.origins`
whole     the key                                   `Key.whole`
retired   the key, once it is proved to be dead     `Key.retired`
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxycore.attribution import Case, Refusal
from proxycore.bench import Bench, Doubling, bench_after
from proxycore.choice import Choice
from proxycore.clock import Clock
from proxycore.key import Key, Project
from proxycore.lane import counted_as
from proxycore.verdict import Backoff, Rest, Then, Verdict

_SUSPECTED = 1.0  # seconds
_MOST_ABOUT = 64  # lanes or origins of a key that are remembered
_KINDS = {Rest.MODEL: "model", Rest.CALLER: "caller", Rest.ORIGIN: "origin"}


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A bench or retirement that begins or ends here: of a key, by its kind as listeners hear it.

    `model` is the lane or origin that it is about, empty when it is about none. `request` is the id of the
    request whose answer caused it; empty when none did.
    """

    key: Key
    kind: str
    model: str
    bench: Bench
    request: str = ""


Reporter = Callable[[KeyEvent], None]
"""Is told of a bench or retirement that begins or ends here."""


class Benches(Choice):
    """Extends the choice among keys: some rest."""

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
        self._barred: dict[str, set[Key]] = {}  # origin -> keys that rest for it
        self._limited: dict[str, set[Project]] = {}  # lane -> projects that take no large requests
        self.on_bench: list[Reporter] = []
        self.on_recovery: list[Reporter] = []

    # What rests.

    def bench_of(self, key: Key, kind: str, about: str = "") -> Bench | None:
        """The bench of a kind."""
        match kind:
            case "model":
                allowance = key.project.allowances.get(about)
                return allowance.bench if allowance else None
            case "caller":
                return key.callers.get(about)
            case "origin":
                return key.origins.get(about)
            case "retired":
                return key.retired
        return key.whole

    def rest(self, key: Key, kind: str, bench: Bench, about: str = "") -> None:
        """A bench or retirement begins, or turned out to be this."""
        match kind:
            case "model":
                key.project.allowance(about).bench = bench
            case "caller":
                _remember(key.callers, about, bench)
            case "origin":
                for forgotten in _remember(key.origins, about, bench):
                    self._allow_origin(key, forgotten)
                self._barred.setdefault(about, set()).add(key)
            case "retired":
                key.retired = bench
            case _:
                key.whole = bench
        self.changed(kind, key, about)

    def release(self, key: Key, kind: str, about: str = "") -> None:
        """A bench or retirement is over."""
        match kind:
            case "model":
                if allowance := key.project.allowances.get(about):
                    allowance.relieve()
            case "caller":
                key.callers.pop(about, None)
            case "origin":
                key.origins.pop(about, None)
                self._allow_origin(key, about)
            case "retired":
                key.retired = None
            case _:
                key.whole = None
        if kind != "origin":
            self.reconsider(key.project, about if kind in {"model", "caller"} else None)
        self.changed(kind, key, about)

    def recover(self, key: Key, kind: str, about: str = "", request: str = "") -> None:
        """Releases a bench or retirement, since the key was found to work, or somebody said so."""
        if bench := self.bench_of(key, kind, about):
            self.release(key, kind, about)
            if not bench.suspected:
                self.report(self.on_recovery, KeyEvent(key, kind, about, bench, request))

    def report(self, reporters: Iterable[Reporter], event: KeyEvent) -> None:
        """Tells of a bench or a recovery."""
        for reporter in reporters:
            reporter(event)

    def words_of(self, key: Key, lane: str) -> str:
        """What Google said when the key was benched, for this lane or as a whole."""
        allowance = key.project.allowances.get(counted_as(lane))
        benches = (key.retired, key.whole, key.callers.get(lane), allowance.bench if allowance else None)
        return next((bench.words for bench in benches if bench and bench.words), "")

    @property
    def last_words(self) -> str:
        """What Google said of a key that is retired."""
        return next((key.retired.words for key in self.keys if key.retired), "")

    def unfit(self, model: str, size: int, origin: str) -> set[Key]:
        """The keys that take no request of so many bytes, or none from a page of this origin, now."""
        if not self._limited and not self._barred:
            return set()
        now, unfit = self._clock(), set[Key]()
        for project in tuple(self._limited.get(counted_as(model), ())):
            allowance = project.allowances.get(counted_as(model))
            if allowance is None or now >= allowance.too_large_until:
                self._limited[counted_as(model)].discard(project)
            elif not allowance.takes(size, now):
                unfit.update(project.keys)
        for key in self._barred.get(origin, ()):
            if (bench := key.origins.get(origin)) and bench.benched_until > now:
                unfit.add(key)
        return unfit

    def fit_at(self, model: str, size: int, origin: str) -> float | None:
        """When the first of those that are unfit is fit; None if none is unfit."""
        now, lane, moments = self._clock(), counted_as(model), []
        for key in self.unfit(model, size, origin):
            allowance, bench = key.project.allowances.get(lane), key.origins.get(origin)
            large = allowance.too_large_until if allowance and not allowance.takes(size, now) else now
            moments.append(max(large, bench.benched_until if bench else now, key.ready_at(model)))
        return min(moments, default=None)

    # What benches lead to.

    def _suspect(self, refusal: Refusal, lane: str) -> None:
        """The key that refused gets a short rest. A bench that runs for longer stays."""
        verdict, kind, now = refusal.verdict, _KINDS[refusal.verdict.rest], self._clock()
        former = self.bench_of(refusal.key, kind, refusal.where(lane))
        if former and former.benched_until > now + _SUSPECTED:
            return
        refusal.former = None if former and former.suspected else former
        strikes = refusal.former.strikes if refusal.former else 0
        bench = Bench(verdict.reason, now + _SUSPECTED, strikes, None, verdict.words, suspected=True)
        self.rest(refusal.key, kind, bench, refusal.where(lane))

    def acquit(self, case: Case, lane: str) -> None:
        """The suspicions of this case are undone, as if they had never been."""
        for refusal in case.refusals:
            kind, where = _KINDS[refusal.verdict.rest], refusal.where(lane)
            bench = self.bench_of(refusal.key, kind, where)
            if bench is None or not bench.suspected:
                continue
            if refusal.former:
                self.rest(refusal.key, kind, refusal.former, where)
                self.reconsider(refusal.key.project, lane)
            else:
                self.release(refusal.key, kind, where)

    def _confirm(self, refusal: Refusal, lane: str, request: str) -> None:
        """The key was to blame: it is benched, with one strike more."""
        key, verdict, kind = refusal.key, refusal.verdict, _KINDS[refusal.verdict.rest]
        about = counted_as(lane) if verdict.then is Then.ENTITLED else refusal.where(lane)
        current, now = self.bench_of(key, kind, about), self._clock()
        if key not in self._there or (current and not current.suspected and current.benched_until > now):
            return
        former = refusal.former if current and current.suspected else current
        # Short at first, whatever was refused: that an outage ended between two calls looks the same.
        is_proved = former is not None and former.strikes > 0
        doubling = self._doublings[verdict.backoff if is_proved else Backoff.QUOTA]
        if bench := bench_after(former, verdict, doubling, now, self._random):
            self._begin(key, kind, bench, about, request)

    def _begin(self, key: Key, kind: str, bench: Bench, about: str, request: str) -> Bench:
        self.rest(key, kind, bench, about)
        self.report(self.on_bench, KeyEvent(key, kind, about, bench, request))
        return bench

    def _bench_keys(self, keys: Iterable[Key], verdict: Verdict, request: str) -> Bench | None:
        """Whole keys rest; returns the bench of the first, if it is a new one."""
        now, benches = self._clock(), []
        for key in keys:
            bench = bench_after(key.whole, verdict, self._doublings[verdict.backoff], now, self._random)
            if bench:
                benches.append(self._begin(key, "whole", bench, "", request))
        return benches[0] if benches else None

    def _limit_size(self, project: Project, lane: str, size: int, seconds: float) -> None:
        """A request of so many bytes had too many tokens for what is left of the project's quota."""
        now = self._clock()
        project.allowance(lane).limit_size(size, now + seconds, now)
        self._limited.setdefault(lane, set()).add(project)

    def _allow_origin(self, key: Key, origin: str) -> None:
        barred = self._barred.get(origin, set())
        barred.discard(key)
        if not barred:
            self._barred.pop(origin, None)


def _remember(benches: dict[str, Bench], about: str, bench: Bench) -> list[str]:
    """Remembers a bench; returns what was forgotten for it."""
    forgotten = [next(iter(benches))] if about not in benches and len(benches) >= _MOST_ABOUT else []
    for oldest in forgotten:
        del benches[oldest]
    benches[about] = bench
    return forgotten
