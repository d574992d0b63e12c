"""How many calls a second the quotas of all projects permit together, by lane. Pure."""

import math
from collections import OrderedDict
from collections.abc import Callable

from proxycore.gemini.lane import counted_as
from proxycore.rotation.key import Project
from proxycore.rotation.rotator import Rotator

_SPREAD = 30.0  # seconds for which calls are spread
_KEPT = 5.0  # seconds for which a rate is used: quotas change slowly
_FAR = 120.0  # seconds: a project that is not ready for so long adds nothing
_MOST_LANES = 64


class PoolRates:
    """The rates, computed when they are asked for. `now` returns the clock's moment, in seconds."""

    def __init__(self, rotator: Rotator, now: Callable[[], float]) -> None:
        self._rotator = rotator
        self._now = now
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()  # each with its moment
        self._spread_at: OrderedDict[str, float] = OrderedDict()

    def of(self, lane: str) -> float:
        """Return the calls a second for a lane; infinity while the quota of a project is not known."""
        now = self._now()
        rate, at = self._rates.get(lane, (0.0, -math.inf))
        if now - at > _KEPT:
            rate = self._compute(lane, now)
            self._rates[lane] = rate, now
            if len(self._rates) > _MOST_LANES:
                self._rates.popitem(last=False)
        return rate

    def spread(self, lane: str) -> None:
        """Spread the calls for a lane evenly for a while, since more are wanted than the quotas permit.

        Otherwise all calls of a minute are made in its first seconds, over and over, and whoever comes later
        finds none that is ready soon, whatever its share.
        """
        now = self._now()
        if now - self._spread_at.get(lane, -math.inf) < _KEPT:
            return
        self._spread_at[lane] = now
        if len(self._spread_at) > _MOST_LANES:
            self._spread_at.popitem(last=False)
        for project in self._rotator.projects:
            if limiter := project.limiters.get(counted_as(lane)):
                for quota in limiter.quotas.each:
                    quota.spread(now + _SPREAD)

    def _compute(self, lane: str, now: float) -> float:
        soon = [project for project in self._rotator.projects if project.free_at(lane) < now + _FAR]
        return sum(_rate(project, lane, now) for project in soon) or math.inf


def _rate(project: Project, lane: str, now: float) -> float:
    limiter = project.limiters.get(counted_as(lane))
    quotas = limiter.quotas.each if limiter else ()
    return min((quota.rate(now) for quota in quotas if not quota.of_tokens), default=math.inf)
