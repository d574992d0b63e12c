"""The figures of a simulation: what became of the requests and of the calls. Times are seconds."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tests.support.scenario import Request, Scenario

_WAITED = 0.01  # of a period: who took longer had to wait


@dataclass(slots=True)
class Record:
    """What became of a request.

    `sent` is when its last call was made, `took` how long it was until it was served or refused, `told` after
    how long its client is told to return.
    """

    request: Request
    at: float
    served: bool = False
    sent: float = 0.0
    took: float = 0.0
    told: float | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call with a key of the project of this number, for a prompt of so many tokens, `cached` or not."""

    at: float
    project: int
    tokens: int
    served: bool
    cached: int = 0


@dataclass(repr=False)
class Figures:
    """What became of the requests that arrived, and of the calls, from `begin` to `end`."""

    scenario: Scenario
    begin: float
    end: float
    records: list[Record] = field(default_factory=list)  # without those of clients that came back
    returns: list[Record] = field(default_factory=list)  # only those
    calls: list[CallRecord] = field(default_factory=list)

    def between(self, begin: float, end: float = math.inf) -> "Figures":
        """Return the figures of a part of the time."""
        end = min(end, self.end)
        return Figures(
            self.scenario,
            begin,
            end,
            [record for record in self.records if begin <= record.at < end],
            [record for record in self.returns if begin <= record.at < end],
            [call for call in self.calls if begin <= call.at < end],
        )

    def of(self, client: str) -> "Figures":
        """Return the figures of one client's requests; the calls are those of all."""
        records = [record for record in self.records if record.request.client == client]
        return replace(self, records=records)

    def owned(self, *, owned: bool) -> "Figures":
        """Return the figures of the requests that one project alone can serve, or of all others."""
        records = [record for record in self.records if (record.request.owner is not None) is owned]
        return replace(self, records=records)

    @property
    def answers(self) -> int:
        """How many requests were served."""
        return sum(record.served for record in self.records)

    @property
    def served(self) -> float:
        """The share of requests that were served."""
        return _share([record.served for record in self.records])

    @property
    def served_again(self) -> float:
        """The share of the clients that came back when they were told to that were served then."""
        return _share([record.served for record in self.returns])

    @property
    def tokens_served(self) -> float:
        """The share of the prompts' tokens that were served."""
        asked = sum(record.request.tokens for record in self.records)
        return sum(record.request.tokens for record in self.records if record.served) / max(1, asked)

    @property
    def cached(self) -> float:
        """The share of the tokens of the served prompts that was cached."""
        served = [call for call in self.calls if call.served]
        return sum(call.cached for call in served) / max(1, sum(call.tokens for call in served))

    @property
    def calls_per_answer(self) -> float:
        """Upstream calls for each that was served."""
        return len(self.calls) / max(1, sum(call.served for call in self.calls))

    @property
    def used(self) -> float:
        """The share of what the quotas left for us: of tokens, if those are limited, else of requests."""
        return sum(self._spent.values()) / sum(self._free(number) for number in self._numbers)

    @property
    def shares(self) -> list[float]:
        """For each project, the share of what its quotas left for us."""
        return [self._spent[number] / self._free(number) for number in self._numbers]

    @property
    def unevenness(self) -> float:
        """The coefficient of variation of the projects' shares."""
        shares = self.shares
        mean = statistics.fmean(shares)
        return statistics.pstdev(shares) / mean if mean else 0.0

    @property
    def median_wait(self) -> float:
        """The median of the seconds that those who were served took."""
        return statistics.median([record.took for record in self.records if record.served] or [math.inf])

    @property
    def in_order(self) -> float:
        """The share of those who had to wait whose call followed that of one that had arrived before."""
        longest = _WAITED * self.scenario.habits.period
        waited = sorted(
            (record.sent, record.request.number)
            for record in self.records
            if record.served and record.sent > record.at + longest
        )
        return _share([one[1] < other[1] for one, other in pairwise(waited)])

    @property
    def _numbers(self) -> range:
        return range(len(self.scenario.projects))

    @property
    def _spent(self) -> Counter[int]:
        spent: Counter[int] = Counter()
        for call in self.calls:
            if call.served:
                spent[call.project] += call.tokens if self.scenario.projects[call.project].tokens else 1
        return spent

    def _free(self, number: int) -> float:
        project, scenario, seconds = self.scenario.projects[number], self.scenario, self.end - self.begin
        if project.day:
            return project.day.requests
        if project.tokens:
            return project.tokens * seconds / scenario.habits.period
        steps = max(1, round(seconds))
        mean = sum(project.free(self.begin + seconds * step / steps) for step in range(steps)) / steps
        return mean * seconds / scenario.habits.period


def _share(cases: Sequence[bool]) -> float:
    return sum(cases) / len(cases) if cases else 1.0
