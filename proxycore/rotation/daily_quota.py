"""A daily quota and what is used of it. Google's days begin at midnight in Los Angeles. Pure.

What is used is counted here, and may be less than Google counts: others may use the same project. So a
refusal shows that a day is spent, and what was counted only suggests it. Neither is believed until midnight:
once in a while one more call is permitted, since a quota may be raised during the day (`permit_one`).

Times are the clock's moments, in seconds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY, YOUNG_DAY, Limit, since_google_midnight, until_google_midnight
from proxycore.rotation.bench import end_of_day, moment_of_day

_PACE_WINDOW = 1800.0  # seconds: a call of so long ago weighs 1/e of one that is made now
_SAME_DAY = 3600.0  # seconds by which two hosts' ends of a day differ, at most: their clocks do
_SAME_RESPONSE = 0.5  # seconds by which two hosts' moments of the same response differ, at most
_SHORTEST_COUNTED = 60.0  # seconds for which calls were counted, at least, before their pace is believed


@dataclass(slots=True)
class DailyQuota:
    """So many `requests` until `ends`, Google's midnight after `moment`; `used` of them were made.

    `requests` is None once a day that seemed to be spent was not: then it is not known how many are left.
    `trial` is whether one more call was permitted to find that out. Calls before `since`, when that was last
    learned from a response, are among the `used` already.
    """

    requests: int | None
    moment: float
    ends: float
    used: int
    trial: bool = False
    since: float = 0.0
    counted_at: float = 0.0  # the last call
    counted_since: float = 0.0
    weight: float = 0.0  # of all calls, each less by its age, when the last was counted

    @classmethod
    def refused(
        cls, former: "DailyQuota | None", limits: Iterable[Limit], clock: Clock
    ) -> "DailyQuota | None":
        """Return the quota after a refusal that names these limits, None if it is not known.

        `former` is what was known before. In a young day Google may not have begun to count it: what was made
        so far belongs to the day before, unless it is as much as the quota.
        """
        days = [limit for limit in limits if limit.seconds == DAY and not limit.of_tokens]
        named = [limit.amount for limit in days if limit.amount is not None]
        requests = min(named, default=former.requests if former else None)
        if requests is None:
            return former
        now = clock()
        wall = clock.to_wall(now)
        moment = moment_of_day(now, until_google_midnight(wall))
        quota = cls(requests, moment, end_of_day(moment, clock), requests, since=now, counted_since=now)
        quota.counted_at = now
        if former:
            former.roll(clock)
            quota.counted_since, quota.weight = former.counted_since, former.weight_at(now)
        if since_google_midnight(clock.to_wall(moment)) < YOUNG_DAY and not (former and former.spent):
            quota.used = 0
        return quota

    @property
    def spent(self) -> bool:
        """Whether all requests were made, as far as is known."""
        return self.requests is not None and self.used >= self.requests

    @property
    def left(self) -> int | None:
        """How many requests are left, at most; None if that is not known."""
        return None if self.requests is None else max(0, self.requests - self.used)

    def count(self, at: float) -> None:
        """Count a call that is sent, or will be, at a moment."""
        if at < self.since:
            return
        self.used += 1
        self.weight = self.weight_at(at) + 1.0
        self.counted_at = max(at, self.counted_at)

    def uncount(self, at: float) -> None:
        """Stop counting a call of that moment, which was not made, or not served."""
        if at < self.since:
            return
        self.used = max(0, self.used - 1)
        self.weight = max(0.0, self.weight - 1.0)

    def permit_one(self, now: float) -> None:
        """Permit one more call though the day is spent: its response shows whether that is still so."""
        if self.requests is not None:
            self.used, self.trial, self.since = max(0, self.requests - 1), True, now

    def served(self) -> bool:
        """Apply that a call was served; returns whether that shows that the day was not spent."""
        if not (self.trial and self.spent):
            return False
        self.requests, self.trial = None, False
        return True

    def weight_at(self, now: float) -> float:
        """Return the weight of the calls that were counted, each less by its age."""
        return self.weight * math.exp(min(0.0, self.counted_at - now) / _PACE_WINDOW)

    def pace(self, now: float) -> float:
        """Return the calls per second of about the last hour."""
        known = max(_SHORTEST_COUNTED, now - self.counted_since)
        return self.weight_at(now) / (_PACE_WINDOW * -math.expm1(-known / _PACE_WINDOW))

    def merged(self, mine: "DailyQuota | None") -> "DailyQuota":
        """Return this quota, which a peer sent, with what was counted here as well."""
        if mine is None:
            return self
        if self.ends < mine.ends - _SAME_DAY:
            return mine  # it was sent before midnight
        self.counted_at, self.counted_since = max(mine.counted_at, self.counted_at), mine.counted_since
        self.weight = max(mine.weight, self.weight)
        if self.ends < mine.ends + _SAME_DAY and self.since < mine.since + _SAME_RESPONSE:
            self.used = max(mine.used, self.used)
        return self

    def to_json(self) -> tuple[list[Any], list[float]]:
        """Return what peers are sent: a JSON value and the moments."""
        return [self.requests, self.used, self.trial], [self.ends, self.moment, self.since]

    @classmethod
    def from_json(cls, value: object, moments: Sequence[float], clock: Clock) -> "DailyQuota":
        """Return the quota that a peer sent. Raises ValueError when the value is none.

        It ends at midnight by this host's wall clock at the latest.
        """
        match value, list(moments):
            case [int() | None as requests, int(used), bool(trial)], [ends, moment, since]:
                ends = min(ends, end_of_day(moment, clock))
                return cls(requests, moment, ends, used, trial, since, since or moment, clock())
        raise ValueError("not a quota of a day")

    def snapshot(self, clock: Clock) -> dict[str, Any] | None:
        """Return it as JSON for the status page, its end (`until`) by the wall clock; None if not known."""
        if self.requests is None:
            return None
        self.roll(clock)
        return {"requests": self.requests, "left": self.left, "until": clock.to_wall(self.ends)}

    def roll(self, clock: Clock) -> None:
        """Begin a new day, if the last one has ended."""
        if clock() >= self.ends:
            self.used, self.moment, self.trial, self.since = 0, clock(), False, 0.0
            self.update_day_end(clock)

    def update_day_end(self, clock: Clock) -> None:
        """Recompute the end of the day by the wall clock as it is set now."""
        self.ends = end_of_day(self.moment, clock)
