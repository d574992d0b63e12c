"""A scenario of the simulation: projects, load and clients. Times are seconds since the beginning."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.google_quotas import Habits, KeyPlan

MINUTE = 60.0


@dataclass(frozen=True)
class Prompts:
    """The prompts' sizes: lognormal, with a median in bytes. A token is about so many bytes.

    `spread` and `noise` are the standard deviations of the logarithms of the size and of those bytes.
    """

    median: float
    spread: float = 1.0
    token: float = 4.0
    noise: float = 0.1

    @property
    def mean_tokens(self) -> float:
        """The mean of the tokens of a prompt."""
        return self.median / self.token * math.exp((self.spread**2 + self.noise**2) / 2)

    def draw(self, source: random.Random) -> tuple[int, int]:
        """Return the bytes and the tokens of a prompt."""
        size = self.median * source.lognormvariate(0.0, self.spread)
        return max(1, int(size)), max(1, int(size / self.token * source.lognormvariate(0.0, self.noise)))


@dataclass(frozen=True)
class Client:
    """A client, whose requests are so large a share of what the quotas leave."""

    name: str
    load: float


@dataclass(frozen=True)
class Conversations:
    """Conversations of so many turns, with a mean pause in seconds after each.

    The first prompt has `first` tokens, each later one about `growth` more than the one before.
    """

    turns: int = 12
    pause: float = 20.0
    first: int = 5000
    growth: int = 600

    def prompts(self, source: random.Random) -> Iterator[int]:
        """Return the tokens of the prompts of a conversation."""
        tokens = float(self.first)
        for _ in range(self.turns):
            yield int(tokens)
            tokens += self.growth * source.uniform(0.5, 1.5)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its place in the order of arrivals, its client, and its prompt.

    `owner` is the number of the project that alone can serve it, `again` whether its client has come back.
    `conversation` is the number of the one that it continues, 0 if it continues none.
    """

    number: int
    client: str
    size: int = 100
    tokens: int = 0
    owner: int | None = None
    again: bool = False
    conversation: int = 0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Projects, and the requests of clients at random moments.

    What happens from `begin` to `end` is measured. Requests wait for `max_wait` at most; a call takes about
    `latency`. `returning` is the share of those told to come back that do, `bound` the share of requests that
    one project alone can serve. `processes` share what they know within `lag`, but for the time that they are
    `apart`.
    """

    projects: Sequence[KeyPlan]
    clients: Sequence[Client]
    habits: Habits = field(default_factory=Habits)
    prompts: Prompts | None = None
    conversations: Conversations | None = None
    begin: float = 5 * MINUTE
    end: float = 25 * MINUTE
    max_wait: float = 10.0
    latency: float = 0.02
    returning: float = 0.0
    bound: float = 0.0
    processes: int = 1
    lag: float = 0.003
    apart: tuple[float, float] = (math.inf, math.inf)

    @property
    def load(self) -> float:
        """The load of all clients."""
        return sum(client.load for client in self.clients)

    def rate(self, at: float) -> float:
        """Return the requests that arrive in a second."""
        return self.load * self.free(at) / self.habits.period

    def free(self, at: float) -> float:
        """Return the requests a minute that all quotas leave for us, if all prompts cost their mean."""
        return sum(self.free_of(project, at) for project in self.projects)

    def free_of(self, project: KeyPlan, at: float) -> float:
        """Return the requests a minute that a project's quotas leave for us."""
        free = project.free(at)
        if project.tokens and self.prompts:
            free = min(free, project.tokens / self.prompts.mean_tokens)
        return free

    def draw(self, number: int, source: random.Random) -> Request:
        """Return the request of this number."""
        client = source.choices(self.clients, [client.load for client in self.clients])[0].name
        size, tokens = self.prompts.draw(source) if self.prompts else (100, 0)
        owner = source.randrange(len(self.projects)) if source.random() < self.bound else None
        return Request(number, client, size, tokens, owner)
