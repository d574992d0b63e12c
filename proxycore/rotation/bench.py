"""A bench: a key is out of rotation until a moment, for a reason, after so many strikes in a row. Pure.

Times are the clock's moments, in seconds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import Verdict, until_google_midnight

SHORTEST = 1.0
"""Seconds: no bench is shorter, whatever an answer says (`retryDelay` can be `0s`)."""

NO_MODEL = "(no model)"
"""How a bench is shown, and released, that is for the requests that name no model: lists, tokens and such."""

NO_ORIGIN = "(no origin)"
"""The same of a bench that is for the requests that come from no page."""

_JITTER_SHARE, _JITTER_MAX = 0.05, 1.0
_MARGIN = 1.0  # seconds before midnight, within which a moment might be taken for one of the next day


class BenchPlace(Enum):
    """What rests, and where its bench is kept."""

    MODEL = "model"  # project x lane: the project's allowance
    CALLER = "caller"  # key x lane: `Key.callers`
    ORIGIN = "origin"  # key x origin of the client's page: `Key.origins`
    WHOLE = "whole"  # the key: `Key.whole`
    RETIRED = "retired"  # the key, once it is proved to be dead: `Key.retired`


LANE_PLACES = frozenset({BenchPlace.MODEL, BenchPlace.CALLER})
"""Where benches are about a lane."""


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """A backoff that doubles with every strike in a row, from `first` up to `longest` seconds."""

    first: float
    longest: float

    def seconds(self, strikes: int) -> float:
        """The length of the bench after this many strikes in a row, in seconds."""
        return min(self.longest, self.first * 2.0 ** min(strikes - 1, 60))


@dataclass(slots=True)
class Bench:
    """Out of rotation until `benched_until`, for a reason, with strikes in a row.

    One that ends with a day of Google's has a moment of that day as `day_of`. `words` is Google's own
    message. One that is only `suspected` is short, until a comparison shows whether the key is at fault.
    """

    reason: str
    benched_until: float
    strikes: int = 1
    day_of: float | None = None
    words: str = ""
    suspected: bool = False

    def reckon_day(self, clock: Clock) -> None:
        """If it ends with a day of Google's: it ends when that does, by the wall clock as it is set now."""
        if self.day_of is not None:
            self.benched_until = end_of_day(self.day_of, clock)

    def to_json(self) -> tuple[list[Any], list[float]]:
        """What to write down, and its moments apart: those of another clock are others.

        Without Google's words, since they may quote the key.
        """
        moments = [self.benched_until] if self.day_of is None else [self.benched_until, self.day_of]
        return [self.reason, self.strikes, self.suspected], moments

    @classmethod
    def from_json(cls, value: object, moments: Sequence[float], clock: Clock) -> "Bench":
        """The bench that was written down; raises ValueError when it is none.

        One that ends with a day of Google's ends at midnight by the wall clock of this host at the latest.
        """
        match value, list(moments):
            case [str(reason), int(strikes), bool(suspected)], [until]:
                return cls(reason, until, strikes, suspected=suspected)
            case [str(reason), int(strikes), bool(suspected)], [until, day_of]:
                until = min(until, end_of_day(day_of, clock))
                return cls(reason, until, strikes, day_of, suspected=suspected)
        raise ValueError("not a bench")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """What there is to know, as JSON has it, the time by the wall clock."""
        until = clock.to_wall(self.benched_until)
        return {"reason": self.reason, "until": until, "strikes": self.strikes}


def end_of_day(moment: float, clock: Clock) -> float:
    """The moment at which the day of Google's ends that this moment is in, by the wall clock as it is set."""
    return moment + until_google_midnight(clock.to_wall(moment))


def moment_of_day(now: float, left: float) -> float:
    """A moment of the day of Google's that ends in so many seconds: now, if it is not too near to the end."""
    return now + min(0.0, left - _MARGIN)


def bench_after(
    current: Bench | None, verdict: Verdict, backoff: ExponentialBackoff, now: float, source: random.Random
) -> Bench | None:
    """The bench that a refusal leads to; None when the `current` one, perhaps extended here, is it."""
    running = current is not None and current.benched_until > now
    strikes = current.strikes if current else 0
    if not running:
        # Calls that were under way together are refused together: that is one strike, not twenty.
        strikes += 1
    told = backoff.seconds(strikes) if verdict.seconds is None else verdict.seconds
    seconds = max(told, SHORTEST)
    until = now + seconds + source.uniform(0.0, min(_JITTER_SHARE * seconds, _JITTER_MAX))
    day_of = moment_of_day(now, told) if verdict.day else None
    if running and current is not None:
        if until > current.benched_until and verdict.seconds is not None:
            current.benched_until, current.reason, current.day_of = until, verdict.reason, day_of
            current.words = verdict.words
        return None
    return Bench(verdict.reason, until, strikes, day_of, verdict.words)
