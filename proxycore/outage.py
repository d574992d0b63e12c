"""Trouble of the upstream, and a region that it does not serve: known and shown, no key's fault. Pure.

Nothing is held back for these. Refusals that many keys have alike are a search (`search`).

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from proxycore.bench import NO_MODEL
from proxycore.clock import Clock
from proxycore.verdict import FOREIGN, HEALTHY, PLACE, SILENCE, Then, Verdict

_MANY_TROUBLES = 30  # in a row
_WATCHES = 64  # lanes whose failures are counted, or that have an outage


@dataclass(slots=True)
class Outage:
    """One that is under way: why, for which lane (None: for all), since when."""

    reason: str
    model: str | None
    since: float

    @property
    def thought(self) -> str:
        """What is thought to be happening, for people."""
        if self.model is None:
            return "Google does not serve the region of this server's address: set UPSTREAM_PROXY"
        what = f" for {self.model}" if self.model else ""
        return f"the upstream is in trouble{what}: it fails with server errors, and serves nobody"

    def to_json(self) -> tuple[str, list[float]]:
        """What to write down, and its moments apart."""
        return self.reason, [self.since]

    @classmethod
    def from_json(cls, lane: str | None, value: object, moments: Sequence[float]) -> "Outage":
        """The outage that was written down; raises ValueError when it is none."""
        match value, list(moments):
            case str(reason), [since]:
                return cls(reason, lane, since)
        raise ValueError("not an outage")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """What there is to know, as JSON has it, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.model == "" else self.model,
            "since": clock.to_wall(self.since),
            "next_trial": None,
            "thought": self.thought,
        }


class Outages:
    """Those that are under way, and what may become one."""

    def __init__(self) -> None:
        self._current: dict[str | None, Outage] = {}
        self._failed: dict[str, int] = {}  # lane -> failures in a row

    def of(self, model: str) -> Outage | None:
        """The one that concerns a lane."""
        return (self._current.get(None) or self._current.get(model)) if self._current else None

    def put(self, lane: str | None, outage: Outage | None) -> None:
        """What is known elsewhere: this outage is under way for a lane (None: for all), or none is."""
        if outage:
            self._current[lane] = outage
        else:
            self._current.pop(lane, None)

    def ended(self, model: str, verdict: Verdict, sent_at: float) -> list[Outage]:
        """An answer to a call that was sent at `sent_at`; returns those outages that it ends."""
        if self._failed and verdict is HEALTHY:
            self._failed.pop(model, None)
        if not self._current:
            return []
        says_nothing = verdict.then is Then.RETRY or verdict in {SILENCE, FOREIGN}
        ended = [
            outage
            for outage in (self._current.get(model), self._current.get(None))
            if outage and not says_nothing and verdict.reason != outage.reason and sent_at >= outage.since
        ]
        if (excess := len(self._current) - _WATCHES) > 0:
            # The oldest, of models that nobody asks for any more, or that never existed.
            ended += islice((outage for outage in self._current.values() if outage.model), excess)
        for outage in ended:
            self._current.pop(outage.model, None)
        return ended

    def begun(self, model: str, verdict: Verdict, now: float) -> Outage | None:
        """The outage that this failure makes, with those before it, if it is a new one."""
        if verdict is PLACE:
            return None if None in self._current else self._begin(verdict.reason, None, now)
        if verdict.then is not Then.RETRY or model in self._current:
            return None
        if len(self._failed) > _WATCHES:
            self._failed.clear()  # of models that were asked for long ago, or never existed
        self._failed[model] = self._failed.get(model, 0) + 1
        if self._failed[model] < _MANY_TROUBLES:
            return None
        del self._failed[model]
        return self._begin(verdict.reason, model, now)

    def _begin(self, reason: str, model: str | None, now: float) -> Outage:
        outage = self._current[model] = Outage(reason, model, now)
        return outage

    def __iter__(self) -> Iterator[Outage]:
        return iter(self._current.values())
