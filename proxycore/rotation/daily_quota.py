"""A daily quota and what is used of it. Google's days begin at midnight in Los Angeles. Pure.

Times are the clock's moments, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.clock import Clock
from proxycore.rotation.bench import end_of_day


@dataclass(slots=True)
class DailyQuota:
    """So many `requests` until `ends`, Google's midnight after `moment`; `used` of them were made."""

    requests: int
    moment: float
    ends: float
    used: int

    def to_json(self) -> tuple[list[int], list[float]]:
        """Return what peers are sent: a JSON value and the moments."""
        return [self.requests, self.used], [self.ends, self.moment]

    @classmethod
    def from_json(cls, value: object, moments: Sequence[float], clock: Clock) -> "DailyQuota":
        """Return the quota that a peer sent. Raises ValueError when the value is none.

        It ends at midnight by this host's wall clock at the latest.
        """
        match value, list(moments):
            case [int(requests), int(used)], [ends, moment]:
                return cls(requests, moment, min(ends, end_of_day(moment, clock)), used)
        raise ValueError("not a quota of a day")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, its end (`until`) by the wall clock."""
        left = max(0, self.requests - self.used)
        return {"requests": self.requests, "left": left, "until": clock.to_wall(self.ends)}

    def roll(self, clock: Clock) -> None:
        """Begin a new day, if the last one has ended."""
        if clock() >= self.ends:
            self.used, self.moment = 0, clock()
            self.update_day_end(clock)

    def update_day_end(self, clock: Clock) -> None:
        """Recompute the end of the day by the wall clock as it is set now."""
        self.ends = end_of_day(self.moment, clock)
