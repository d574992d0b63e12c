"""Whom a refusal is about that does not say so itself: told by comparison. Pure.

A refusal without a reason (a bare 429, a 403 about the caller) may be about the key, the request, the model,
or the way to Google. What else happened meanwhile tells which:

    another key serves the very request          the key's: it is benched
    three projects refuse the request alike,     the request's: the client gets the last answer,
    one of which served the lane last            no key is benched
    three projects refuse, and none serves       a search: one call at a time, until one is served
    none of these yet                            a suspicion: a short rest, and the next request finds out

A project that served the lane last is a witness: its next answer decides cheaply, so a request that was
refused goes to a witness next. Refusals come sooner than successes, so a call that is open for much longer
than refusals take counts as served already.

A key that is called dead says so in words, but they may be a mistake. When several that had just served are
called dead with none served in between, that is searched in the same way, for all lanes at once.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile

from proxycore.bench import Bench
from proxycore.key import Key, Project
from proxycore.lane import model_of
from proxycore.verdict import Verdict

WITNESS = 60.0
"""Seconds for which a success speaks for a project."""

ENOUGH = 3
"""Projects that refuse alike."""

_CONFIRMS = 0.45  # seconds after a refusal in which a call has to be sent, to say by its success that the key
# was to blame: an outage may have ended meanwhile. Shorter than the pauses of a search in an outage.
_OPEN_LONG = 0.1  # seconds
_LONGER = 3.0  # times as long as the slowest refusal
_DECAY = 0.9  # of the slowest refusal, with every one
_REMEMBERED = 60.0  # seconds that a request's fault, and what no project is entitled to, are remembered
_LANES = 256
_FAULTS = 64  # of a lane
_NEVER = float("-inf")


AreAll = Callable[[Collection[Key]], bool]
"""Whether no other key than these could be asked now."""


class About(Enum):
    """What a refusal turned out to be about, as far as is known."""

    UNDECIDED = "undecided"
    REQUEST = "the request"
    MANY = "many projects"


@dataclass(slots=True)
class Refusal:
    """A key refused the request at a moment. `witness` is whether its project had served the lane lately.

    `about` is the origin of the client's page, if that is what was refused, `searched` whether a search was
    on. `former` is the bench that a suspicion replaced.
    """

    key: Key
    verdict: Verdict
    at: float
    witness: bool = False
    about: str | None = None
    searched: bool = False
    former: Bench | None = None

    def where(self, lane: str) -> str:
        """What a bench for it is about: the origin, or the lane of the request."""
        return lane if self.about is None else self.about


@dataclass(eq=False, slots=True)
class Case:
    """One request and what its calls came to: who asks (`client`), for which method, with which id.

    `size` is that of its body in bytes, `origin` that of the client's page (empty: none). `failed` are the
    keys that answered with server errors, `refusals` what is to be decided by comparison, `unentitled` what
    is about tiers. `about` is what the refusals turned out to be about.
    """

    client: str = ""
    method: str = ""
    request: str = ""
    size: int = 0
    origin: str = ""
    failed: list[Key] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unentitled: list[Refusal] = field(default_factory=list)
    about: About = About.UNDECIDED

    @property
    def projects(self) -> set[Project]:
        """The projects that refused the request."""
        return {refusal.key.project for refusal in self.refusals}


@dataclass(eq=False, slots=True)
class Evidence:
    """What was sent, served and refused in one lane."""

    served: OrderedDict[Project, float] = field(default_factory=OrderedDict)  # the last success is the last
    served_at: float = _NEVER
    open: dict[object, tuple[Project, float]] = field(default_factory=dict)  # calls, the oldest first
    refused: dict[Project, float] = field(default_factory=dict)  # since the last success
    requests: set[str] = field(default_factory=set)  # that were refused since, two at most
    began: float = _NEVER  # the first of those
    slowest: float = 0.0  # seconds that a refusal took
    fault_at: float = _NEVER  # when a request was last found to be at fault
    faults: dict[tuple[str, str], float] = field(default_factory=dict)  # (client, method) -> when
    unentitled_at: float = _NEVER  # when all projects were last found not to be entitled

    def __repr__(self) -> str:
        refused, served = len(self.refused), len(self.served)
        return f"<Evidence: {refused} projects refused, {served} served, {len(self.open)} calls are open>"

    def serve(self, project: Project, now: float) -> None:
        """A call was served."""
        self.served[project] = self.served_at = now
        self.served.move_to_end(project)
        if self.refused:
            self._forget()

    def refuse(self, project: Project, request: str, seconds: float, now: float) -> None:
        """A call for this request was refused after so many seconds, without a reason."""
        if not self.refused:
            self.began = now
        self.refused[project] = now
        if len(self.requests) < 2:  # whether there are several is all that matters
            self.requests.add(request)
        self.served.pop(project, None)
        self.slowest = max(self.slowest * _DECAY, seconds)

    def speaks(self, project: Project, now: float) -> bool:
        """Whether this project is a witness."""
        if project in self.refused:
            return False
        if self.served.get(project, _NEVER) >= now - WITNESS:
            return True
        return any(project is one for one in self._open_long(now))

    def witnesses(self, now: float) -> Iterator[Project]:
        """Projects that speak for the lane: those that served it last first, then those of long calls."""
        for project in reversed(self.served):
            if self.served[project] < now - WITNESS:
                break
            if project not in self.refused:
                yield project
        yield from (project for project in self._open_long(now) if project not in self.refused)

    def _open_long(self, now: float) -> Iterator[Project]:
        patience = max(_OPEN_LONG, _LONGER * self.slowest)
        for project, since in self.open.values():
            if since > now - patience:
                break
            yield project

    def blamed_lately(self, case: Case, now: float) -> bool:
        """Whether such a request of this client was at fault a moment ago."""
        return self.faults.get((case.client, case.method), _NEVER) > now - _REMEMBERED

    def blame(self, case: Case, now: float) -> None:
        """The request is at fault. The witnesses that said so have to serve again before they are any."""
        if len(self.faults) >= _FAULTS:
            self.faults.clear()
        self.faults[case.client, case.method] = self.fault_at = now
        self._forget()

    def has_long_call(self, now: float) -> bool:
        """Whether a call is open for so long that it speaks for its project."""
        return any(project not in self.refused for project in self._open_long(now))

    def _forget(self) -> None:
        self.refused.clear()
        self.requests.clear()


class Attribution:
    """The evidence of all lanes, and what follows from it."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, Evidence] = OrderedDict()
        self._alive: OrderedDict[Key, float] = OrderedDict()  # the last success is the last
        self._died: dict[Key, float] = {}  # keys that were called dead since the last success in any lane

    def __repr__(self) -> str:
        return f"<Attribution {dict(self._lanes)}>"

    def of(self, lane: str) -> Evidence:
        """The evidence of a lane."""
        evidence = self._lanes.get(lane)
        if evidence is None:
            evidence = self._lanes[lane] = Evidence()
            if len(self._lanes) > _LANES:
                self._lanes.popitem(last=False)  # clients can invent names without end
        return evidence

    def sent(self, call: object, project: Project, lane: str, now: float) -> None:
        """A call was sent."""
        self.of(lane).open[call] = (project, now)

    def over(self, call: object, lane: str) -> None:
        """A call has its answer, or never will."""
        if evidence := self._lanes.get(lane):
            evidence.open.pop(call, None)

    @property
    def dead(self) -> list[Key]:
        """The keys that were called dead since the last success."""
        return list(self._died)

    def served(
        self, key: Key, lane: str, sent_at: float, case: Case, now: float, *, spends: bool
    ) -> list[Refusal]:
        """A call was served; returns the refusals of the same request that are the keys' for that.

        `spends` is whether it asked a model for something: a list says nothing of that.
        """
        project = key.project
        self.of(lane).serve(project, now)
        if spends:
            key.note_success(now)
            self._alive[key] = now
            self._alive.move_to_end(key)
        if self._died:
            self._died.clear()
        if not case.refusals and not case.unentitled:
            return []
        told = [
            one
            for one in case.refusals
            if sent_at <= one.at + _CONFIRMS and not one.searched and one.key.project.served_at < one.at
        ]
        return [one for one in (*told, *case.unentitled) if one.key.project is not project]

    def pardoned(self, case: Case, lane: str) -> set[Key]:
        """The keys that refused the request while a search was on that has found one which serves since."""
        searched = [refusal for refusal in case.refusals if refusal.searched]
        since = self._served_at(lane) if searched else _NEVER
        return {refusal.key for refusal in searched if refusal.at < since}

    def refused(self, refusal: Refusal, lane: str, seconds: float, case: Case, are_all: AreAll) -> About:
        """A call was refused without a reason, after so many seconds."""
        evidence, now = self.of(lane), refusal.at
        case.refusals.append(refusal)
        evidence.refuse(refusal.key.project, case.request, seconds, now)
        standing = evidence.fault_at > self._served_at(lane)
        if self._is_requests(evidence, lane, case, are_all, standing=standing):
            evidence.blame(case, now)
            return About.REQUEST
        if refusal.searched:
            return About.UNDECIDED
        many = len(evidence.refused) >= ENOUGH or are_all(_keys(evidence.refused))
        if (standing and refusal.witness) or (many and self._none_serves(evidence, lane, now)):
            return About.MANY
        return About.UNDECIDED

    def _none_serves(self, evidence: Evidence, lane: str, now: float) -> bool:
        """Whether none is served now, as it seems, after many were refused."""
        if self.witness(lane, now) is None:
            return True
        # One request may be refused by all for what it asks. Several may, too: then the next try tells.
        return len(evidence.requests) > 1 and not evidence.has_long_call(now)

    def died(self, key: Key, now: float, are_all: AreAll) -> bool:
        """A key was called dead; returns whether too many were that had served just now, or all."""
        self._died[key] = now
        lately = list(takewhile(lambda one: self._alive[one] >= now - WITNESS, reversed(self._alive)))
        died = {one.project for one in lately if one in self._died}
        return len(died) >= ENOUGH or (bool(died) and self._died.keys() >= set(lately)) or are_all(self._died)

    def refusers(self, lane: str) -> list[Key]:
        """The keys of the projects that refused since the lane was served last."""
        return _keys(self.of(lane).refused)

    def blamed_lately(self, case: Case, lane: str, now: float) -> bool:
        """Whether such a request of this client was at fault a moment ago: no key is suspected then."""
        return self.of(lane).blamed_lately(case, now)

    def exhausted(self, case: Case, lane: str, now: float) -> bool:
        """Every key that could be tried has refused the request; returns whether that is its own fault.

        So it is when the same projects served other lanes meanwhile: then nothing is wrong with the way.
        """
        evidence = self.of(lane)
        if not self._alive_elsewhere(evidence, case):
            return False
        evidence.blame(case, now)
        return True

    def explain(self, case: Case, lane: str, now: float) -> str:
        """Why no key is benched for what was refused, for people."""
        refused, served = len(case.projects), sum(1 for _ in self._witnesses(lane, now))
        others = f" while {served} other{_s(served)} served" if served else ""
        return f"not benched: the same request was refused by {refused} project{_s(refused)}{others}"

    def none_is_entitled(self, lane: str, now: float) -> None:
        """Every project says that it is not entitled to this lane."""
        self.of(lane).unentitled_at = now

    def is_entitled(self, lane: str, now: float) -> bool:
        """Whether any project may be entitled to a lane, as far as is known."""
        evidence = self._lanes.get(lane)
        return evidence is None or evidence.unentitled_at < max(now - _REMEMBERED, evidence.served_at)

    def served_within(self, lane: str, seconds: float, now: float) -> bool:
        """Whether the lane was served within so many seconds."""
        evidence = self._lanes.get(lane)
        return evidence is not None and evidence.served_at > now - seconds

    def witness(
        self, lane: str, now: float, usable: Callable[[Project], bool] = lambda _: True
    ) -> Project | None:
        """The project that speaks for a lane, and is usable; None when there is none."""
        return next((project for project in self._witnesses(lane, now) if usable(project)), None)

    def unasked_witness(self, lane: str, now: float) -> Project | None:
        """The project that speaks for a lane; None when there is none, or it is being asked already."""
        witness = self.witness(lane, now)
        asked = any(project is witness for project, _ in self.of(lane).open.values())
        return None if asked else witness

    def is_witness(self, project: Project, lane: str, now: float) -> bool:
        """Whether this project speaks for the lane."""
        if project in self.of(lane).refused:
            return False
        return any(evidence.speaks(project, now) for evidence in self._relevant(lane))

    def _witnesses(self, lane: str, now: float) -> Iterator[Project]:
        refused = self.of(lane).refused
        for evidence in self._relevant(lane):
            yield from (project for project in evidence.witnesses(now) if project not in refused)

    def _relevant(self, lane: str) -> Iterator[Evidence]:
        # Who serves the model speaks for what is asked of it in other ways, too.
        yield self.of(lane)
        if (model := model_of(lane)) != lane and (wider := self._lanes.get(model)):
            yield wider

    def _served_at(self, lane: str) -> float:
        return max(evidence.served_at for evidence in self._relevant(lane))

    def _is_requests(
        self, evidence: Evidence, lane: str, case: Case, are_all: AreAll, *, standing: bool
    ) -> bool:
        last, pardoned = case.refusals[-1], self.pardoned(case, lane)
        now, reason = last.at, last.verdict.reason
        alike = [one for one in case.refusals if one.verdict.reason == reason and one.key not in pardoned]
        projects = {refusal.key.project for refusal in alike}
        if len(projects) < ENOUGH and not are_all(_keys(projects)):
            return False
        if any(refusal.witness for refusal in alike):
            return not standing
        unserved = self._served_at(lane) < now - WITNESS
        return unserved and evidence.blamed_lately(case, now) and self._alive_elsewhere(evidence, case)

    @staticmethod
    def _alive_elsewhere(evidence: Evidence, case: Case) -> bool:
        began = min(evidence.began, case.refusals[0].at)
        return any(refusal.key.project.served_at >= began for refusal in case.refusals)


def _keys(projects: Iterable[Project]) -> list[Key]:
    return [key for project in projects for key in project.keys]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
