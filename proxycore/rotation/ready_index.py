"""An index of the projects for one lane: those that are ready, and a heap of those that are not. Pure.

With it, a choice among a thousand takes no longer than one among ten. It may list a project as ready that is
not (which is checked when it is drawn), but never the other way round: call `reconsider` whenever a project
may be ready earlier than before. So a new index lists all of them, which costs next to nothing, and only
those that were found not to be ready take time and memory.

Times are the clock's moments, in seconds.
"""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from proxycore.rotation.key import Project

_DRAWS = 6  # projects that are drawn and rejected, at most
_FEW = 12  # ready projects: of so many, all are examined if no draw succeeds
_UNCERTAIN = 0.02  # of a call: the weight of a project that has probably none left
_SMALL = 1 << 16  # projects that can be numbered with two bytes

Usable = Callable[[Project], bool]


def _any(_: Project) -> bool:
    return True


class ProjectGroup:
    """Projects among which a key is chosen, numbered: all indexes of the group share the numbers."""

    def __init__(self, projects: Iterable[Project]) -> None:
        self.projects = tuple(projects)
        self.numbers = {project: number for number, project in enumerate(self.projects)}
        self.in_order = array("H" if len(self.projects) <= _SMALL else "L", range(len(self.projects)))

    def __contains__(self, project: Project) -> bool:
        return project in self.numbers


class ReadyIndex:
    """The projects of a group, indexed for `model`."""

    def __init__(self, group: ProjectGroup, model: str) -> None:
        self.group = group
        self._projects = group.projects
        self._model = model
        self._order = group.in_order[:]  # numbers of projects; the first `_count` of them are ready
        self._places = group.in_order[:]  # the index of each number in `_order`
        self._count = len(self._projects)
        # A heap of moments and numbers; an entry is outdated if `_until` has another moment for the project.
        self._benched: list[tuple[float, int]] = []
        self._until = array("d")  # by number; empty before any project was found not to be ready
        self._most = 1.0  # the largest weight that any project is known to have

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
            if not self._count:
                return None
            project = self._projects[self._order[source.randrange(self._count)]]
            if not self._is_ready(project, now) or not usable(project):
                continue
            weight = seen[project] = self._weight(project, now, tokens)
            if weight >= self._most or source.random() * self._most < weight:
                return project
        if self._count <= _FEW or not seen:
            fit = [project for project in self.ready(now) if usable(project)]
            seen = {project: self._weight(project, now, tokens) for project in fit}
        self._most = max(*seen.values(), self._most / 2, 1.0)
        return source.choices(list(seen), list(seen.values()))[0] if seen else None

    def ready(self, now: float) -> Iterator[Project]:
        """Return all ready projects."""
        self._wake(now)
        listed = map(self._projects.__getitem__, self._order[: self._count])
        return (project for project in listed if self._is_ready(project, now))

    def first(self, now: float, usable: Usable, tokens: int = 0) -> tuple[Project, float] | None:
        """Return the usable project that is the first to be ready, and when; None if no project is usable.

        It has to be ready for a prompt of so many tokens.
        """
        self._wake(now)
        found: tuple[Project, float] | None = None
        for project in self.ready(now) if self._count else ():
            if not usable(project):
                continue
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
            until, number = self._benched[0]
            project = self._projects[number]
            if self._until[number] != until:
                heappop(self._benched)
            elif (actual := project.free_at(self._model)) != until:
                heappop(self._benched)
                self._push(number, actual)
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
        number = self.group.numbers.get(project)
        if number is not None and self._places[number] >= self._count:
            self._update(number, now)

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
        number = self.group.numbers[project]
        if (place := self._places[number]) < self._count:
            self._count -= 1
            self._swap(place, self._count)
            self._push(number, until)
        return False

    def _wake(self, now: float) -> None:
        benched = self._benched
        while benched and benched[0][0] <= now:
            until, number = heappop(benched)
            if self._until[number] == until and self._places[number] >= self._count:
                self._update(number, now)

    def _update(self, number: int, now: float) -> None:
        """List a project that was not ready as ready, or push when it will be."""
        until = self._projects[number].free_at(self._model)
        if until > now:
            self._push(number, until)
            return
        self._until[number] = 0.0
        self._swap(self._places[number], self._count)
        self._count += 1

    def _push(self, number: int, until: float) -> None:
        if not self._until:
            self._until = array("d", bytes(8 * len(self._projects)))
        self._until[number] = until
        heappush(self._benched, (until, number))
        if len(self._benched) > 2 * len(self._projects):
            self._benched = [(self._until[one], one) for one in self._order[self._count :]]
            heapify(self._benched)

    def _swap(self, one: int, other: int) -> None:
        order, places = self._order, self._places
        order[one], order[other] = order[other], order[one]
        places[order[one]], places[order[other]] = one, other
