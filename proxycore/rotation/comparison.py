"""Decides what a refusal without a reason is about, from the responses to other calls. Pure.

`attribution` has the rules; here their results are applied. When many projects refuse alike and none serves,
a search begins (`search`).
"""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from proxycore.gemini.lane import model_of
from proxycore.gemini.verdict import DAY, BenchScope, Verdict
from proxycore.rotation.account_benches import AccountBenches
from proxycore.rotation.calls import Call
from proxycore.rotation.case import About, Case, Refusal
from proxycore.rotation.events import Origin, RequestBlamed
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key, Project
from proxycore.rotation.search import Search

_KNOWN = 600.0  # seconds after a success, for which a project is expected to serve
_MANY_UNKNOWN = 8  # projects that are tried with a model that does not exist for them


@dataclass(frozen=True, slots=True)
class Advice:
    """Constraints on the choice of a request's next key.

    `retryable` are keys that refused it and may be tried again, `unfit` those that take no request like it
    now. The project `witness` is to be tried next, since its response decides what the refusals are about.
    """

    retryable: AbstractSet[Key] = frozenset()
    unfit: AbstractSet[Key] = frozenset()
    witness: Project | None = None


_NO_ADVICE = Advice()


class Comparison(AccountBenches):
    """Calls, whose refusals are compared; begins and advances searches."""

    def advise(self, case: Case, lane: str) -> Advice:
        """Return the constraints on the choice of a request's next key."""
        if not case.refusals and not self._barred:
            return _NO_ADVICE
        unfit = self.unfit(case.origin)
        if not case.refusals:
            return Advice(unfit=unfit)
        return Advice(self.attribution.retryable(case, lane), unfit, self._witness(case, lane))

    def exhausted(self, case: Case, lane: str) -> None:
        """Decide what the refusals are about when no key is left to be tried for a request."""
        now = self._clock()
        if case.refusals and case.about is not About.REQUEST:
            if self.attribution.exhausted(case, lane, now):
                self._blame(case, lane)
            else:
                self.lift_suspicions(case, lane)
        elif case.unentitled:
            self.attribution.none_is_entitled(lane, now)

    def seeks_entitled(self, case: Case, lane: str) -> bool:
        """Return whether to try another project, which may be entitled to what those of this case are not."""
        attribution, now = self.attribution, self._clock()
        unknown = sum(refusal.verdict.unknown_model for refusal in case.unentitled)
        if unknown >= _MANY_UNKNOWN and not attribution.served_within(lane, DAY, now):
            attribution.none_is_entitled(lane, now)
        return attribution.is_entitled(lane, now)

    def _witness(self, case: Case, lane: str) -> Project | None:
        refused, now = case.projects, self._clock()
        return self.attribution.witness(
            lane, now, lambda project: project not in refused and self._is_ready(project, lane, now)
        )

    def _is_ready(self, project: Project, lane: str, now: float) -> bool:
        # A project that was merged into another, or removed, has no configured key.
        return not self._current_keys.isdisjoint(project.keys) and project.free_at(lane) <= now

    def _compare(self, call: Call, verdict: Verdict, case: Case) -> None:
        """Compare a refusal without a reason: the key is suspected, unless something else is at fault."""
        key, lane, now = call.key, call.model, self._clock()
        witness = self.attribution.is_witness(key.project, lane, now)
        about = case.origin if verdict.rest is BenchScope.ORIGIN else None
        search = call.search or (self.searches.holding(lane))
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
        elif search and verdict.rest is not BenchScope.ORIGIN:  # a refused origin is the reason by itself
            self._refuse_in(search, call, case, witness=witness)
        elif found is About.MANY:
            self._search(lane, verdict.reason, self.attribution.refusers(lane), case)
        elif not self.attribution.blamed_lately(case, lane, now):
            self._suspect(refusal, lane)

    def _blame(self, case: Case, lane: str) -> None:
        case.blame_request()
        self.lift_suspicions(case, lane)
        search = self.searches.get(lane)
        if search and search.requests <= {case.request}:
            self.searches.end(search)  # no other request was refused
        last, now = case.refusals[-1], self._clock()
        why = self.attribution.explain(case, lane, now)
        judgement = Judgement(now, lane, last.verdict.reason, why, case.request)
        self.events.publish(RequestBlamed(Origin.HERE, judgement))

    def _are_all(self, lane: str, keys: Collection[Key]) -> bool:
        """Whether no other key than these could be used now."""
        return self._draw(lane, self._clock(), frozenset(keys)) is None

    def _search(self, lane: str | None, reason: str, refused: Iterable[Key], case: Case) -> None:
        now = self._clock()
        search = Search(lane, reason, now, now, requests={case.request})
        for key in refused:
            search.count_try(key)
        unknown = len({key.project for key in self._untried(search) if key.served_at < now - _KNOWN})
        search.begin(unknown, self.patience)
        if lane is not None and (witness := self.attribution.unasked_witness(lane, now)):
            search.doubt(witness.keys[0], now)
        self.searches.begin(search)

    def _refuse_in(self, search: Search, call: Call, case: Case, *, witness: bool = False) -> None:
        """Count a refusal in a search, which is an outage once all projects have refused several requests."""
        search.refuse(call.key, case.request, self._clock() - call.at, witness=witness)
        if not search.outage and len(search.requests) > 1 and not self._untried(search):
            search.become_outage(case.request)

    def _serve_in_searches(self, call: Call, request: str, now: float) -> None:
        """End the searches that a served call refutes: for its lane, lanes of its model, and all lanes."""
        for search in list(self.searches.values()):
            if search.lane is not None and call.model not in {search.lane, model_of(search.lane)}:
                continue
            if call.at >= search.since:
                self.searches.end(search, request=request)
            else:
                search.doubt(call.key, now)
                self.searches.publish(search)
