"""Records what happens to the keys as events in a journal. Each is recorded by the process that found it."""

from proxycore.clock import Clock
from proxycore.rotation.bench import LANE_PLACES, NO_MODEL, NO_ORIGIN, BenchPlace
from proxycore.rotation.events import BenchBegan, BenchEnded, Events
from proxycore.stats.outage_turns import OutageTurn, OutageTurns
from proxycore.storage.rows import EventKind, EventRow, Journal


class EventRecorder:
    """Puts benches, retirements, recoveries and outages among `events` into `journal`."""

    def __init__(self, events: Events, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        events.subscribe(BenchBegan, self._benched)
        events.subscribe(BenchEnded, self._recovered)
        OutageTurns(events, clock, self._outage)

    def _benched(self, event: BenchBegan) -> None:
        is_retired = event.place is BenchPlace.RETIRED
        self._journal.put_event(
            EventRow(
                self._clock.wall(),
                EventKind.RETIRED if is_retired else EventKind.BENCHED,
                event.key.name,
                _about(event),
                event.bench.reason,
                event.request,
                None if is_retired else self._clock.to_wall(event.bench.benched_until),
            )
        )

    def _recovered(self, event: BenchEnded) -> None:
        row = EventRow(
            self._clock.wall(),
            EventKind.RECOVERED,
            event.key.name,
            _about(event),
            event.ended.reason,
            event.request,
        )
        self._journal.put_event(row)

    def _outage(self, turn: OutageTurn) -> None:
        kind = EventKind.OUTAGE_BEGAN if turn.began else EventKind.OUTAGE_ENDED
        about = NO_MODEL if turn.lane == "" else turn.lane or ""
        row = EventRow(self._clock.wall(), kind, about=about, why=turn.text, request=turn.request)
        self._journal.put_event(row)


def _about(event: BenchBegan | BenchEnded) -> str:
    if event.place in LANE_PLACES:
        return event.about or NO_MODEL
    return event.about or NO_ORIGIN if event.place is BenchPlace.ORIGIN else ""
