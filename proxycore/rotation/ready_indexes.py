"""The indexes of all lanes: which projects may be ready, in the groups of `KEY_ORDER`. Pure."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator

from proxycore.gemini.lane import counted_as
from proxycore.rotation.key import Project
from proxycore.rotation.ready_index import ProjectGroup, ReadyIndex

_MOST_LANES = 512  # clients can invent names without end; the lane that came first is dropped for another


class ReadyIndexes:
    """For each lane an index of each group of projects, the group that goes first at the beginning.

    `ordered` is whether there are several groups.
    """

    def __init__(self, projects: Iterable[Project]) -> None:
        self.set_projects(projects)

    def set_projects(self, projects: Iterable[Project]) -> None:
        """Index these projects from now on, each as ready until it is found not to be."""
        by_rank = defaultdict[int, list[Project]](list)
        for project in projects:
            by_rank[project.rank].append(project)
        self._groups = [ProjectGroup(by_rank[rank]) for rank in sorted(by_rank)] or [ProjectGroup(())]
        self.ordered = len(self._groups) > 1
        self._lanes: OrderedDict[str, tuple[ReadyIndex, ...]] = OrderedDict()
        self._spending: defaultdict[str, set[str]] = defaultdict(set)  # lanes by the quotas that they spend

    def of(self, lane: str) -> tuple[ReadyIndex, ...]:
        """Return the indexes for a lane."""
        return self._lanes.get(lane) or self._add(lane)

    def ready(self, lane: str, now: float) -> Iterator[Project]:
        """Return all projects that are ready for a lane, those of the first group first."""
        return (project for index in self.of(lane) for project in index.ready(now))

    def reconsider(self, project: Project, lane: str | None, now: float) -> None:
        """Update the place of a project that may be ready earlier, for what spends a lane's quotas or all."""
        lanes = self._lanes if lane is None else self._spending.get(counted_as(lane), ())
        for one in lanes:
            for index in self._lanes[one]:
                index.reconsider(project, now)

    def _add(self, lane: str) -> tuple[ReadyIndex, ...]:
        if len(self._lanes) >= _MOST_LANES:
            dropped, _ = self._lanes.popitem(last=False)
            spending = self._spending[counted_as(dropped)]
            spending.discard(dropped)
            if not spending:
                del self._spending[counted_as(dropped)]
        self._spending[counted_as(lane)].add(lane)
        indexes = self._lanes[lane] = tuple(ReadyIndex(group, lane) for group in self._groups)
        return indexes
