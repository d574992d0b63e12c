"""The keys and their health: random choice among those that are ready, benches, retirement.

A key's story. It is *ready* until an answer says otherwise. A refusal *benches* it until a moment, for a
reason: for one lane (a quota, which is its whole project's), or as a whole (a permission). When that moment
has passed it is ready again, for one call at a time until one succeeds; if it is refused again, that is one
more *strike*, and where answers give no time the bench doubles with every strike in a row. A success clears
the strikes.

A refusal without a reason is at first a *suspicion*: a second's rest. What other keys do with the same
request, and what the same keys do with others, tells whom it is about (`attribution`). A key that is called
dead rests for seconds; only if that is said again and again it is *retired*, for longer every time, and is
tried with calls of our own.

A quota that a refusal told is *learned*: from then on the key rests before it would be refused.

Pure: the clock and the random source come in.
"""

from collections.abc import Collection, Iterable

from proxycore.attribution import About, Case, Refusal
from proxycore.bench import Bench, BenchPlace, Doubling, bench_after
from proxycore.calls import Call, Calls
from proxycore.events import (
    DayReckoned,
    KeysReplaced,
    Origin,
    OutageChanged,
    QuotaLearned,
    RequestBlamed,
    RoomChanged,
)
from proxycore.judgement import Judgement
from proxycore.key import Key, Project
from proxycore.lane import counted_as, model_of
from proxycore.outage import Outage
from proxycore.search import Search
from proxycore.verdict import (
    DAY,
    FOREIGN,
    KEYLESS,
    PLACE,
    SILENCE,
    Backoff,
    Rest,
    Then,
    Verdict,
)

_DEAD = (2.0, 10.0, 60.0, 600.0, 3600.0, DAY)  # seconds of rest, each time that a key is called dead
_PROVED = 3  # times in a row, from which on a key is retired
_KNOWN = 600.0  # seconds after a success, in which a project is thought to serve still
_PROVED_IN_SEARCH = 60.0  # seconds for which it is called so when all others are, too
_MANY_UNKNOWN = 8  # projects that are asked for a model that is said not to be there


