"""What the log says of keys: when a bench begins and when it is over, and what many keys have alike.

Each is written once, by the process that found out. What is routine is info, what asks for the operator's eye
sooner or later is a warning, and a key that is of no use any more is an error.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from proxycore.bench import Bench
from proxycore.clock import Clock
from proxycore.key import Key
from proxycore.log import logger
from proxycore.outage import Outage
from proxycore.rotator import Rotator

_LEVELS = {"model": logging.INFO, "whole": logging.WARNING, "retired": logging.ERROR}


class Chronicle:
    """Writes down what the rotator tells."""

    def __init__(self, rotator: Rotator, clock: Clock) -> None:
        self._rotator = rotator
        self._clock = clock
        self._known: dict[str | None, Outage] = {}
        rotator.listeners.append(self._changed)
        rotator.on_bench.append(self._benched)
        rotator.on_recovery.append(self._recovered)

    def _benched(self, key: Key, kind: str, model: str, bench: Bench) -> None:
        seconds = max(0, round(bench.benched_until - self._clock()))
        until = datetime.fromtimestamp(self._clock.to_wall(bench.benched_until), UTC).isoformat(
            timespec="seconds"
        )
        fields = _about(key, model, bench) | {"strikes": bench.strikes, "seconds": seconds, "until": until}
        word = "retired" if kind == "retired" else "benched"
        logger.log(_LEVELS[kind], "%s", word, extra={"fields": fields})

    def _recovered(self, key: Key, _kind: str, model: str, bench: Bench) -> None:
        logger.info("recovered", extra={"fields": _about(key, model, bench)})

    def _changed(self, kind: str, _key: Key | None, model: str, _at: float) -> None:
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


def _about(key: Key, model: str, bench: Bench) -> dict[str, Any]:
    return {"key": key.name} | ({"model": model} if model else {}) | {"reason": bench.reason}
