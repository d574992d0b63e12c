"""A bench: a key is out of rotation until a moment, for a reason, after so many strikes in a row. Pure.

Times are the clock's moments, in seconds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import YOUNG_DAY, Verdict, until_google_midnight

SHORTEST = 1.0
"""Seconds: no bench is shorter, whatever a response asks for (`retryDelay` can be `0s`)."""

NO_MODEL = "(no model)"
"""How the bench of requests that name no model (lists, tokens and such) is shown, and released."""

NO_ORIGIN = "(no origin)"
"""How the bench of requests that come from no page is shown, and released."""

_JITTER_SHARE, _JITTER_MAX = 0.05, 1.0
_SUSPICIOUS = 2.0  # seconds after a suspicion for which one call at a time is made
_MARGIN = 1.0  # seconds before midnight, within which a moment might be taken for one of the next day


class BenchPlace(Enum):
    """What is benched, and where its bench is kept."""

    MODEL = "model"  # project x lane: the project's `Limiter`
    CALLER = "caller"  # key x lane: `Key.callers`
    ORIGIN = "origin"  # key x origin of the client's page: `Key.origins`
    WHOLE = "whole"  # the key: `Key.whole`
    RETIRED = "retired"  # the key, once it is proved to be dead: `Key.retired`


LANE_PLACES = frozenset({BenchPlace.MODEL, BenchPlace.CALLER})
"""The places whose benches are about a lane."""


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """A backoff that doubles with every strike in a row, from `first` up to `longest` seconds."""

    first: float
    longest: float

    def seconds(self, strikes: int) -> float:
        """Return the length of the bench after this many strikes in a row, in seconds."""
        return min(self.longest, self.first * 2.0 ** min(strikes - 1, 60))


@dataclass(slots=True)
class Bench:
    """Out of rotation until `benched_until`, for a reason, with strikes in a row, the first of them `since`.

    `day_of` is a moment of the Google day whose quota is spent, None for other benches. `words` is Google's
    own message. A `suspected` bench is short: a comparison shows whether the key is at fault.
    """

    reason: str
    benched_until: float
    strikes: int = 1
    day_of: float | None = None
    words: str = ""
    suspected: bool = False
    since: float = 0.0

    def is_of_day(self, now: float) -> bool:
        """Return whether it runs because a quota of the Google day is spent."""
        return self.day_of is not None and self.benched_until > now

    def is_unrefuted(self, call: float) -> bool:
        """Return whether it was over at this call, but no call had been served since.

        What was only suspected is not worth much caution, once some time has passed.
        """
        until = self.benched_until
        return until <= call and (not self.suspected or call <= until + _SUSPICIOUS)

    @property
    def lasts_for_the_day(self) -> bool:
        """Whether it ends with the Google day: in a young day, benches are short."""
        return self.day_of is not None and self.benched_until - self.day_of > YOUNG_DAY

    def update_day_end(self, clock: Clock) -> None:
        """Recompute the end, if it is the end of a Google day, by the wall clock as it is set now.

        A short one lasts as long as before, and one that is over stays so: the next call shows the truth.
        """
        if self.day_of is not None and self.lasts_for_the_day and self.benched_until > clock():
            self.benched_until = end_of_day(self.day_of, clock)

    def to_json(self) -> tuple[list[Any], list[float]]:
        """Return what peers are sent: a JSON value, and the moments, which differ by the clock.

        Google's words are left out, since they may quote the key.
        """
        moments = [self.benched_until, self.since, *([] if self.day_of is None else [self.day_of])]
        return [self.reason, self.strikes, self.suspected], moments

    @classmethod
    def from_json(cls, value: object, moments: Sequence[float], clock: Clock) -> "Bench":
        """Return the bench that a peer sent. Raises ValueError when the value is none.

        A bench until the end of a Google day ends at midnight by this host's wall clock at the latest.
        """
        match value, list(moments):
            case [str(reason), int(strikes), bool(suspected)], [until, since]:
                return cls(reason, until, strikes, suspected=suspected, since=since)
            case [str(reason), int(strikes), bool(suspected)], [until, since, day_of]:
                until = min(until, end_of_day(day_of, clock))
                return cls(reason, until, strikes, day_of, suspected=suspected, since=since)
        raise ValueError("not a bench")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock."""
        until, since = clock.to_wall(self.benched_until), clock.to_wall(self.since)
        return {"reason": self.reason, "until": until, "strikes": self.strikes, "since": since}


def since_first(former: Bench | None, now: float) -> float:
    """Return when the strikes began of the bench that follows a `former` one: now, if it is the first."""
    return former.since if former and former.strikes else now


def end_of_day(moment: float, clock: Clock) -> float:
    """Return when the Google day (from midnight in Los Angeles) of a moment ends, by the wall clock."""
    return moment + until_google_midnight(clock.to_wall(moment))


def moment_of_day(now: float, left: float) -> float:
    """Return a moment of the Google day that ends in `left` seconds: now, unless the end is too near."""
    return now + min(0.0, left - _MARGIN)


def bench_after(
    current: Bench | None, verdict: Verdict, backoff: ExponentialBackoff, now: float, source: random.Random
) -> Bench | None:
    """Return the bench that a refusal causes; None when the `current` one, perhaps extended here, remains."""
    running = current is not None and current.benched_until > now
    strikes = current.strikes if current else 0
    if not running:
        # Calls that were under way together are refused together: that is one strike, not twenty.
        strikes += 1
    wanted = backoff.seconds(strikes) if verdict.seconds is None else verdict.seconds
    seconds = max(wanted, SHORTEST)
    until = now + seconds
    if not verdict.day:  # whose end is a moment that is known, for all processes alike
        until += source.uniform(0.0, min(_JITTER_SHARE * seconds, _JITTER_MAX))
    day_of = moment_of_day(now, wanted) if verdict.day else None
    if running and current is not None:
        if until > current.benched_until and verdict.seconds is not None:
            current.benched_until, current.reason, current.day_of = until, verdict.reason, day_of
            current.words = verdict.words
        return None
    since = since_first(current, now)
    return Bench(verdict.reason, until, strikes, day_of, verdict.words, since=since)
