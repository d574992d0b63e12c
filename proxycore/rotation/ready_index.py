"""An index of the projects for one lane: those that are ready, and a heap of those that are not. Pure.

With it, a choice among a thousand takes no longer than one among ten. It may hold a project for ready which
is not (that is checked when it is drawn), but never the other way round: call `reconsider` whenever a project
may be ready earlier than before.

Times are the clock's moments, in seconds.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace

from proxycore.rotation.key import Project

_GLANCES = 6
_FEW = 12  # projects, which are all looked at if need be

Usable = Callable[[Project], bool]


class ReadyIndex:
    """The projects, indexed for `model`."""

    def __init__(self, projects: Iterable[Project], model: str, now: float) -> None:
        self._model = model
        self._ready: list[Project] = []
        self._places: dict[Project, int] = {}  # where each stands in `_ready`
        self._resting: list[
            tuple[float, int, Project]
        ] = []  # a heap; entries that are not in `_until` are old
        self._until: dict[Project, float] = {}
        self._count = 0
        self._most = 1  # that any is known to have left
        for project in projects:
            self._insert(project, now)

    def draw(self, source: random.Random, now: float, usable: Usable) -> Project | None:
        """A random project that is ready and usable, weighted by what each is known to have left.

        One that never told its quota counts as much as the largest that did.
        """
        self._wake(now)
        # Rejection sampling by weight; when all were rejected, the choice is among those seen.
        seen: dict[Project, float] = {}
        for _ in range(_GLANCES):
            if not self._ready:
                return None
            project = source.choice(self._ready)
            if not self._is_ready(project, now) or not usable(project):
                continue
            weight = seen[project] = self._weight(project, now)
            if weight >= self._most or source.random() * self._most < weight:
                return project
        if len(self._ready) <= _FEW or not seen:
            fit = [project for project in self._ready[:] if self._is_ready(project, now) and usable(project)]
            seen = {project: self._weight(project, now) for project in fit}
        self._most = max(*map(int, seen.values()), self._most // 2, 1)
        return source.choices(list(seen), list(seen.values()))[0] if seen else None

    def ready(self, now: float) -> Iterator[Project]:
        """All ready projects."""
        self._wake(now)
        return (project for project in self._ready[:] if self._is_ready(project, now))

    def first(self, now: float, usable: Usable) -> tuple[Project, float] | None:
        """The usable project that is the first to be ready, and when that is."""
        self._wake(now)
        for project in self._ready[:]:
            if self._is_ready(project, now) and usable(project):
                return project, now
        found, passed = None, []
        while self._resting and found is None:
            until, _, project = self._resting[0]
            actual = project.free_at(self._model)
            if self._until.get(project) != until:
                heappop(self._resting)
            elif actual != until:
                self._replace(project, actual)
            elif usable(project):
                found = project, until
            else:
                passed.append(heappop(self._resting))
        for entry in passed:
            heappush(self._resting, entry)
        return found

    def reconsider(self, project: Project, now: float) -> None:
        """Looks again at a project that may be ready earlier than before."""
        if project not in self._places:
            self._insert(project, now)

    def _weight(self, project: Project, now: float) -> float:
        if not project.limiters:
            return self._most
        left, reliability = project.left(self._model, now), project.reliability(self._model, now)
        if left is None:
            return self._most * reliability
        self._most = max(self._most, left)
        return max(left, 1) * reliability

    def _is_ready(self, project: Project, now: float) -> bool:
        until = project.free_at(self._model)
        if until <= now:
            return True
        if project in self._places:
            self._remove(project)
            self._push(project, until)
        return False

    def _wake(self, now: float) -> None:
        resting = self._resting
        while resting and resting[0][0] <= now:
            until, _, project = heappop(resting)
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
        heappush(self._resting, (until, self._count, project))

    def _replace(self, project: Project, until: float) -> None:
        self._count += 1
        self._until[project] = until
        heapreplace(self._resting, (until, self._count, project))

    def _remove(self, project: Project) -> None:
        place, last = self._places.pop(project), self._ready.pop()
        if last is not project:
            self._ready[place] = last
            self._places[last] = place
