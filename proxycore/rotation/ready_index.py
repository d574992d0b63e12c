"""An index of the projects for one lane: those that are ready, and a heap of those that are not. Pure.

With it, a choice among a thousand takes no longer than one among ten. It may list a project as ready that is
not (which is checked when it is drawn), but never the other way round: call `reconsider` whenever a project
may be ready earlier than before.

Times are the clock's moments, in seconds.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace

from proxycore.rotation.key import Project

_DRAWS = 6  # projects that are drawn and rejected, at most
_FEW = 12  # ready projects: of so many, all are examined if no draw succeeds

_UNCERTAIN = 0.02  # of a call: the weight of a project that has probably none left

Usable = Callable[[Project], bool]


def _any(_: Project) -> bool:
    return True


class ReadyIndex:
    """The projects, indexed for `model`."""

    def __init__(self, projects: Iterable[Project], model: str, now: float) -> None:
        self._model = model
        self._ready: list[Project] = []
        self._places: dict[Project, int] = {}  # the index of each in `_ready`
        self._benched: list[
            tuple[float, int, Project]
        ] = []  # a heap; entries that are not in `_until` are outdated
        self._until: dict[Project, float] = {}
        self._count = 0
        self._most = 1.0  # the largest weight that any project is known to have
        for project in projects:
            self._insert(project, now)

    def draw(
        self, source: random.Random, now: float, usable: Usable = _any, tokens: int = 0
    ) -> Project | None:
        """Return a random project that is ready and usable, weighted by the calls that each has left.

        One whose quota is not known counts as much as the one with most calls left. `tokens` are those of
        the prompt.
        """
        self._wake(now)
        # Rejection sampling by weight; when all were rejected, the choice is among those seen.
        seen: dict[Project, float] = {}
        for _ in range(_DRAWS):
            if not self._ready:
                return None
            project = source.choice(self._ready)
            if not self._is_ready(project, now) or not usable(project):
                continue
            weight = seen[project] = self._weight(project, now, tokens)
            if weight >= self._most or source.random() * self._most < weight:
                return project
        if len(self._ready) <= _FEW or not seen:
            fit = [project for project in self._ready[:] if self._is_ready(project, now) and usable(project)]
            seen = {project: self._weight(project, now, tokens) for project in fit}
        self._most = max(*seen.values(), self._most / 2, 1.0)
        return source.choices(list(seen), list(seen.values()))[0] if seen else None

    def ready(self, now: float) -> Iterator[Project]:
        """Return all ready projects."""
        self._wake(now)
        return (project for project in self._ready[:] if self._is_ready(project, now))

    def first(self, now: float, usable: Usable, tokens: int = 0) -> tuple[Project, float] | None:
        """Return the usable project that is the first to be ready, and when; None if no project is usable.

        It has to be ready for a prompt of so many tokens.
        """
        self._wake(now)
        found: tuple[Project, float] | None = None
        for project in self._ready[:]:
            if self._is_ready(project, now) and usable(project):
                moment = max(now, project.free_at(self._model, tokens)) if tokens else now
                if found is None or moment < found[1]:
                    found = project, moment
                if moment <= now:
                    return found
        return self._first_benched(usable, tokens, found)

    def _first_benched(
        self, usable: Usable, tokens: int, found: tuple[Project, float] | None
    ) -> tuple[Project, float] | None:
        """Return the first one of those that are not ready, or what was found, if that is earlier."""
        passed = []
        while self._benched and (found is None or self._benched[0][0] < found[1]):
            until, _, project = self._benched[0]
            actual = project.free_at(self._model)
            if self._until.get(project) != until:
                heappop(self._benched)
            elif actual != until:
                self._replace(project, actual)
            else:
                passed.append(heappop(self._benched))
                moment = project.free_at(self._model, tokens) if tokens else until
                if usable(project) and (found is None or moment < found[1]):
                    found = project, moment
        for entry in passed:
            heappush(self._benched, entry)
        return found

    def reconsider(self, project: Project, now: float) -> None:
        """Update the place of a project that may be ready earlier than before."""
        if project not in self._places:
            self._insert(project, now)

    def _weight(self, project: Project, now: float, tokens: int) -> float:
        if not project.limiters:
            return self._most
        prospect = project.prospect(self._model, now, tokens)
        reliability = project.reliability(self._model, now)
        if prospect is None:
            return self._most * reliability
        self._most = max(self._most, prospect)
        return max(prospect, _UNCERTAIN) * reliability

    def _is_ready(self, project: Project, now: float) -> bool:
        until = project.free_at(self._model)
        if until <= now:
            return True
        if project in self._places:
            self._remove(project)
            self._push(project, until)
        return False

    def _wake(self, now: float) -> None:
        benched = self._benched
        while benched and benched[0][0] <= now:
            until, _, project = heappop(benched)
            if self._until.get(project) == until:
                del self._until[project]
                self._insert(project, now)

    def _insert(self, project: Project, now: float) -> None:
        until = project.free_at(self._model)
        if until > now:
            self._push(project, until)
            return
        self._until.pop(project, None)
        self._places[project] = len(self._ready)
        self._ready.append(project)

    def _push(self, project: Project, until: float) -> None:
        self._count += 1  # projects themselves are not compared
        self._until[project] = until
        heappush(self._benched, (until, self._count, project))

    def _replace(self, project: Project, until: float) -> None:
        self._count += 1
        self._until[project] = until
        heapreplace(self._benched, (until, self._count, project))

    def _remove(self, project: Project) -> None:
        place, last = self._places.pop(project), self._ready.pop()
        if last is not project:
            self._ready[place] = last
            self._places[last] = place
