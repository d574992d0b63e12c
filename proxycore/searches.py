"""The searches for a key that serves: which are on, and which one holds the calls of a lane back. Pure."""

from collections.abc import Iterator, Mapping

from proxycore.clock import Clock
from proxycore.events import Events, Origin, SearchChanged
from proxycore.lane import counted_as
from proxycore.search import Search


class Searches(Mapping[str | None, Search]):
    """Those that are on, by lane (None: for all). What changes of them is published to `events`."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._on: dict[str | None, Search] = {}

    def __getitem__(self, lane: str | None) -> Search:
        return self._on[lane]

    def __iter__(self) -> Iterator[str | None]:
        return iter(self._on)

    def __len__(self) -> int:
        return len(self._on)

    def holding(self, lane: str) -> Search | None:
        """The search that holds calls of a lane back. One that is over ends here."""
        if not self._on:
            return None
        now = self._clock()
        for one in dict.fromkeys((None, counted_as(lane), lane)):
            search = self._on.get(one)
            if search and search.is_over(now):
                self.end(search)
            elif search:
                return search
        return None

    def begin(self, search: Search, origin: Origin = Origin.HERE) -> None:
        """Calls are held back from now on."""
        self._on[search.lane] = search
        self._events.publish(SearchChanged(origin, search.lane, search))

    def end(self, search: Search, origin: Origin = Origin.HERE) -> None:
        """Calls are not held back any more."""
        if self._on.get(search.lane) is search:
            del self._on[search.lane]
            self._events.publish(SearchChanged(origin, search.lane, None))

    def publish(self, search: Search) -> None:
        """This search went on."""
        self._events.publish(SearchChanged(Origin.HERE, search.lane, self._on.get(search.lane)))

    def end_try(self, search: Search, *, alike: bool) -> None:
        """A try has failed; `alike` is whether it was refused as others were."""
        if self._on.get(search.lane) is search:
            search.end_try(self._clock(), alike=alike)
            self.publish(search)
