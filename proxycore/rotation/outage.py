"""Outages of the upstream that are no key's fault: server errors in a row, or a region that is blocked. Pure.

They are shown and logged; no request is held back for them. When many keys refuse alike, see `search`.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import HEALTHY, NOT_GOOGLE, REGION_BLOCKED, TIMED_OUT, Reaction, Verdict
from proxycore.rotation.bench import NO_MODEL

_MANY_FAILURES = 30  # in a row
_MOST_LANES = 64  # whose failures are counted, or that have an outage


@dataclass(slots=True)
class Outage:
    """An outage that is under way: for which reason, for which lane (None: for all), since when."""

    reason: str
    model: str | None
    since: float

    @property
    def thought(self) -> str:
        """The sentence that explains it on the status page and in the log."""
        if self.model is None:
            return "Google does not support this server's region: set UPSTREAM_PROXY"
        what = f" for {self.model}" if self.model else ""
        return f"upstream outage{what}: only server errors, no request succeeds"

    def to_json(self) -> tuple[str, list[float]]:
        """Return what peers are sent: a JSON value and the moments."""
        return self.reason, [self.since]

    @classmethod
    def from_json(cls, lane: str | None, value: object, moments: Sequence[float]) -> "Outage":
        """Return the outage that a peer sent. Raises ValueError when the value is none."""
        match value, list(moments):
            case str(reason), [since]:
                return cls(reason, lane, since)
        raise ValueError("not an outage")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.model == "" else self.model,
            "since": clock.to_wall(self.since),
            "next_trial": None,
            "thought": self.thought,
        }


class Outages:
    """The outages that are under way, and the failures in a row that may become one."""

    def __init__(self) -> None:
        self._current: dict[str | None, Outage] = {}
        self._failed: dict[str, int] = {}  # lane -> failures in a row

    def of(self, model: str) -> Outage | None:
        """Return the outage that a lane is affected by, if any."""
        return (self._current.get(None) or self._current.get(model)) if self._current else None

    def put(self, lane: str | None, outage: Outage | None) -> None:
        """Set the outage of a lane (None: of all lanes), as a peer found it; None ends it."""
        if outage:
            self._current[lane] = outage
        else:
            self._current.pop(lane, None)

    def ended(self, model: str, verdict: Verdict, sent_at: float) -> list[Outage]:
        """End the outages that the response to a call sent at `sent_at` disproves, and return them."""
        if self._failed and verdict is HEALTHY:
            self._failed.pop(model, None)
        if not self._current:
            return []
        is_inconclusive = verdict.then is Reaction.RETRY or verdict in {TIMED_OUT, NOT_GOOGLE}
        ended = [
            outage
            for outage in (self._current.get(model), self._current.get(None))
            if outage and not is_inconclusive and verdict.reason != outage.reason and sent_at >= outage.since
        ]
        if (excess := len(self._current) - _MOST_LANES) > 0:
            # The oldest, of models that nobody asks for any more, or that never existed.
            ended += islice((outage for outage in self._current.values() if outage.model), excess)
        for outage in ended:
            self._current.pop(outage.model, None)
        return ended

    def begun(self, model: str, verdict: Verdict, now: float) -> Outage | None:
        """Count a failure; return the outage that begins with it, if one does."""
        if verdict is REGION_BLOCKED:
            return None if None in self._current else self._begin(verdict.reason, None, now)
        if verdict.then is not Reaction.RETRY or model in self._current:
            return None
        if len(self._failed) > _MOST_LANES:
            self._failed.clear()  # of models that were asked for long ago, or never existed
        self._failed[model] = self._failed.get(model, 0) + 1
        if self._failed[model] < _MANY_FAILURES:
            return None
        del self._failed[model]
        return self._begin(verdict.reason, model, now)

    def _begin(self, reason: str, model: str | None, now: float) -> Outage:
        outage = self._current[model] = Outage(reason, model, now)
        return outage

    def __iter__(self) -> Iterator[Outage]:
        return iter(self._current.values())
