"""The log of key events: benches, retirements and recoveries, outages, and requests that were at fault.

Each is written once, by the process where it was found. Routine events have the level INFO, events that an
operator should look into WARNING, and a key that cannot be used any more ERROR.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from proxycore.clock import Clock
from proxycore.rotation.bench import LANE_PLACES, NO_MODEL, NO_ORIGIN, Bench, BenchPlace
from proxycore.rotation.events import (
    BenchBegan,
    BenchEnded,
    Events,
    RequestBlamed,
)
from proxycore.stats.outage_turns import OutageTurn, OutageTurns

logger = logging.getLogger(__name__)

_LEVELS = {
    BenchPlace.MODEL: logging.INFO,
    BenchPlace.CALLER: logging.INFO,
    BenchPlace.ORIGIN: logging.INFO,
    BenchPlace.WHOLE: logging.WARNING,
    BenchPlace.RETIRED: logging.ERROR,
}


class KeyLog:
    """Writes a log line for each event that an operator should know of."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._clock = clock
        events.subscribe(BenchBegan, self._benched)
        events.subscribe(BenchEnded, self._recovered)
        events.subscribe(RequestBlamed, self._judged)
        OutageTurns(events, clock, self._outage)

    def _benched(self, event: BenchBegan) -> None:
        bench = event.bench
        seconds = max(0, round(bench.benched_until - self._clock()))
        until = datetime.fromtimestamp(self._clock.to_wall(bench.benched_until), UTC).isoformat(
            timespec="seconds"
        )
        fields = _about(event, bench) | {"strikes": bench.strikes, "seconds": seconds, "until": until}
        word = "retired" if event.place is BenchPlace.RETIRED else "benched"
        fields["id"] = event.request or None
        logger.log(_LEVELS[event.place], "%s", word, extra={"fields": fields})

    def _recovered(self, event: BenchEnded) -> None:
        logger.info("recovered", extra={"fields": _about(event, event.ended) | {"id": event.request or None}})

    @staticmethod
    def _judged(event: RequestBlamed) -> None:
        judgement = event.judgement
        fields = {"model": judgement.model or NO_MODEL, "reason": judgement.reason, "why": judgement.why}
        logger.info("request at fault", extra={"fields": fields | {"id": judgement.request or None}})

    @staticmethod
    def _outage(turn: OutageTurn) -> None:
        logger.log(logging.WARNING if turn.began else logging.INFO, "%s", turn.text)


def _about(event: BenchBegan | BenchEnded, bench: Bench) -> dict[str, Any]:
    about: dict[str, Any] = {"key": event.key.name}
    if event.place in LANE_PLACES:
        about["model"] = event.about or NO_MODEL
    elif event.place is BenchPlace.ORIGIN:
        about["origin"] = event.about or NO_ORIGIN
    return about | {"reason": bench.reason}
