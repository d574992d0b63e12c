"""Applies what peers publish about the pool rather than one key: outages, searches, clients that return."""

from collections.abc import Mapping

from proxycore.peers.update import Update, UpdateKind
from proxycore.rotation.events import Origin
from proxycore.rotation.key import Key
from proxycore.rotation.outage import Outage
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.search import Search
from proxycore.rotation.wait_queues import WaitQueues

_ALL = "*"  # what an outage or a search is about that is not about one lane


class PoolFacts:
    """Applies the facts to the rotator and the queues."""

    def __init__(self, rotator: Rotator, queues: WaitQueues) -> None:
        self._rotator = rotator
        self._queues = queues

    def apply(self, update: Update, keys: Mapping[str, Key], proxies: Mapping[str, str | None]) -> None:
        """Apply an update; keys and outbound proxies are by fingerprint.

        Raises AttributeError, LookupError, TypeError or ValueError if the update is malformed.
        """
        if update.kind == UpdateKind.OUTAGE and (not update.key or update.key in proxies):
            self._apply_outage(update, proxies.get(update.key))
        elif update.kind == UpdateKind.EXPECT and not update.key:
            self._apply_return(update)
        elif update.kind == UpdateKind.SEARCH and not update.key:
            self._apply_search(lane_of(update.about), update, keys)

    def _apply_return(self, update: Update) -> None:
        model, (at,) = update.about.rpartition(" ")[0], update.moments
        if update.value is None:
            self._queues.expected.remove(model, at)
        else:
            self._queues.expected.add(model, at, str(update.value), Origin.PEER)

    def _apply_outage(self, update: Update, proxy: str | None) -> None:
        lane, outage = lane_of(update.about), None
        if update.value is not None:
            outage = Outage.from_json(lane, update.value, update.moments, proxy)
        self._rotator.learn_outage(lane, outage, proxy)

    def _apply_search(self, lane: str | None, update: Update, keys: Mapping[str, Key]) -> None:
        known = self._rotator.searches.get(lane)
        if update.value is not None:
            search = Search.from_json(lane, update.value, update.moments, keys, known)
            self._rotator.searches.begin(search, Origin.PEER)
        elif known:
            self._rotator.searches.end(known, Origin.PEER)


def lane_or_all(lane: str | None) -> str:
    """Return how a lane (None: all) is written."""
    return _ALL if lane is None else lane


def lane_of(about: str) -> str | None:
    """Return the lane that was written so; None for all."""
    return None if about == _ALL else about
