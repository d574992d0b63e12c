"""Finds by comparison what a refusal without a reason is about: key, request, model or upstream. Pure.

A refusal without a reason (a bare 429, a 403 about the caller) may be about the key, the request, the model,
or the connection to Google. The responses to other calls decide which:

    another key serves the very request          the key's fault: it is benched
    three projects refuse the request alike,     the request's fault: the client gets the last response,
    one of which served the lane last            no key is benched
    three projects refuse, and none serves       a search: one call at a time, until one is served
    none of these yet                            a suspicion: a short bench, and the next request finds out

A project that served the lane last is a *witness*: its next response decides with one call, so a request that
was refused goes to a witness next. Refusals come sooner than successes, so a call that is open for much
longer than refusals take counts as served.

A key that Google calls invalid may be so by mistake. When several that had just served are called invalid
with none served in between, that is searched in the same way, for all lanes at once.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import takewhile

from proxycore.gemini.lane import model_of
from proxycore.rotation.case import About, Case, Refusal
from proxycore.rotation.evidence import NEVER, WITNESS, Evidence
from proxycore.rotation.key import Key, Project

ENOUGH = 3
"""Projects that have to refuse alike before one request or an outage is blamed."""

_CONFIRMS = 0.45  # seconds after a refusal in which a call has to be sent for its success to show that the
# key was to blame: later, an outage may have ended. Shorter than the pauses of a search in an outage.
_MOST_LANES = 256


AreAll = Callable[[Collection[Key]], bool]
"""Returns whether no other key than these could be used now."""


class Attribution:
    """The evidence of all lanes, and what follows from it."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, Evidence] = OrderedDict()
        self._alive: OrderedDict[Key, float] = OrderedDict()  # the last success is the last
        self._died: dict[Key, None] = {}  # keys that were called invalid since the last success in any lane

    def __repr__(self) -> str:
        return f"<Attribution {dict(self._lanes)}>"

    def of(self, lane: str) -> Evidence:
        """Return the evidence of a lane."""
        evidence = self._lanes.get(lane)
        if evidence is None:
            evidence = self._lanes[lane] = Evidence()
            if len(self._lanes) > _MOST_LANES:
                self._lanes.popitem(last=False)  # clients can invent names without end
        return evidence

    # What happens.

    def forget_old(self, now: float) -> None:
        """Forget what does not count any more."""
        for evidence in self._lanes.values():
            evidence.forget_old(now)

    def sent(self, call: object, project: Project, lane: str, now: float) -> None:
        """A call was sent."""
        self.of(lane).send(call, project, now)

    def closed(self, call: object, lane: str) -> None:
        """A call got its response, or never will."""
        if evidence := self._lanes.get(lane):
            evidence.close(call)

    def served(
        self, key: Key, lane: str, sent_at: float, case: Case, now: float, *, spends: bool
    ) -> list[Refusal]:
        """A call was served; returns the refusals of the same request that are their keys' fault.

        `spends` is whether it asked a model for something: that a list was served is no sign of that.
        """
        project = key.project
        self.of(lane).serve(project, now)
        if spends:
            key.record_success(now)
            self._alive[key] = now
            self._alive.move_to_end(key)
        if self._died:
            self._died.clear()
        if not case.refusals and not case.unentitled:
            return []
        confirmed = [
            one
            for one in case.refusals
            if sent_at <= one.at + _CONFIRMS and not one.searched and one.key.project.served_at < one.at
        ]
        return [one for one in (*confirmed, *case.unentitled) if one.key.project is not project]

    def refused(self, refusal: Refusal, lane: str, seconds: float, case: Case, are_all: AreAll) -> About:
        """A call was refused without a reason, after so many seconds."""
        evidence, now = self.of(lane), refusal.at
        case.refusals.append(refusal)
        evidence.refuse(refusal.key.project, case.request, seconds, now)
        # Whether a request was at fault since the lane was served: then witnesses must serve again to count.
        standing = evidence.fault_at > self._served_at(lane)
        if self._is_request_at_fault(evidence, lane, case, are_all, standing=standing):
            evidence.blame(case, now)
            return About.REQUEST
        if refusal.searched:
            return About.UNDECIDED
        many = len(evidence.refused) >= ENOUGH or are_all(_keys(evidence.refused))
        if (standing and refusal.witness) or (many and self._seems_down(evidence, lane, now)):
            return About.MANY
        return About.UNDECIDED

    def died(self, key: Key, now: float, are_all: AreAll) -> bool:
        """A key was called invalid; returns whether that hit too many keys that had just served, or all."""
        self._died[key] = None
        lately = list(takewhile(lambda one: self._alive[one] >= now - WITNESS, reversed(self._alive)))
        died = {one.project for one in lately if one in self._died}
        return len(died) >= ENOUGH or (bool(died) and self._died.keys() >= set(lately)) or are_all(self._died)

    def exhausted(self, case: Case, lane: str, now: float) -> bool:
        """Every key that could be tried has refused the request; returns whether that is its own fault.

        So it is when the same projects served other lanes meanwhile: then Google can be reached.
        """
        evidence = self.of(lane)
        if not self._is_upstream_alive(evidence, case):
            return False
        evidence.blame(case, now)
        return True

    def none_is_entitled(self, lane: str, now: float) -> None:
        """Every project was refused as not entitled to this lane."""
        self.of(lane).find_unentitled(now)

    def keep(self, keys: Collection[Key]) -> None:
        """Forget all other keys, and the projects that none of these belongs to: they were removed."""
        configured, projects = set(keys), {key.project for key in keys}
        for gone in self._alive.keys() - configured:
            del self._alive[gone]
        for gone in self._died.keys() - configured:
            del self._died[gone]
        for evidence in self._lanes.values():
            evidence.keep(projects)

    def forget(self, project: Project) -> None:
        """Forget a project that was merged into another."""
        for evidence in self._lanes.values():
            evidence.forget(project)

    # What is known.

    @property
    def dead(self) -> list[Key]:
        """The keys that were called invalid since the last success."""
        return list(self._died)

    def refusers(self, lane: str) -> list[Key]:
        """Return the keys of the projects that refused since the lane was served last."""
        return _keys(self.of(lane).refused)

    def retryable(self, case: Case, lane: str) -> set[Key]:
        """Return the keys that refused the request in a search that has since found one that serves."""
        searched = [refusal for refusal in case.refusals if refusal.searched]
        since = self._served_at(lane) if searched else NEVER
        return {refusal.key for refusal in searched if refusal.at < since}

    def blamed_lately(self, case: Case, lane: str, now: float) -> bool:
        """Return whether such a request of this client was at fault lately: no key is suspected then."""
        return self.of(lane).blamed_lately(case, now)

    def explain(self, case: Case, lane: str, now: float) -> str:
        """Return why no key is benched for what was refused, for people."""
        refused, served = len(case.projects), sum(1 for _ in self._witnesses(lane, now))
        others = f" while {served} other{_s(served)} served" if served else ""
        return f"not benched: the same request was refused by {refused} project{_s(refused)}{others}"

    def is_entitled(self, lane: str, now: float) -> bool:
        """Return whether any project may be entitled to a lane, as far as is known."""
        evidence = self._lanes.get(lane)
        return evidence is None or evidence.is_entitled(now)

    def served_within(self, lane: str, seconds: float, now: float) -> bool:
        """Return whether the lane was served within so many seconds."""
        evidence = self._lanes.get(lane)
        return evidence is not None and evidence.served_at > now - seconds

    def witness(
        self, lane: str, now: float, usable: Callable[[Project], bool] = lambda _: True
    ) -> Project | None:
        """Return the first witness for a lane that is usable; None when there is none."""
        return next((project for project in self._witnesses(lane, now) if usable(project)), None)

    def unasked_witness(self, lane: str, now: float) -> Project | None:
        """Return the first witness for a lane; None when there is none, or a call is open with it."""
        witness = self.witness(lane, now)
        return None if witness is None or self.of(lane).is_asked(witness) else witness

    def is_witness(self, project: Project, lane: str, now: float) -> bool:
        """Return whether this project is a witness for the lane."""
        if project in self.of(lane).refused:
            return False
        return any(evidence.is_witness(project, now) for evidence in self._relevant(lane))

    def _witnesses(self, lane: str, now: float) -> Iterator[Project]:
        refused = self.of(lane).refused
        for evidence in self._relevant(lane):
            yield from (project for project in evidence.witnesses(now) if project not in refused)

    def _relevant(self, lane: str) -> Iterator[Evidence]:
        # A project that serves the model is a witness for its other methods and tools, too.
        yield self.of(lane)
        if (model := model_of(lane)) != lane and (wider := self._lanes.get(model)):
            yield wider

    def _served_at(self, lane: str) -> float:
        return max(evidence.served_at for evidence in self._relevant(lane))

    def _seems_down(self, evidence: Evidence, lane: str, now: float) -> bool:
        """Whether the lane seems to be served by no project now, after many were refused."""
        if self.witness(lane, now) is None:
            return True
        # One request may be refused by all for what it asks. Several may, too: then the next try decides.
        return len(evidence.requests) > 1 and not evidence.has_long_call(now)

    def _is_request_at_fault(
        self, evidence: Evidence, lane: str, case: Case, are_all: AreAll, *, standing: bool
    ) -> bool:
        """Whether the request is at fault for its refusals."""
        last, retryable = case.refusals[-1], self.retryable(case, lane)
        now, reason = last.at, last.verdict.reason
        alike = [one for one in case.refusals if one.verdict.reason == reason and one.key not in retryable]
        projects = {refusal.key.project for refusal in alike}
        if len(projects) < ENOUGH and not are_all(_keys(projects)):
            return False
        if any(refusal.witness for refusal in alike):
            return not standing
        unserved = self._served_at(lane) < now - WITNESS
        return unserved and evidence.blamed_lately(case, now) and self._is_upstream_alive(evidence, case)

    @staticmethod
    def _is_upstream_alive(evidence: Evidence, case: Case) -> bool:
        """Whether a project that refused the request served anything since the refusals began."""
        began = min(evidence.refused_since, case.refusals[0].at)
        return any(refusal.key.project.served_at >= began for refusal in case.refusals)


def _keys(projects: Iterable[Project]) -> list[Key]:
    return [key for project in projects for key in project.keys]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
