"""Outages of the upstream that are no key's fault: server errors in a row, or a region that is blocked. Pure.

They are shown and logged; no request is held back for them. When many keys refuse alike, see `search`.

Each is an outage for the keys with one outbound proxy, or with none; what is seen through one proxy says
nothing about the others. Where there are several, the keys behind others are used first, see `ways`.

Times are the clock's moments, in seconds.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import HEALTHY, NOT_GOOGLE, REGION_BLOCKED, TIMED_OUT, Reaction, Verdict
from proxycore.rotation.bench import NO_MODEL
from proxycore.rotation.ways import shown

_MANY_FAILURES = 30  # in a row
_MANY_OF_A_WAY = 3  # in a row, each after a pause
_MOST_LANES = 64  # whose failures are counted, or that have an outage


@dataclass(slots=True)
class Outage:
    """An outage that is under way: for which reason, for which lane (None: for all), since when.

    It affects keys with the outbound proxy `proxy` (None: with none).
    """

    reason: str
    model: str | None
    since: float
    proxy: str | None = field(default=None, repr=False)

    @property
    def thought(self) -> str:
        """The sentence that explains it on the status page and in the log."""
        if self.reason == REGION_BLOCKED.reason:
            if self.proxy:
                return f"Google does not support the region of the outbound proxy {shown(self.proxy)}"
            return "Google does not support this server's region: set UPSTREAM_PROXY"
        if self.model is None:
            through = self.through or " without an outbound proxy"
            return f"no request succeeds{through} ({self.reason}); keys with another way are used first"
        what = f" for {self.model}" if self.model else ""
        return f"upstream outage{what}{self.through}: only server errors, no request succeeds"

    @property
    def through(self) -> str:
        """A phrase that names the outbound proxy, without its credentials; empty without one."""
        return f" through the outbound proxy {shown(self.proxy)}" if self.proxy else ""

    def to_json(self) -> tuple[str, list[float]]:
        """Return what peers are sent: a JSON value and the moments."""
        return self.reason, [self.since]

    @classmethod
    def from_json(
        cls, lane: str | None, value: object, moments: Sequence[float], proxy: str | None = None
    ) -> "Outage":
        """Return the outage that a peer sent. Raises ValueError when the value is none."""
        match value, list(moments):
            case str(reason), [since]:
                return cls(reason, lane, since, proxy)
        raise ValueError("not an outage")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.model == "" else self.model,
            "proxy": shown(self.proxy) if self.proxy else None,
            "since": clock.to_wall(self.since),
            "next_trial": None,
            "thought": self.thought,
        }


class Outages:
    """The outages that are under way, and the failures in a row that may become one."""

    def __init__(self) -> None:
        self._current: dict[tuple[str | None, str | None], Outage] = {}  # by lane and proxy
        self._failed: dict[tuple[str, str | None], int] = {}  # (lane, proxy) -> failures in a row

    def of(self, model: str, proxy: str | None = None) -> Outage | None:
        """Return the outage that affects a lane for keys with this proxy, if any."""
        return self._current.get((None, proxy)) or self._current.get((model, proxy))

    def put(self, lane: str | None, outage: Outage | None, proxy: str | None = None) -> None:
        """Set the outage of a lane (None: of all lanes), as a peer found it; None ends it."""
        if outage:
            self._current[lane, proxy] = outage
        else:
            self._current.pop((lane, proxy), None)

    def ended(self, model: str, verdict: Verdict, sent_at: float, proxy: str | None) -> list[Outage]:
        """End the outages that the response to a call sent at `sent_at` disproves, and return them."""
        if self._failed and verdict is HEALTHY:
            self._failed.pop((model, proxy), None)
        if not self._current:
            return []
        is_inconclusive = verdict.then is Reaction.RETRY or verdict in {TIMED_OUT, NOT_GOOGLE}
        ended = [
            outage
            for outage in (self._current.get((model, proxy)), self._current.get((None, proxy)))
            if outage and not is_inconclusive and verdict.reason != outage.reason and sent_at >= outage.since
        ]
        if len(self._current) > _MOST_LANES:
            # The oldest, of models that nobody asks for any more, or that never existed.
            of_models = [outage for outage in self._current.values() if outage.model]
            ended += of_models[: max(0, len(of_models) - _MOST_LANES)]
        for outage in ended:
            self._current.pop((outage.model, outage.proxy), None)
        return ended

    def keep(self, proxies: Collection[str | None]) -> list[Outage]:
        """End the outages of all other outbound proxies, which no key has any more, and return them."""
        gone = [outage for outage in self._current.values() if outage.proxy not in proxies]
        for outage in gone:
            del self._current[outage.model, outage.proxy]
        return gone

    def begun(
        self, model: str, verdict: Verdict, now: float, proxy: str | None, times: int = 0
    ) -> Outage | None:
        """Count a failure; return the outage that begins with it, if one does.

        `times` is how often in a row the way failed that the key has, where keys have several.
        """
        if verdict is REGION_BLOCKED or (verdict.way and times >= _MANY_OF_A_WAY):
            known = (None, proxy) in self._current
            return None if known else self._begin(verdict.reason, None, now, proxy)
        if verdict.then is not Reaction.RETRY or (model, proxy) in self._current:
            return None
        if len(self._failed) > _MOST_LANES:
            self._failed.clear()  # of models that were asked for long ago, or never existed
        failures = self._failed[model, proxy] = self._failed.get((model, proxy), 0) + 1
        if failures < _MANY_FAILURES:
            return None
        del self._failed[model, proxy]
        return self._begin(verdict.reason, model, now, proxy)

    def _begin(self, reason: str, model: str | None, now: float, proxy: str | None) -> Outage:
        outage = self._current[model, proxy] = Outage(reason, model, now, proxy)
        return outage

    def __iter__(self) -> Iterator[Outage]:
        return iter(self._current.values())