class Rotator(Calls):
    """Extends the calls: what their answers say of the keys is put into effect."""

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
        self.events.publish(KeysReplaced(Origin.HERE))
        for key in self.keys:
            if key.retired:
                key.deaths = 0
                self.clear_bench(key, BenchPlace.RETIRED)

    def reckon_days(self) -> None:
        """The wall clock was set: what lasts until the end of Google's day lasts until that comes now."""
        for project in self.projects:
            for allowance in project.allowances.values():
                allowance.reckon_day(self._clock)
            for key in project.keys:
                if key.whole:
                    key.whole.reckon_day(self._clock)
        self.reconsider_all()
        self.events.publish(DayReckoned(Origin.HERE))

    # Verdicts.

    def apply(self, call: Call, verdict: Verdict, case: Case | None = None) -> Bench | None:
        """Puts a verdict into effect; returns the bench or retirement when it is a new one.

        `case` is what the request that the call was made for came to so far.
        """
        case, key, lane = case or Case(), call.key, call.model
        self.attribution.over(call, lane)
        for ended in self.outages.ended(lane, verdict, call.at):
            self.events.publish(OutageChanged(Origin.HERE, ended.model, None))
        if verdict.healthy:
            self._serve(call, case)
            return None
        if verdict.project:
            self.assign(key, verdict.project)
        if (search := self.searches.get(None)) and _is_accepted(verdict):
            self.end_search(search)
        if verdict.rest is Rest.NOTHING:
            self.settle(call)
        elif call.spends:
            self.uncount(key, lane, call.at)
        if outage := self.outages.begun(lane, verdict, self._clock()):
            self.events.publish(OutageChanged(Origin.HERE, outage.model, outage))
        known = call.search and (call.search.tries(key), call.search.outage)
        bench = self._judge(call, verdict, case)
        if search := call.search:
            alike = (search.tries(key), search.outage) != known
            if not alike:
                search.note(key)
            self._end_try(search, alike=alike or verdict.rest is Rest.NOTHING)
        return bench

    def exhausted(self, case: Case, lane: str) -> None:
        """No key is left that could be tried for a request, and all that were have refused it."""
        now = self._clock()
        if case.refusals and case.about is not About.REQUEST:
            if self.attribution.exhausted(case, lane, now):
                self._blame(case, lane)
            else:
                self.acquit(case, lane)
        elif case.unentitled:
            self.attribution.none_is_entitled(lane, now)

    def seeks_entitled(self, case: Case, lane: str) -> bool:
        """Whether to look for another project that is entitled to what those of this case are not."""
        attribution, now = self.attribution, self._clock()
        unknown = sum(refusal.verdict.unknown for refusal in case.unentitled)
        if unknown >= _MANY_UNKNOWN and not attribution.served_within(lane, DAY, now):
            attribution.none_is_entitled(lane, now)
        return attribution.is_entitled(lane, now)

    def witness(self, case: Case, lane: str) -> Project | None:
        """The project to go to next, since what it says of the request decides whom a refusal is about."""
        if not case.refusals:
            return None
        refused, now = case.projects, self._clock()
        return self.attribution.witness(
            lane, now, lambda project: project not in refused and self._is_ready(project, lane, now)
        )

    def _is_ready(self, project: Project, lane: str, now: float) -> bool:
        # One that turned out to be another, or was removed, has no key here.
        return not self._there.isdisjoint(project.keys) and project.free_at(lane) <= now

    def _serve(self, call: Call, case: Case) -> None:
        """A call was served: what the same request was refused for elsewhere was the keys' fault."""
        key, lane, now = call.key, call.model, self._clock()
        served = self.attribution.served(key, lane, call.at, case, now, spends=call.spends)
        for refusal in served:
            self._confirm(refusal, lane, case.request)
        for failed in case.failed:
            if failed.project is not key.project:
                failed.project.allowance(counted_as(lane)).reliability.fail(now)
        if self.searches:
            self._serve_in_searches(call, now)
        self._clear(call, case.request)

    def _serve_in_searches(self, call: Call, now: float) -> None:
        """A call was served: searches for its lane, for ways to ask its model, and for all are over."""
        for search in list(self.searches.values()):
            if search.lane is not None and call.model not in {search.lane, model_of(search.lane)}:
                continue
            if call.at >= search.since:
                self.end_search(search)
            else:
                search.doubt(call.key, now)
                self._publish_search(search)

    def _clear(self, call: Call, request: str) -> None:
        # An answer to a call that was sent before the bench began says nothing about now, so a bench
        # that still runs is kept. A retirement is not: it was for good, and a success proves it wrong.
        now, key, lane = self._clock(), call.key, call.model
        if key.retired:
            self.recover(key, BenchPlace.RETIRED, request=request)
        if key.whole and key.whole.benched_until <= now:
            self.recover(key, BenchPlace.WHOLE, request=request)
        if key.deaths and call.spends and call.at >= key.dead_at:
            key.deaths = 0
        if key.callers and (bench := key.callers.get(lane)) and bench.benched_until <= now:
            self.recover(key, BenchPlace.CALLER, lane, request)
        for about in (lane,) if "+" not in lane else (lane, counted_as(lane)):
            allowance = key.project.allowances.get(about)
            if allowance is None:
                continue
            if allowance.bench and allowance.bench.benched_until <= now:
                self.recover(key, BenchPlace.MODEL, about, request)
            if allowance.reliability.failures:
                allowance.reliability.succeed(now)
            if call.spends and allowance.served(call.at):
                self.reconsider(key.project, about)
                self.events.publish(RoomChanged(Origin.HERE, key, about))

    def _judge(self, call: Call, verdict: Verdict, case: Case) -> Bench | None:
        """What a refusal or failure does to its key."""
        key, lane = call.key, call.model
        match verdict.then, verdict.rest:
            case Then.RETRY, _:
                case.failed.append(key)
            case Then.COMPARE, _:
                self._compare(call, verdict, case)
            case Then.ENTITLED, _:
                case.unentitled.append(Refusal(key, verdict, self._clock()))
            case Then.TOKENS, _:
                self._limit_size(key.project, counted_as(lane), case.size, verdict.seconds or self.patience)
            case _, Rest.MODEL:
                return self._bench_lane(call, verdict, case)
            case _, Rest.KEY:
                return self._bench_keys([key], verdict, case.request)
            case _, Rest.PROJECT:
                return self._bench_keys(key.project.keys, verdict, case.request)
            case _, Rest.ACCOUNT:
                return self._bench_keys(self._of_account(key), verdict, case.request)
            case _, Rest.RETIRED:
                return self._die(call, verdict, case)
        return None

    def _compare(self, call: Call, verdict: Verdict, case: Case) -> None:
        """A refusal without a reason: a suspicion, unless it is known already whom it is about."""
        key, lane, now = call.key, call.model, self._clock()
        witness = self.attribution.is_witness(key.project, lane, now)
        about = case.origin if verdict.rest is Rest.ORIGIN else None
        search = call.search or (self.holding(lane) if self.searches else None)
        refusal = Refusal(key, verdict, now, witness, about, searched=search is not None)
        found = self.attribution.refused(
            refusal,
            lane,
            now - call.at,
            case,
            lambda some: self._are_all(lane, some),
        )
        if found is About.REQUEST:
            self._blame(case, lane)
        elif search and verdict.rest is not Rest.ORIGIN:  # which says whose fault it is
            self._refuse_in(search, call, case, witness=witness)
        elif found is About.MANY:
            self._search(lane, verdict.reason, self.attribution.refusers(lane), case)
        elif not self.attribution.blamed_lately(case, lane, now):
            self._suspect(refusal, lane)

    def _blame(self, case: Case, lane: str) -> None:
        case.about = About.REQUEST
        self.acquit(case, lane)
        search = self.searches.get(lane)
        if search and search.requests <= {case.request}:
            self.end_search(search)  # no other request was refused
        last, now = case.refusals[-1], self._clock()
        why = self.attribution.explain(case, lane, now)
        judgement = Judgement(now, lane, last.verdict.reason, why, case.request)
        self.events.publish(RequestBlamed(Origin.HERE, judgement))

    def _are_all(self, lane: str, keys: Collection[Key]) -> bool:
        """Whether no other key than these could be asked now."""
        return self._draw(lane, self._clock(), frozenset(keys)) is None

    # Searches.

    def _search(self, lane: str | None, reason: str, refused: Iterable[Key], case: Case) -> None:
        now = self._clock()
        search = Search(lane, reason, now, now, requests={case.request})
        for key in refused:
            search.note(key)
        unknown = len({key.project for key in self._untried(search) if key.served_at < now - _KNOWN})
        search.begin(unknown, self.patience)
        if lane is not None and (witness := self.attribution.unasked_witness(lane, now)):
            search.doubt(witness.keys[0], now)
        self.begin_search(search)

    def _refuse_in(self, search: Search, call: Call, case: Case, *, witness: bool = False) -> None:
        """A project was refused as others were: when all were, for several requests, that is an outage."""
        search.refuse(call.key, case.request, self._clock() - call.at, witness=witness)
        if not search.outage and len(search.requests) > 1 and not self._untried(search):
            search.become_outage()

    # Benches.

    def _bench_lane(self, call: Call, verdict: Verdict, case: Case) -> Bench | None:
        now, key, lane = self._clock(), call.key, counted_as(call.model)
        allowance = key.project.allowance(lane)
        for limit in verdict.limits if call.spends else ():
            allowance.refused(limit, verdict.seconds or 0.0, call.at, now, self.since, alone=self.alone)
        self._forget_old(key.project)
        current = None if allowance.bench and allowance.bench.suspected else allowance.bench
        fresh = bench_after(current, verdict, self._doublings[verdict.backoff], now, self._random)
        if fresh:
            self.begin_bench(key, BenchPlace.MODEL, fresh, lane, case.request)
        else:
            self.set_bench(key, BenchPlace.MODEL, current or Bench(verdict.reason, now), lane)
        if verdict.limits:
            self.events.publish(QuotaLearned(Origin.HERE, key, lane))
        return fresh

    def _die(self, call: Call, verdict: Verdict, case: Case) -> Bench | None:
        """A key was called dead: it rests for seconds, and for longer when that is said again."""
        now, key = self._clock(), call.key
        rests = key.retired or (key.whole and key.whole.benched_until > now)
        if rests or key not in self._there:
            return None  # calls that were under way together are refused together
        if not key.deaths:
            key.died_at = now
        if not key.deaths or now >= key.dead_at + rest_of_the_dead(key.deaths):
            key.deaths, key.dead_at = key.deaths + 1, now  # sooner, it is still the same death
        if not self._is_dead_for_long(key, now) and self._is_of_many(call, verdict, case):
            return None
        until = now + rest_of_the_dead(key.deaths)
        bench = Bench(verdict.reason, until, key.deaths, words=verdict.words)
        place = BenchPlace.RETIRED if key.deaths >= _PROVED else BenchPlace.WHOLE
        return self.begin_bench(key, place, bench, "", case.request)

    @staticmethod
    def _is_dead_for_long(key: Key, now: float) -> bool:
        return key.deaths >= _PROVED and now >= key.died_at + _PROVED_IN_SEARCH

    def _is_of_many(self, call: Call, verdict: Verdict, case: Case) -> bool:
        """Whether so many keys are called dead that it is thought to be a mistake: that is searched."""
        if search := self.searches.get(None):
            self._refuse_in(search, call, case)
            return True
        if not self.attribution.died(call.key, self._clock(), lambda some: self._are_all("", some)):
            return False
        self._search(None, verdict.reason, self.attribution.dead, case)
        self._revive(self.attribution.dead)
        return True

    def release(self, key: Key) -> bool:
        """Ends the key's bench as a whole and its retirement, by hand; returns whether there was any."""
        places = [place for place in (BenchPlace.WHOLE, BenchPlace.RETIRED) if self.bench_of(key, place)]
        if places:
            key.deaths = 0
        for place in places:
            self.clear_bench(key, place)
        return bool(places)

    def put_off_probe(self, key: Key) -> None:
        """A retired key is about to be probed: unless that clears it, the next probe is later than this."""
        if retired := key.retired:
            key.deaths = retired.strikes + 1
            until = self._clock() + rest_of_the_dead(key.deaths)
            bench = Bench(retired.reason, until, key.deaths, words=retired.words)
            self.set_bench(key, BenchPlace.RETIRED, bench)

    def learn_outage(self, lane: str | None, outage: Outage | None) -> None:
        """A peer found that there is this outage for a lane (None: for all), or (None) none any more."""
        self.outages.put(lane, outage)
        self.events.publish(OutageChanged(Origin.PEER, lane, outage))

    def _revive(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.clear_bench(key, BenchPlace.WHOLE)

    def _of_account(self, key: Key) -> list[Key]:
        if not key.account:
            return list(key.project.keys)
        return [one for one in self.keys if one.account == key.account or one.project is key.project]

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


def _is_accepted(verdict: Verdict) -> bool:
    """Whether an answer shows that its key was accepted, whatever else it says."""
    says_nothing = verdict.then is Then.RETRY or verdict in {SILENCE, FOREIGN, PLACE, KEYLESS}
    return not says_nothing and verdict.rest is not Rest.RETIRED


def rest_of_the_dead(times: int) -> float:
    """Seconds that a key rests which was called dead so many times in a row."""
    return _DEAD[min(times, len(_DEAD)) - 1]
