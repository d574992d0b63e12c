"""Tells when outages begin and end: those of the upstream, and searches for a key that became outages."""

from collections.abc import Callable
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.rotation.bench import NO_MODEL
from proxycore.rotation.events import Events, Origin, OutageChanged, SearchChanged
from proxycore.rotation.outage import Outage
from proxycore.rotation.search import Search


@dataclass(frozen=True, slots=True)
class OutageTurn:
    """An outage has begun (`began`) or ended: for which lane (None: for all), and a sentence about it.

    `request` is the id of the request whose response showed that; empty if none did.
    """

    began: bool
    lane: str | None
    text: str
    request: str


class OutageTurns:
    """Calls `handle` once for each beginning and end that this process has found."""

    def __init__(self, events: Events, clock: Clock, handle: Callable[[OutageTurn], None]) -> None:
        self._clock = clock
        self._handle = handle
        self._outages: dict[tuple[str | None, str | None], Outage] = {}  # by lane and proxy
        self._searches: dict[str | None, Search] = {}  # that turned into outages
        events.subscribe(OutageChanged, self._outage_changed)
        events.subscribe(SearchChanged, self._search_changed)

    def _outage_changed(self, event: OutageChanged) -> None:
        about, current, is_ours = (event.lane, event.proxy), event.outage, event.origin is Origin.HERE
        known = self._outages.get(about)
        if current and not known:
            self._outages[about] = current
            if is_ours:
                self._handle(OutageTurn(True, event.lane, current.thought, event.request))
        elif known and not current:
            del self._outages[about]
            if is_ours:
                what = (f" for {known.model}" if known.model else "") + known.through
                self._ended(event, what, known)

    def _search_changed(self, event: SearchChanged) -> None:
        known, current, is_ours = self._searches.get(event.lane), event.search, event.origin is Origin.HERE
        if current and current.outage and current is not known:
            self._searches[event.lane] = current
            if is_ours and not known:
                self._handle(OutageTurn(True, event.lane, current.thought, current.cause))
        elif known and not current:
            del self._searches[event.lane]
            if is_ours:
                self._ended(event, "" if event.lane is None else f" for {event.lane or NO_MODEL}", known)

    def _ended(self, event: OutageChanged | SearchChanged, what: str, known: Outage | Search) -> None:
        text = f"outage over{what} after {self._clock() - known.since:.0f} s: {known.reason}"
        self._handle(OutageTurn(False, event.lane, text, event.request))
