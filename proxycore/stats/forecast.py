"""What is left of the day's quotas for each lane, and when it will be spent at the present pace. Pure.

It goes by the limiters, which processes and hosts keep alike, so it is about the whole pool in each of them:
nothing is added up over processes.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.rotation.bench import end_of_day
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.rotator import Rotator


@dataclass(slots=True)
class DayForecast:
    """The day of all projects for a lane. Projects whose keys are all retired are left out.

    `requests`, `used` and `left` are sums over the projects whose daily quota is known. `spent` is how many
    projects are spent until the day `ends`, `unknown` of how many it is not known how much is left. `pace` is
    in requests per second, of about the last hour, and `counted_at` is the last request.
    """

    ends: float
    unknown: int
    requests: int = 0
    used: int = 0
    left: int = 0
    spent: int = 0
    pace: float = 0.0
    counted_at: float = 0.0

    def spent_at(self, now: float) -> float | None:
        """Return when what is left will be spent, or was; None if not before the day ends."""
        if not self.left:
            return self.counted_at
        return now + self.left / self.pace if self.pace * (self.ends - now) > self.left else None

    def add(self, limiter: Limiter, now: float) -> None:
        """Add what is known of a project."""
        self.unknown -= 1
        bench, today = limiter.bench, limiter.today
        if (bench and bench.is_of_day(now)) or (today and today.spent):
            self.spent += 1
        elif today:
            self.left += today.left or 0
        if bench and bench.day_of is not None:
            self.counted_at = max(self.counted_at, bench.day_of)
        if today and today.requests is not None:
            self.requests += today.requests
            self.used += today.used
            self.pace += today.pace(now)
            self.counted_at = max(self.counted_at, today.counted_at)


def forecasts(rotator: Rotator, clock: Clock) -> dict[str, DayForecast]:
    """Return the forecast for each lane of which anything is known, in order of their names."""
    projects = [project for project in rotator.projects if any(not key.retired for key in project.keys)]
    now, found = clock(), dict[str, DayForecast]()
    ends = end_of_day(now, clock)
    for project in projects:
        for lane, limiter in _known(project.limiters.items(), now, clock):
            forecast = found.get(lane)
            if forecast is None:
                forecast = found[lane] = DayForecast(ends, unknown=len(projects))
            forecast.add(limiter, now)
    return dict(sorted(found.items()))


def _known(
    limiters: Iterable[tuple[str, Limiter]], now: float, clock: Clock
) -> Iterator[tuple[str, Limiter]]:
    """Yield those of which it is known how much is left today."""
    for lane, limiter in limiters:
        bench, today = limiter.bench, limiter.today
        if today:
            today.roll(clock)
        if (today and today.requests is not None) or (bench and bench.is_of_day(now)):
            yield lane, limiter
