"""A scenario of the simulation: keys, load and clients; and the figures that come of it.

Times are seconds since the beginning.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from tests.support.google_quotas import Habits, KeyPlan

MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Keys, and requests at random moments: `load` is their share of what the quotas leave for them.

    What happens from `begin` to `end` is measured. Requests wait for `max_wait` at most; a call takes about
    `latency`. `returning` is the share of those told to come back that do.
    """

    keys: Sequence[KeyPlan]
    load: float
    habits: Habits = field(default_factory=Habits)
    begin: float = 5 * MINUTE
    end: float = 25 * MINUTE
    max_wait: float = 20.0
    latency: float = 0.02
    returning: float = 0.0

    def rate(self, at: float) -> float:
        """Return the requests that arrive in a second."""
        return self.load * self.free(at) / MINUTE

    def free(self, at: float) -> float:
        """Return the requests a minute that all quotas leave for us."""
        return sum(key.free(at) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its place in the order of arrivals, its client, and its prompt."""

    number: int
    client: str = ""
    tokens: int = 0
    size: int = 0
    owner: int | None = None
    again: bool = False


@dataclass(slots=True)
class Record:
    """What became of a request. `waited` is how long it took, `told` after how long to come back."""

    request: Request
    at: float
    served: bool = False
    waited: float = 0.0
    told: float | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call with the key of this number."""

    at: float
    key: int
    served: bool


@dataclass
class Figures:
    """What became of the requests and of the calls in a part of the time."""

    scenario: Scenario
    begin: float
    end: float
    records: list[Record] = field(default_factory=list)
    calls: list[CallRecord] = field(default_factory=list)

    def between(self, begin: float, end: float = math.inf) -> "Figures":
        """Return the figures of a part."""
        end = min(end, self.end)
        return Figures(
            self.scenario,
            begin,
            end,
            [record for record in self.records if begin <= record.at < end],
            [call for call in self.calls if begin <= call.at < end],
        )

    def of(self, client: str) -> "Figures":
        """Return the figures of one client; calls are those of all."""
        records = [record for record in self.records if record.request.client == client]
        return Figures(self.scenario, self.begin, self.end, records, self.calls)

    @cached_property
    def first(self) -> list[Record]:
        """Return the records of those who have not come back."""
        return [record for record in self.records if not record.request.again]

    @property
    def served(self) -> float:
        """The share of requests that were served."""
        return _share([record.served for record in self.first])

    @property
    def served_again(self) -> float:
        """The share of those who came back when they were told to that were served then."""
        return _share([record.served for record in self.records if record.request.again])

    @property
    def tokens_served(self) -> float:
        """The share of the prompts' tokens that were served."""
        asked = sum(record.request.tokens for record in self.first)
        return sum(record.request.tokens for record in self.first if record.served) / max(1, asked)

    @property
    def calls_per_answer(self) -> float:
        """Upstream calls for each that was served."""
        return len(self.calls) / max(1, sum(call.served for call in self.calls))

    @property
    def used(self) -> float:
        """The share of what the quotas left for us."""
        steps = max(1, round(self.end - self.begin))
        free = sum(self.scenario.free(self.begin + step) for step in range(steps)) / MINUTE
        return sum(call.served for call in self.calls) / free

    @property
    def median_wait(self) -> float:
        """The median of the seconds that those who were served took."""
        return statistics.median([record.waited for record in self.first if record.served] or [math.inf])

    @property
    def unevenness(self) -> float:
        """The coefficient of variation of the share of their quotas that is spent of the keys."""
        served = Counter(call.key for call in self.calls if call.served)
        shares = [served[number] / key.free(self.begin) for number, key in enumerate(self.scenario.keys)]
        mean = statistics.fmean(shares)
        return statistics.pstdev(shares) / mean if mean else 0.0

    @property
    def in_order(self) -> float:
        """The share of those who had to wait that were served after the one that had arrived before."""
        waited = sorted(
            (record.at + record.waited, record.request.number)
            for record in self.first
            if record.served and record.waited > 0.6
        )
        return _share([one[1] < other[1] for one, other in pairwise(waited)])


def _share(cases: Sequence[bool]) -> float:
    return sum(cases) / len(cases) if cases else 1.0
