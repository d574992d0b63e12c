"""A bench: a rest until a moment, for a reason, after so many strikes in a row. Pure.

Times are seconds since the epoch.
"""

import random
from dataclasses import dataclass
from typing import Any

from proxycore.verdict import Verdict

SHORTEST = 1.0
"""Seconds: no bench is shorter, whatever an answer says (`retryDelay` can be `0s`)."""

_JITTER_SHARE, _JITTER_MAX = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Doubling:
    """A rest that doubles with every strike in a row, from `first` up to `longest` seconds."""

    first: float
    longest: float

    def seconds(self, strikes: int) -> float:
        """The rest after this many strikes in a row."""
        return min(self.longest, self.first * 2.0 ** min(strikes - 1, 60))


@dataclass(slots=True)
class Bench:
    """A rest: until `benched_until`, for a reason, with strikes in a row."""

    reason: str
    benched_until: float
    strikes: int = 1

    def snapshot(self) -> dict[str, Any]:
        """What there is to know, as JSON has it."""
        return {"reason": self.reason, "until": self.benched_until, "strikes": self.strikes}


def bench_after(
    current: Bench | None, verdict: Verdict, doubling: Doubling, now: float, source: random.Random
) -> Bench | None:
    """The bench that a refusal leads to; None when the `current` one, perhaps extended here, is it."""
    running = current is not None and current.benched_until > now
    strikes = current.strikes if current else 0
    if not running:
        # Calls that were under way together are refused together: that is one strike, not twenty.
        strikes += 1
    seconds = doubling.seconds(strikes) if verdict.seconds is None else verdict.seconds
    seconds = max(seconds, SHORTEST)
    until = now + seconds + source.uniform(0.0, min(_JITTER_SHARE * seconds, _JITTER_MAX))
    if running and current is not None:
        if until > current.benched_until and verdict.seconds is not None:
            current.benched_until, current.reason = until, verdict.reason
        return None
    return Bench(verdict.reason, until, strikes)
