"""What the log says of keys: when a bench begins and when it is over, and what many keys have alike.

Each is written once, by the process that found out. What is routine is info, what asks for the operator's eye
sooner or later is a warning, and a key that is of no use any more is an error.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from proxycore.bench import NO_MODEL, NO_ORIGIN
from proxycore.benches import KeyEvent
from proxycore.choice import ALL
from proxycore.clock import Clock
from proxycore.judgement import Judgement
from proxycore.key import Key
from proxycore.log import logger
from proxycore.outage import Outage
from proxycore.rotator import Rotator
from proxycore.search import Search

_LEVELS = {
    "model": logging.INFO,
    "caller": logging.INFO,
    "origin": logging.INFO,
    "whole": logging.WARNING,
    "retired": logging.ERROR,
}


class Chronicle:
    """Writes down what the rotator tells."""

    def __init__(self, rotator: Rotator, clock: Clock) -> None:
        self._rotator = rotator
        self._clock = clock
        self._known: dict[str | None, Outage] = {}
        self._searches: dict[str, Search] = {}  # that turned into outages
        rotator.listeners.append(self._changed)
        rotator.on_bench.append(self._benched)
        rotator.on_recovery.append(self._recovered)
        rotator.on_judgement.append(self._judged)

    def _benched(self, event: KeyEvent) -> None:
        bench = event.bench
        seconds = max(0, round(bench.benched_until - self._clock()))
        until = datetime.fromtimestamp(self._clock.to_wall(bench.benched_until), UTC).isoformat(
            timespec="seconds"
        )
        fields = _about(event) | {"strikes": bench.strikes, "seconds": seconds, "until": until}
        word = "retired" if event.kind == "retired" else "benched"
        fields["id"] = event.request or None
        logger.log(_LEVELS[event.kind], "%s", word, extra={"fields": fields})

    def _recovered(self, event: KeyEvent) -> None:
        logger.info("recovered", extra={"fields": _about(event) | {"id": event.request or None}})

    @staticmethod
    def _judged(judgement: Judgement) -> None:
        fields = {"model": judgement.model or NO_MODEL, "reason": judgement.reason, "why": judgement.why}
        logger.info("request at fault", extra={"fields": fields | {"id": judgement.request or None}})

    def _changed(self, kind: str, _key: Key | None, model: str, _at: float) -> None:
        if kind == "search":
            self._search_changed(model)
        if kind != "outage":
            return
        breadth = model or None
        known, current = self._known.get(breadth), self._rotator.outages.current.get(breadth)
        if current and not known:
            self._known[breadth] = current
            if not self._rotator.hearsay:
                logger.warning("%s", current.thought)
        elif known and not current:
            del self._known[breadth]
            if not self._rotator.hearsay:
                what = f" for {known.model}" if known.model else ""
                logger.info("over%s after %.0f s: %s", what, self._clock() - known.since, known.reason)

    def _search_changed(self, lane: str) -> None:
        known, current = self._searches.get(lane), self._rotator.searches.get(None if lane == ALL else lane)
        if current and current.outage and current is not known:
            self._searches[lane] = current
            if not self._rotator.hearsay and not known:
                logger.warning("%s", current.thought)
        elif known and not current:
            del self._searches[lane]
            if not self._rotator.hearsay:
                where = "" if lane == ALL else f" for {lane or NO_MODEL}"
                seconds = self._clock() - known.since
                logger.info("outage over%s after %.0f s: %s", where, seconds, known.reason)


def _about(event: KeyEvent) -> dict[str, Any]:
    about: dict[str, Any] = {"key": event.key.name}
    if event.kind in {"model", "caller"}:
        about["model"] = event.model or NO_MODEL
    elif event.kind == "origin":
        about["origin"] = event.model or NO_ORIGIN
    return about | {"reason": event.bench.reason}
