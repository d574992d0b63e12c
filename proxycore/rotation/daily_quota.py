"""Google's quota of a day, and what is used of it. Pure.

Times are the clock's moments, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.rotation.bench import end_of_day


@dataclass(slots=True)
class DailyQuota:
    """Google's quota of a day: so many calls until `ends`, the midnight after `moment`."""

    requests: int
    moment: float
    ends: float
    used: int

    def to_json(self) -> tuple[list[int], list[float]]:
        """What to write down, and its moments apart."""
        return [self.requests, self.used], [self.ends, self.moment]

    @classmethod
    def from_json(cls, value: object, moments: Sequence[float], clock: Clock) -> "DailyQuota":
        """What was written down; raises ValueError when it is none.

        It ends at midnight by the wall clock of this host at the latest.
        """
        match value, list(moments):
            case [int(requests), int(used)], [ends, moment]:
                return cls(requests, moment, min(ends, end_of_day(moment, clock)), used)
        raise ValueError("not a quota of a day")

    def roll(self, clock: Clock) -> None:
        """Begins a new day, if it is time."""
        if clock() >= self.ends:
            self.used, self.moment = 0, clock()
            self.reckon_day(clock)

    def reckon_day(self, clock: Clock) -> None:
        """The day ends by the wall clock as it is set now."""
        self.ends = end_of_day(self.moment, clock)
