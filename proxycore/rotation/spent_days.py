"""When projects whose day is spent for a lane are tried once more: their quotas may have been raised. Pure.

Times are the clock's moments, in seconds.
"""

import random
from collections.abc import Iterator
from heapq import heappop, heappush

from proxycore.clock import Clock
from proxycore.gemini.verdict import since_google_midnight
from proxycore.rotation.bench import BenchPlace
from proxycore.rotation.events import BenchChanged, Events, QuotaLearned
from proxycore.rotation.key import Project

_PAUSE = 7200.0  # seconds after a refusal
_SHORTEST_PAUSE = 1.0  # seconds after a day was spent by our own count, in which the reset was late perhaps
_SPREAD = 1.1  # processes try at different times, so that one is the first, and the others know of it


class SpentDays:
    """The projects and lanes whose day is spent, and when each is tried once more."""

    def __init__(self, events: Events, *, clock: Clock, source: random.Random) -> None:
        self._clock = clock
        self._random = source
        self._due: dict[tuple[Project, str], float] = {}
        self._heap: list[tuple[float, int, tuple[Project, str]]] = []  # may have outdated entries
        self._count = 0
        events.subscribe(BenchChanged, self._bench_changed)
        events.subscribe(QuotaLearned, self._quota_learned)

    def watch(self, project: Project, lane: str) -> None:
        """Try a project once more for a lane: by our own count, its day is spent.

        Calls before a reset that was late may have been counted for the new day, so in a young day the pause
        is short: as long as the day is old.
        """
        age = since_google_midnight(self._clock.to_wall(self._clock()))
        self._try_after(min(max(_SHORTEST_PAUSE, age), _PAUSE), project, lane)

    def _try_after(self, pause: float, project: Project, lane: str) -> None:
        spent, at = (project, lane), self._clock() + pause * self._random.uniform(1.0, _SPREAD)
        if at < self._due.get(spent, float("inf")):
            self._due[spent] = at
            self._count += 1  # projects themselves are not compared
            heappush(self._heap, (at, self._count, spent))

    def due(self) -> Iterator[tuple[Project, str]]:
        """Yield the projects and lanes for which it is time, each once."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            at, _, spent = heappop(self._heap)
            if self._due.get(spent) == at:
                del self._due[spent]
                yield spent

    def _bench_changed(self, event: BenchChanged) -> None:
        bench = event.bench if event.place is BenchPlace.MODEL else None
        if bench and bench.lasts_for_the_day and bench.is_of_day(self._clock()):
            self._try_after(_PAUSE, event.key.project, event.about)

    def _quota_learned(self, event: QuotaLearned) -> None:
        limiter = event.key.project.limiters.get(event.lane)
        if limiter and limiter.today and limiter.today.spent:
            self._try_after(_PAUSE, event.key.project, event.lane)
