"""Sets and ends the benches of keys: suspected ones, confirmed ones, and those set by hand. Pure."""

import random
from collections.abc import Iterable
from dataclasses import replace

from proxycore.clock import Clock
from proxycore.gemini.lane import counted_as
from proxycore.gemini.verdict import Backoff, BenchScope, Reaction, Verdict
from proxycore.rotation.bench import (
    LANE_PLACES,
    Bench,
    BenchPlace,
    ExponentialBackoff,
    bench_after,
    since_first,
)
from proxycore.rotation.case import Case, Refusal
from proxycore.rotation.events import BenchBegan, BenchChanged, BenchEnded, Origin
from proxycore.rotation.key import Key, Project
from proxycore.rotation.limiter import HEAD_START
from proxycore.rotation.selection import Selector

_SUSPECTED = 1.0  # seconds
_TURNS = 300  # in which the projects are gone through, so that none takes long
_PLACES = {
    BenchScope.MODEL: BenchPlace.MODEL,
    BenchScope.CALLER: BenchPlace.CALLER,
    BenchScope.ORIGIN: BenchPlace.ORIGIN,
}


class Benches(Selector):
    """A selector whose keys can be benched, for a lane, an origin or as a whole."""

    def __init__(
        self,
        keys: Iterable[Key],
        backoffs: dict[Backoff, ExponentialBackoff],
        *,
        clock: Clock,
        source: random.Random,
    ) -> None:
        super().__init__(keys, clock=clock, source=source)
        self._backoffs = backoffs
        self._barred: dict[str, set[Key]] = {}  # origin -> keys that are benched for it
        self._turn = 0  # the next one to forget what is old

    # State.

    def set_bench(
        self, key: Key, place: BenchPlace, bench: Bench, about: str = "", origin: Origin = Origin.HERE
    ) -> None:
        """Set a bench or retirement, without a log line."""
        self._put(key, place, bench, about)
        self.events.publish(BenchChanged(origin, key, place, about, bench))

    def clear_bench(self, key: Key, place: BenchPlace, about: str = "", origin: Origin = Origin.HERE) -> None:
        """Remove a bench or retirement, without a log line."""
        self._remove(key, place, about)
        self.events.publish(BenchChanged(origin, key, place, about, None))

    def begin_bench(
        self, key: Key, place: BenchPlace, bench: Bench, about: str = "", request: str = ""
    ) -> Bench:
        """Begin a new bench or retirement, which is logged and counted; returns it."""
        self._put(key, place, bench, about)
        self.events.publish(BenchBegan(Origin.HERE, key, place, about, bench, request))
        return bench

    def recover(self, key: Key, place: BenchPlace, about: str = "", request: str = "") -> None:
        """End a bench or retirement, if there is one, since the key was found to work."""
        bench = key.bench_at(place, about)
        if bench is None:
            return
        if bench.suspected:
            self.clear_bench(key, place, about)
            return
        self._remove(key, place, about)
        self.events.publish(BenchEnded(Origin.HERE, key, place, about, None, bench, request))

    def _put(self, key: Key, place: BenchPlace, bench: Bench, about: str) -> None:
        for forgotten in key.put_bench(place, about, bench):
            if place is BenchPlace.ORIGIN:
                self._allow_origin(key, forgotten)
        if place is BenchPlace.ORIGIN:
            self._barred.setdefault(about, set()).add(key)
        if place in LANE_PLACES and bench.benched_until <= self._clock():
            self.reconsider(key.project, about)  # it may be in place of a longer one

    def _remove(self, key: Key, place: BenchPlace, about: str) -> None:
        key.remove_bench(place, about)
        if place is BenchPlace.ORIGIN:
            self._allow_origin(key, about)
        else:
            self.reconsider(key.project, about if place in LANE_PLACES else None)

    def words_of(self, key: Key, lane: str) -> str:
        """Return Google's message when the key was benched for this lane or as a whole; empty if unknown."""
        limiter = key.project.limiters.get(counted_as(lane))
        benches = (key.retired, key.whole, key.callers.get(lane), limiter.bench if limiter else None)
        return next((bench.words for bench in benches if bench and bench.words), "")

    @property
    def last_words(self) -> str:
        """Google's message about one of the retired keys; empty if there is none."""
        return next((key.retired.words for key in self.keys if key.retired), "")

    def unfit(self, origin: str) -> set[Key]:
        """Return the keys that take no request from a page of this origin now."""
        if not self._barred:
            return set()
        now, unfit = self._clock(), set[Key]()
        for key in self._barred.get(origin, ()):
            if (bench := key.origins.get(origin)) and bench.benched_until > now:
                unfit.add(key)
        return unfit

    def fit_at(self, model: str, origin: str) -> float | None:
        """Return when the first unfit key is fit again, a moment of the clock; None if none is unfit."""
        moments = [max(key.origins[origin].benched_until, key.ready_at(model)) for key in self.unfit(origin)]
        return min(moments, default=None)

    # Refusals.

    def _suspect(self, refusal: Refusal, lane: str) -> None:
        """Bench the key that refused for a second, as suspected. A bench that runs for longer stays."""
        verdict, place, now = refusal.verdict, _PLACES[refusal.verdict.rest], self._clock()
        former = refusal.key.bench_at(place, refusal.where(lane))
        if former and former.benched_until > now + _SUSPECTED:
            return
        refusal.former = None if former and former.suspected else former
        strikes = refusal.former.strikes if refusal.former else 0
        bench = Bench(
            verdict.reason,
            now + _SUSPECTED,
            strikes,
            words=verdict.words,
            suspected=True,
            since=since_first(refusal.former, now),
        )
        self.set_bench(refusal.key, place, bench, refusal.where(lane))

    def lift_suspicions(self, case: Case, lane: str) -> None:
        """Replace the suspected benches of this case by the benches that the keys had before."""
        for refusal in case.refusals:
            place, where = _PLACES[refusal.verdict.rest], refusal.where(lane)
            bench = refusal.key.bench_at(place, where)
            if bench is None or not bench.suspected:
                continue
            if refusal.former:
                self.set_bench(refusal.key, place, refusal.former, where)
                self.reconsider(refusal.key.project, lane)
            else:
                self.clear_bench(refusal.key, place, where)

    def _confirm(self, refusal: Refusal, lane: str, request: str) -> None:
        """Bench a key that was found to be at fault, with one more strike."""
        key, verdict, place = refusal.key, refusal.verdict, _PLACES[refusal.verdict.rest]
        about = counted_as(lane) if verdict.then is Reaction.ENTITLED else refusal.where(lane)
        current, now = key.bench_at(place, about), self._clock()
        if key not in self._current_keys or (
            current and not current.suspected and current.benched_until > now
        ):
            return
        former = refusal.former if current and current.suspected else current
        # Short at first, whatever was refused: that an outage ended between two calls looks the same.
        is_proved = former is not None and former.strikes > 0
        backoff = self._backoffs[verdict.backoff if is_proved else Backoff.QUOTA]
        if bench := bench_after(former, verdict, backoff, now, self._random):
            self.begin_bench(key, place, bench, about, request)

    def _bench_keys(self, keys: Iterable[Key], verdict: Verdict, request: str) -> Bench | None:
        """Bench whole keys; returns the first new bench, if any."""
        now, benches = self._clock(), []
        for key in keys:
            current = key.whole
            if current and current.suspected:
                current = replace(current, benched_until=now)  # what was a guess is known now
            bench = bench_after(current, verdict, self._backoffs[verdict.backoff], now, self._random)
            if bench:
                benches.append(self.begin_bench(key, BenchPlace.WHOLE, bench, "", request))
        return benches[0] if benches else None

    def _suspect_keys(self, keys: Iterable[Key], verdict: Verdict, seconds: float) -> None:
        """Bench whole keys for a short time, as suspected: one after the other is tried then."""
        now = self._clock()
        until = now + seconds
        for key in keys:
            former = key.whole
            if key.retired or (former and former.benched_until >= until):
                continue
            strikes = former.strikes if former else 0
            bench = Bench(
                verdict.reason,
                until,
                strikes,
                words=verdict.words,
                suspected=True,
                since=since_first(former, now),
            )
            self.set_bench(key, BenchPlace.WHOLE, bench)
            until += HEAD_START

    def _limit_size(self, project: Project, lane: str, tokens: int, seconds: float) -> None:
        """Send a project no prompt of so many tokens or more for a time: its quota is too small for that."""
        now = self._clock()
        project.limiter(lane).limit_size(tokens, now + seconds, now)
        self._counts_tokens.add(lane)

    def _allow_origin(self, key: Key, origin: str) -> None:
        barred = self._barred.get(origin, set())
        barred.discard(key)
        if not barred:
            self._barred.pop(origin, None)

    # Memory.

    def _forget_old_in_turn(self, now: float) -> None:
        """Forget what is too old to matter, of a few projects: of all once in `_TURNS` calls."""
        for project in self.projects[self._turn :: _TURNS]:
            self._forget_old(project, now)
        self._turn = (self._turn + 1) % _TURNS

    def _forget_old(self, project: Project, now: float) -> None:
        # Strikes are worth remembering for as long as the longest doubling; after that the model's
        # bench is only memory that invented model names could fill.
        horizon = now - self._backoffs[Backoff.QUOTA].longest
        for model in [one for one, limiter in project.limiters.items() if limiter.forget_old(now, horizon)]:
            del project.limiters[model]
