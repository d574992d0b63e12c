"""What the log says of outages: what is thought to be happening, and when it was over."""

from collections.abc import Callable

from proxycore.key import Key
from proxycore.log import logger
from proxycore.outage import Outage
from proxycore.rotator import Rotator


class Chronicle:
    """Writes down when an outage begins and ends. `clock` tells seconds since the epoch."""

    def __init__(self, rotator: Rotator, clock: Callable[[], float]) -> None:
        self._rotator = rotator
        self._clock = clock
        self._known: dict[str | None, Outage] = {}
        rotator.listeners.append(self._changed)

    def _changed(self, kind: str, _key: Key | None, model: str, _at: float) -> None:
        if kind != "outage":
            return
        breadth = model or None
        known, current = self._known.get(breadth), self._rotator.outages.current.get(breadth)
        if current and not known:
            logger.warning("%s", current.thought)
            self._known[breadth] = current
        elif known and not current:
            what = f" for {known.model}" if known.model else ""
            logger.info("over%s after %.0f s: %s", what, self._clock() - known.since, known.reason)
            del self._known[breadth]
