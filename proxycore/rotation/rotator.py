"""The keys and their health: applies the verdict on each upstream response to its key.

A key is *ready* until a response shows otherwise. A refusal *benches* it until a moment, for a reason: for
one lane (a quota, which is its whole project's), or as a whole (a permission). When that moment
has passed it is ready again, for one call at a time until one succeeds; if it is refused again, that is one
more *strike*, and where responses give no time the bench doubles with every strike in a row. A success
clears the strikes.

A refusal without a reason is at first a *suspicion*: a bench of a second. The results of other keys with the
same request, and of the same keys with other requests, show what is at fault (`attribution`). A key that is
called dead is benched for seconds; if that is repeated, it is *retired*, for longer every time, and probed.

A quota that a refusal names is *learned*: from then on no call is made that would be refused.

Pure: the clock and the random source are arguments.
"""

from collections.abc import Iterable
from dataclasses import replace

from proxycore.gemini.lane import counted_as
from proxycore.gemini.verdict import (
    HEALTHY,
    KEYS_NOT_ACCEPTED,
    NOT_GOOGLE,
    REGION_BLOCKED,
    TIMED_OUT,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.rotation.bench import SHORTEST, Bench, BenchPlace, ExponentialBackoff, bench_after
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case, Refusal
from proxycore.rotation.comparison import Comparison
from proxycore.rotation.events import (
    ConcurrencyRaised,
    DayEndsMoved,
    KeysReplaced,
    Origin,
    OutageChanged,
    QuotaLearned,
)
from proxycore.rotation.key import Key
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.outage import Outage


class Rotator(Comparison):
    """Chooses keys, counts their calls, and applies the verdicts on the responses."""

    def __repr__(self) -> str:
        now = self._clock()
        retired = sum(key.retired is not None for key in self.keys)
        benched = sum(key.retired is None and key.usable_at > now for key in self.keys)
        return f"<Rotator {len(self.keys)} keys, {benched} benched, {retired} retired>"

    def change(
        self, keys: Iterable[Key], backoffs: dict[Backoff, ExponentialBackoff], patience: float
    ) -> None:
        """Replace keys and settings at a reload. Retirements end, so that those keys are tried again."""
        self._set(keys)
        self.patience = patience
        self.attribution.keep(self.keys)
        self.accounts.keep(set(self.projects))
        self.ways.change(self.keys)
        for gone in self.outages.keep({key.proxy for key in self.keys}):
            self.events.publish(OutageChanged(Origin.HERE, gone.model, None, gone.proxy))
        self._backoffs = backoffs
        self.reconsider_all()
        self.events.publish(KeysReplaced(Origin.HERE))
        for key in self.keys:
            if key.retired:
                key.deaths.clear()
                self.clear_bench(key, BenchPlace.RETIRED)

    def update_day_ends(self) -> None:
        """Recompute the ends of Google's days, and of what lasts until then, after the wall clock was set."""
        for project in self.projects:
            for limiter in project.limiters.values():
                limiter.update_day_end(self._clock)
            for key in project.keys:
                if key.whole:
                    key.whole.update_day_end(self._clock)
        self.reconsider_all()
        self.events.publish(DayEndsMoved(Origin.HERE))

    def forget_old(self) -> None:
        """Forget what is too old to matter. Call it every second; it goes through all in 300 calls."""
        now = self._clock()
        self._forget_old_in_turn(now)
        self.attribution.forget_old(now)

    # Verdicts.

    def apply(self, call: Call, verdict: Verdict, case: Case | None = None) -> Bench | None:
        """Apply the verdict on a call's response; returns the new bench or retirement, None if there is none.

        `case` collects the results of the calls of one request.
        """
        case, key, lane, now = case or Case(), call.key, call.model, self._clock()
        self.attribution.closed(call, lane)
        if verdict.way or self.ways.failing:
            self.ways.note(key, call.at, verdict)
        for ended in self.outages.ended(lane, verdict, call.at, key.proxy):
            self.events.publish(OutageChanged(Origin.HERE, ended.model, None, ended.proxy, case.request))
        if verdict is HEALTHY:
            self._serve(call, case, now)
            return None
        if verdict.project:
            self.assign(key, verdict.project)
        if (search := self.searches.get(None)) and _is_accepted(verdict):
            self.searches.end(search, request=case.request)
        if verdict.rest is BenchScope.NOTHING:
            self.settle(call)
        elif call.spends:
            self.uncount(key, lane, call.at)
        self._begin_outage(call, verdict, case, now)
        known = call.search and (call.search.tries(key), call.search.outage)
        bench = self._judge(call, verdict, case, now)
        if search := call.search:
            alike = (search.tries(key), search.outage) != known
            if not alike:
                search.count_try(key)
            self.searches.end_try(search, alike=alike or verdict.rest is BenchScope.NOTHING)
        return bench

    def _begin_outage(self, call: Call, verdict: Verdict, case: Case, now: float) -> None:
        key = call.key
        begun = self.outages.begun(call.model, verdict, now, key.proxy, self.ways.failures(key))
        if begun:
            self.events.publish(OutageChanged(Origin.HERE, begun.model, begun, begun.proxy, case.request))

    def _serve(self, call: Call, case: Case, now: float) -> None:
        """Apply that a call was served: refusals of the same request by other keys were their fault."""
        key, lane = call.key, call.model
        served = self.attribution.served(key, lane, call.at, case, now, spends=call.spends)
        for refusal in served:
            self._confirm(refusal, lane, case.request)
        for failed in case.failed:
            if failed.project is not key.project:
                failed.project.limiter(counted_as(lane)).fail(now)
        if self.searches:
            self._serve_in_searches(call, case.request, now)
        if call.spends:
            self._end_trial_of_day(call)
        if self.accounts.spent and call.spends:
            for project in self.accounts.served(key.project, call.at):
                self._lift_guess(project)
        self._clear(call, case.request, now)

    def _clear(self, call: Call, request: str, now: float) -> None:
        # A call that was sent before the bench began does not refute it, so a bench that still runs is kept.
        # A retirement is ended: it has no end of its own, and a success refutes it.
        key, lane = call.key, call.model
        if key.retired:
            self.recover(key, BenchPlace.RETIRED, request=request)
        if key.whole and key.whole.benched_until <= now:
            self.recover(key, BenchPlace.WHOLE, request=request)
        if key.deaths.times and call.spends:
            key.deaths.refute(call.at)
        if key.callers and (bench := key.callers.get(lane)) and bench.benched_until <= now:
            self.recover(key, BenchPlace.CALLER, lane, request)
        for about in (lane,) if "+" not in lane else (lane, counted_as(lane)):
            limiter = key.project.limiters.get(about)
            if limiter is None:
                continue
            if limiter.bench and limiter.bench.benched_until <= now:
                self.recover(key, BenchPlace.MODEL, about, request)
            if limiter.reliability.failures:
                limiter.succeed(now)
            if call.spends:
                self._learn_from_served(call, limiter, about, now)

    def _learn_from_served(self, call: Call, limiter: Limiter, about: str, now: float) -> None:
        if limiter.served(call.at):
            self.reconsider(call.key.project, about)
            self.events.publish(ConcurrencyRaised(Origin.HERE, call.key, about))
        if limiter.quotas.each and limiter.learn_from_served(call.at, now):
            self.reconsider(call.key.project, about)
            self.events.publish(QuotaLearned(Origin.HERE, call.key, about))

    def _judge(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        """Apply a refusal or failure to its key; returns the new bench, None if there is none."""
        key = call.key
        match verdict.then, verdict.rest:
            case Reaction.RETRY, _:
                case.failed.append(key)
            case Reaction.COMPARE, _:
                self._compare(call, verdict, case)
            case Reaction.ENTITLED, _:
                case.unentitled.append(Refusal(key, verdict, now))
            case Reaction.TOKENS, _:
                self._refuse_size(call, verdict, now)
            case _, BenchScope.MODEL:
                return self._bench_lane(call, verdict, case, now)
            case _, BenchScope.KEY:
                return self._bench_keys([key], verdict, case.request)
            case _, BenchScope.PROJECT:
                return self._bench_keys(key.project.keys, verdict, case.request)
            case _, BenchScope.ACCOUNT:
                return self._bench_account(call, verdict, case)
            case _, BenchScope.RETIRED:
                return self._die(call, verdict, case, now)
        return None

    def _bench_lane(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        key, lane = call.key, counted_as(call.model)
        limiter = key.project.limiter(lane)
        verdict = replace(verdict, seconds=self.learn_limits(call, verdict, now))
        self._forget_old(key.project, now)
        current = None if limiter.bench and limiter.bench.suspected else limiter.bench
        fresh = bench_after(current, verdict, self._backoffs[verdict.backoff], now, self._random)
        if fresh:
            self.begin_bench(key, BenchPlace.MODEL, fresh, lane, case.request)
        else:
            self.set_bench(key, BenchPlace.MODEL, current or Bench(verdict.reason, now, since=now), lane)
        if verdict.limits:
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        return fresh

    def _refuse_size(self, call: Call, verdict: Verdict, now: float) -> None:
        """Learn that a prompt has more tokens than is left of a quota."""
        lane, told = counted_as(call.model), self.learn_limits(call, verdict, now)
        seconds = self.patience if told is None else max(told, SHORTEST)
        self._limit_size(call.key.project, lane, call.tokens, seconds)
        if verdict.limits:
            self.events.publish(QuotaLearned(Origin.HERE, call.key, lane))

    def _die(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        """Bench a key that was called dead, for longer each time, and retire it when that is proved."""
        key, deaths = call.key, call.key.deaths
        is_benched = key.retired or (key.whole and key.whole.benched_until > now)
        if is_benched or key not in self._current_keys:
            return None  # calls that were under way together are refused together
        deaths.add(now)
        if not deaths.proved_for_long(now) and self._is_of_many(call, verdict, case):
            return None
        until, since = now + deaths.bench_seconds, deaths.first_at
        bench = Bench(verdict.reason, until, deaths.times, words=verdict.words, since=since)
        place = BenchPlace.RETIRED if deaths.proved else BenchPlace.WHOLE
        return self.begin_bench(key, place, bench, "", case.request)

    def _is_of_many(self, call: Call, verdict: Verdict, case: Case) -> bool:
        """Whether so many keys are called dead that a mistake is more likely; if so, a search begins."""
        if search := self.searches.get(None):
            self._refuse_in(search, call, case)
            return True
        if not self.attribution.died(call.key, self._clock(), lambda some: self._are_all("", some)):
            return False
        self._search(None, verdict.reason, self.attribution.dead, case)
        for key in self.attribution.dead:
            self.clear_bench(key, BenchPlace.WHOLE)
        return True

    def release(self, key: Key) -> bool:
        """End the key's bench as a whole and its retirement, by hand; returns whether there was any."""
        places = [place for place in (BenchPlace.WHOLE, BenchPlace.RETIRED) if key.bench_at(place)]
        if places:
            key.deaths.clear()
        for place in places:
            self.clear_bench(key, place)
        return bool(places)

    def put_off_probe(self, key: Key) -> None:
        """Schedule the next probe of a retired key, later than the last one; call it before each probe."""
        if retired := key.retired:
            key.deaths.continue_from(retired.strikes, retired.since)
            until = self._clock() + key.deaths.bench_seconds
            bench = replace(retired, benched_until=until, strikes=key.deaths.times)
            self.set_bench(key, BenchPlace.RETIRED, bench)

    def learn_outage(self, lane: str | None, outage: Outage | None, proxy: str | None = None) -> None:
        """Apply that a peer found an outage for a lane (None: for all lanes), or its end (None).

        `proxy` is the outbound proxy of the keys that it affects.
        """
        self.outages.put(lane, outage, proxy)
        self.events.publish(OutageChanged(Origin.PEER, lane, outage, proxy))


def _is_accepted(verdict: Verdict) -> bool:
    """Whether a response shows that its key was accepted, whatever else is wrong."""
    is_inconclusive = verdict.then is Reaction.RETRY or verdict in {
        TIMED_OUT,
        NOT_GOOGLE,
        REGION_BLOCKED,
        KEYS_NOT_ACCEPTED,
    }
    return not is_inconclusive and verdict.rest is not BenchScope.RETIRED
