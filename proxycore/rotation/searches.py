"""The searches for a key that serves, and which of them holds back the calls of a lane. Pure."""

from collections.abc import Iterator, Mapping

from proxycore.clock import Clock
from proxycore.gemini.lane import counted_as
from proxycore.rotation.events import Events, Origin, SearchChanged
from proxycore.rotation.search import Search


class Searches(Mapping[str | None, Search]):
    """The searches under way, by lane (None: for all). Changes are published to `events`."""

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
        """Return the search that holds back calls of a lane, if any. Ends searches that are over."""
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
        """Begin to hold calls back, or replace the state of a search by a peer's."""
        self._on[search.lane] = search
        self._events.publish(SearchChanged(origin, search.lane, search))

    def end(self, search: Search, origin: Origin = Origin.HERE, request: str = "") -> None:
        """End a search, as the response to the `request` of this id showed: calls are held back no more."""
        if self._on.get(search.lane) is search:
            del self._on[search.lane]
            self._events.publish(SearchChanged(origin, search.lane, None, request))

    def publish(self, search: Search) -> None:
        """Publish the state of a search that has changed."""
        self._events.publish(SearchChanged(Origin.HERE, search.lane, self._on.get(search.lane)))

    def end_try(self, search: Search, *, alike: bool) -> None:
        """End a try that has failed; `alike` is whether it was refused as others were."""
        if self._on.get(search.lane) is search:
            search.end_try(self._clock(), alike=alike)
            self.publish(search)
