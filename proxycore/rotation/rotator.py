"""The keys and their health: puts into effect what each upstream response says of its key.

A key's story. It is *ready* until an answer says otherwise. A refusal *benches* it until a moment, for a
reason: for one lane (a quota, which is its whole project's), or as a whole (a permission). When that moment
has passed it is ready again, for one call at a time until one succeeds; if it is refused again, that is one
more *strike*, and where responses give no time the bench doubles with every strike in a row. A success
clears the strikes.

A refusal without a reason is at first a *suspicion*: a bench of a second. What other keys do with the same
request, and what the same keys do with others, shows whose fault it is (`attribution`). A key that is called
dead is benched for seconds; only if that is repeated it is *retired*, for longer every time, and probed with
calls of our own.

A quota that a refusal names is *learned*: from then on no call is made that would be refused.

Pure: the clock and the random source come in.
"""

from collections.abc import Iterable

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
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff, bench_after
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case, Refusal
from proxycore.rotation.comparison import Comparison
from proxycore.rotation.events import (
    DayReckoned,
    KeysReplaced,
    Origin,
    OutageChanged,
    QuotaLearned,
    RoomChanged,
)
from proxycore.rotation.key import Key, Project
from proxycore.rotation.outage import Outage


class Rotator(Comparison):
    """Chooses keys, counts their calls, and applies the verdicts on the responses."""

    def __repr__(self) -> str:
        now = self._clock()
        retired = sum(key.retired is not None for key in self.keys)
        resting = sum(key.retired is None and key.rests_until > now for key in self.keys)
        return f"<Rotator {len(self.keys)} keys, {resting} benched, {retired} retired>"

    def change(
        self, keys: Iterable[Key], backoffs: dict[Backoff, ExponentialBackoff], patience: float
    ) -> None:
        """Goes on with these keys and settings. Retired keys get another chance."""
        self._set(keys)
        self.patience = patience
        self.attribution.keep(self.keys)
        self._backoffs = backoffs
        self.reconsider_all()
        self.events.publish(KeysReplaced(Origin.HERE))
        for key in self.keys:
            if key.retired:
                key.deaths.clear()
                self.clear_bench(key, BenchPlace.RETIRED)

    def reckon_days(self) -> None:
        """Recomputes, after the wall clock was set, when what lasts until the end of Google's day ends."""
        for project in self.projects:
            for limiter in project.limiters.values():
                limiter.reckon_day(self._clock)
            for key in project.keys:
                if key.whole:
                    key.whole.reckon_day(self._clock)
        self.reconsider_all()
        self.events.publish(DayReckoned(Origin.HERE))

    # Verdicts.

    def apply(self, call: Call, verdict: Verdict, case: Case | None = None) -> Bench | None:
        """Applies a verdict; returns the bench or retirement when it is a new one.

        `case` collects the results of the calls of one request.
        """
        case, key, lane, now = case or Case(), call.key, call.model, self._clock()
        self.attribution.over(call, lane)
        for ended in self.outages.ended(lane, verdict, call.at):
            self.events.publish(OutageChanged(Origin.HERE, ended.model, None))
        if verdict is HEALTHY:
            self._serve(call, case, now)
            return None
        if verdict.project:
            self.assign(key, verdict.project)
        if (search := self.searches.get(None)) and _is_accepted(verdict):
            self.searches.end(search)
        if verdict.rest is BenchScope.NOTHING:
            self.settle(call)
        elif call.spends:
            self.uncount(key, lane, call.at)
        if outage := self.outages.begun(lane, verdict, now):
            self.events.publish(OutageChanged(Origin.HERE, outage.model, outage))
        known = call.search and (call.search.tries(key), call.search.outage)
        bench = self._judge(call, verdict, case, now)
        if search := call.search:
            alike = (search.tries(key), search.outage) != known
            if not alike:
                search.note(key)
            self.searches.end_try(search, alike=alike or verdict.rest is BenchScope.NOTHING)
        return bench

    def _serve(self, call: Call, case: Case, now: float) -> None:
        """A call was served: what the same request was refused for elsewhere was the keys' fault."""
        key, lane = call.key, call.model
        served = self.attribution.served(key, lane, call.at, case, now, spends=call.spends)
        for refusal in served:
            self._confirm(refusal, lane, case.request)
        for failed in case.failed:
            if failed.project is not key.project:
                failed.project.limiter(counted_as(lane)).reliability.fail(now)
        if self.searches:
            self._serve_in_searches(call, now)
        self._clear(call, case.request, now)

    def _clear(self, call: Call, request: str, now: float) -> None:
        # The response to a call that was sent before the bench began says nothing about now, so a bench
        # that still runs is kept. A retirement is not: it was for good, and a success refutes it.
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
                limiter.reliability.succeed(now)
            if call.spends and limiter.served(call.at):
                self.reconsider(key.project, about)
                self.events.publish(RoomChanged(Origin.HERE, key, about))

    def _judge(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        """Applies a refusal or failure to its key; returns the bench when it is a new one."""
        key, lane = call.key, call.model
        match verdict.then, verdict.rest:
            case Reaction.RETRY, _:
                case.failed.append(key)
            case Reaction.COMPARE, _:
                self._compare(call, verdict, case)
            case Reaction.ENTITLED, _:
                case.unentitled.append(Refusal(key, verdict, now))
            case Reaction.TOKENS, _:
                self._limit_size(key.project, counted_as(lane), case.size, verdict.seconds or self.patience)
            case _, BenchScope.MODEL:
                return self._bench_lane(call, verdict, case, now)
            case _, BenchScope.KEY:
                return self._bench_keys([key], verdict, case.request)
            case _, BenchScope.PROJECT:
                return self._bench_keys(key.project.keys, verdict, case.request)
            case _, BenchScope.ACCOUNT:
                return self._bench_keys(self._of_account(key), verdict, case.request)
            case _, BenchScope.RETIRED:
                return self._die(call, verdict, case, now)
        return None

    def _bench_lane(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        key, lane = call.key, counted_as(call.model)
        limiter = key.project.limiter(lane)
        for limit in verdict.limits if call.spends else ():
            limiter.refused(limit, verdict.seconds or 0.0, call.at, now, self.since, alone=self.alone)
        self._forget_old(key.project, now)
        current = None if limiter.bench and limiter.bench.suspected else limiter.bench
        fresh = bench_after(current, verdict, self._backoffs[verdict.backoff], now, self._random)
        if fresh:
            self.begin_bench(key, BenchPlace.MODEL, fresh, lane, case.request)
        else:
            self.set_bench(key, BenchPlace.MODEL, current or Bench(verdict.reason, now), lane)
        if verdict.limits:
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        return fresh

    def _die(self, call: Call, verdict: Verdict, case: Case, now: float) -> Bench | None:
        """Benches a key that was called dead, for longer each time, and retires it when that is proved."""
        key, deaths = call.key, call.key.deaths
        rests = key.retired or (key.whole and key.whole.benched_until > now)
        if rests or key not in self._there:
            return None  # calls that were under way together are refused together
        deaths.add(now)
        if not deaths.proved_for_long(now) and self._is_of_many(call, verdict, case):
            return None
        bench = Bench(verdict.reason, now + deaths.rest, deaths.times, words=verdict.words)
        place = BenchPlace.RETIRED if deaths.proved else BenchPlace.WHOLE
        return self.begin_bench(key, place, bench, "", case.request)

    def _is_of_many(self, call: Call, verdict: Verdict, case: Case) -> bool:
        """Whether so many keys are called dead that a mistake is more likely: then a search is on."""
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
        """Ends the key's bench as a whole and its retirement, by hand; returns whether there was any."""
        places = [place for place in (BenchPlace.WHOLE, BenchPlace.RETIRED) if key.bench_at(place)]
        if places:
            key.deaths.clear()
        for place in places:
            self.clear_bench(key, place)
        return bool(places)

    def put_off_probe(self, key: Key) -> None:
        """A retired key is about to be probed: unless that clears it, the next probe is later than this."""
        if retired := key.retired:
            key.deaths.go_on_from(retired.strikes)
            until = self._clock() + key.deaths.rest
            bench = Bench(retired.reason, until, key.deaths.times, words=retired.words)
            self.set_bench(key, BenchPlace.RETIRED, bench)

    def learn_outage(self, lane: str | None, outage: Outage | None) -> None:
        """A peer found that there is this outage for a lane (None: for all), or (None) none any more."""
        self.outages.put(lane, outage)
        self.events.publish(OutageChanged(Origin.PEER, lane, outage))

    def _of_account(self, key: Key) -> list[Key]:
        if not key.account:
            return list(key.project.keys)
        return [one for one in self.keys if one.account == key.account or one.project is key.project]

    def _forget_old(self, project: Project, now: float) -> None:
        # Strikes are worth remembering for as long as the longest doubling; after that the model's
        # bench is only memory that invented model names could fill.
        horizon = now - self._backoffs[Backoff.QUOTA].longest
        for model, limiter in list(project.limiters.items()):
            if limiter.forget_bench(horizon) and limiter.idle(now):
                del project.limiters[model]


def _is_accepted(verdict: Verdict) -> bool:
    """Whether an answer shows that its key was accepted, whatever else it says."""
    says_nothing = verdict.then is Reaction.RETRY or verdict in {
        TIMED_OUT,
        NOT_GOOGLE,
        REGION_BLOCKED,
        KEYS_NOT_ACCEPTED,
    }
    return not says_nothing and verdict.rest is not BenchScope.RETIRED
