"""The evidence about one lane: projects that served it, projects that refused, and open calls. Pure.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from proxycore.rotation.case import Case
from proxycore.rotation.key import Project

WITNESS = 60.0
"""Seconds after a success for which a project is a witness."""

NEVER = float("-inf")
"""The moment of something that has not happened."""

_OPEN_LONG = 0.1  # seconds that a call is open, at least, until it counts as served
_LONGER = 3.0  # times as long as the slowest refusal
_DECAY = 0.9  # of the slowest refusal, with every one
_REMEMBERED = 60.0  # seconds that a request's fault, and what no project is entitled to, are remembered
_MOST_FAULTS = 64  # that are remembered


@dataclass(eq=False, slots=True)
class Evidence:
    """What was sent, served and refused in one lane. Others may read the attributes."""

    served: OrderedDict[Project, float] = field(default_factory=OrderedDict)  # the last success is the last
    served_at: float = NEVER
    open: dict[object, tuple[Project, float]] = field(default_factory=dict)  # calls, the oldest first
    refused: dict[Project, None] = field(default_factory=dict)  # since the last success
    requests: set[str] = field(default_factory=set)  # that were refused since, two at most
    refused_since: float = NEVER  # the first of those refusals
    slowest: float = 0.0  # seconds that a refusal took
    fault_at: float = NEVER  # when a request was last found to be at fault
    faults: dict[tuple[str, str], float] = field(default_factory=dict)  # (client, method) -> when
    unentitled_at: float = NEVER  # when all projects were last found not to be entitled

    def __repr__(self) -> str:
        refused, served = len(self.refused), len(self.served)
        return f"<Evidence: {refused} projects refused, {served} served, {len(self.open)} calls are open>"

    def send(self, call: object, project: Project, now: float) -> None:
        """A call was sent."""
        self.open[call] = (project, now)

    def close(self, call: object) -> None:
        """A call got its response, or never will."""
        self.open.pop(call, None)

    def serve(self, project: Project, now: float) -> None:
        """A call was served."""
        self.served[project] = self.served_at = now
        self.served.move_to_end(project)
        if self.refused:
            self._clear_refusals()

    def refuse(self, project: Project, request: str, seconds: float, now: float) -> None:
        """A call for this request was refused after so many seconds, without a reason."""
        if not self.refused:
            self.refused_since = now
        self.refused[project] = None
        if len(self.requests) < 2:  # whether there are several is all that matters
            self.requests.add(request)
        self.served.pop(project, None)
        self.slowest = max(self.slowest * _DECAY, seconds)

    def blame(self, case: Case, now: float) -> None:
        """The request is at fault. Its witnesses count as witnesses again once they have served."""
        if len(self.faults) >= _MOST_FAULTS:
            self.faults.clear()
        self.faults[case.client, case.method] = self.fault_at = now
        self._clear_refusals()

    def find_unentitled(self, now: float) -> None:
        """Every project was refused as not entitled to this lane."""
        self.unentitled_at = now

    def keep(self, projects: Collection[Project]) -> None:
        """Forget all other projects."""
        for gone in self.served.keys() - projects:
            del self.served[gone]
        for gone in self.refused.keys() - projects:
            del self.refused[gone]
        if not self.refused:
            self._clear_refusals()

    def forget_old(self, now: float) -> None:
        """Forget the projects that are no witnesses any more."""
        served, horizon = self.served, now - WITNESS
        while served and next(iter(served.values())) < horizon:
            served.popitem(last=False)
        if not served:
            self.served = OrderedDict()  # one that was full stays large

    def forget(self, project: Project) -> None:
        """Forget a project."""
        self.served.pop(project, None)
        if project in self.refused:
            del self.refused[project]
            if not self.refused:
                self._clear_refusals()

    def is_witness(self, project: Project, now: float) -> bool:
        """Return whether this project is a witness for the lane."""
        if project in self.refused:
            return False
        if self.served.get(project, NEVER) >= now - WITNESS:
            return True
        return any(project is one for one in self._open_long(now))

    def witnesses(self, now: float) -> Iterator[Project]:
        """Yield the witnesses: those that served the lane last first, then those of long calls."""
        for project in reversed(self.served):
            if self.served[project] < now - WITNESS:
                break
            if project not in self.refused:
                yield project
        yield from (project for project in self._open_long(now) if project not in self.refused)

    def has_long_call(self, now: float) -> bool:
        """Return whether a call is open for so long that its project is a witness."""
        return any(project not in self.refused for project in self._open_long(now))

    def is_asked(self, project: Project) -> bool:
        """Return whether a call is open with this project."""
        return any(project is one for one, _ in self.open.values())

    def blamed_lately(self, case: Case, now: float) -> bool:
        """Return whether such a request of this client was at fault a moment ago."""
        return self.faults.get((case.client, case.method), NEVER) > now - _REMEMBERED

    def is_entitled(self, now: float) -> bool:
        """Return whether any project may be entitled to the lane, as far as is known."""
        return self.unentitled_at < max(now - _REMEMBERED, self.served_at)

    def _open_long(self, now: float) -> Iterator[Project]:
        patience = max(_OPEN_LONG, _LONGER * self.slowest)
        for project, since in self.open.values():
            if since > now - patience:
                break
            yield project

    def _clear_refusals(self) -> None:
        self.refused.clear()
        self.requests.clear()
