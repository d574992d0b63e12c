"""A model of Google's quotas: what each project may spend, who else spends it, and how a refusal is told.

Times are seconds since the beginning of a simulation.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.support import google_errors as google
from tests.support.google_errors import Response
from tests.support.google_windows import Counting, Day, Window

MODEL = "gemini-2.5-flash"


class Delay(Enum):
    """The time to retry that a refusal names."""

    TRUE = "when there is room"
    CEILING = "the same, in whole seconds rounded up"
    FLOOR = "the same, in whole seconds cut"
    MISSING = "none"
    LONG = "10 to 60 seconds too long"
    HOUR = "an hour"

    @property
    def exact(self) -> bool:
        """Whether fractions of a second are told."""
        return self not in {Delay.CEILING, Delay.FLOOR}

    def told(self, wait: float, source: random.Random) -> float | None:
        """Return the seconds that are told to one who has to wait so long."""
        match self:
            case Delay.MISSING:
                return None
            case Delay.LONG:
                return wait + source.uniform(10.0, 60.0)
            case Delay.HOUR:
                return 3600.0
            case Delay.CEILING:
                return math.ceil(wait)
            case Delay.FLOOR:
                return math.floor(wait)
        return wait


@dataclass(frozen=True)
class Others:
    """Other users of a project, who spend `share` of its requests, at random moments."""

    share: float
    begin: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class DayPlan:
    """A quota of requests a day. `left` may be made before `midnight`; it is reset `late` after that."""

    requests: int
    left: int
    midnight: float
    late: float


@dataclass(frozen=True)
class KeyPlan:
    """A project with so many `keys`: its quotas of a minute, and what happens to them.

    From the moment `raised_at` on, it may make `raised_to` requests.
    """

    requests: int = 15
    tokens: int | None = None
    keys: int = 1
    others: Others | None = None
    raised_at: float = math.inf
    raised_to: int = 0
    day: DayPlan | None = None

    def limit(self, at: float) -> int:
        """Return the requests a minute at a moment."""
        return self.raised_to if at >= self.raised_at else self.requests

    def free(self, at: float) -> float:
        """Return the requests a minute that others leave."""
        others = self.others
        taken = others.share if others and others.begin <= at < others.end else 0.0
        return self.limit(at) * (1 - taken)


@dataclass(frozen=True)
class Habits:
    """How Google counts and refuses. `value` is whether a refusal has the quota's.

    A minute lasts for `period`. `counts_refused` is whether refused calls are counted as well, `overloaded`
    the share of calls that fail with 503.
    """

    counting: Counting = Counting.SLIDING
    period: float = 60.0
    delay: Delay = Delay.TRUE
    value: bool = True
    counts_refused: bool = False
    overloaded: float = 0.0


Refusal = Callable[[], Response]
"""A call that was not served: builds the response, as Google writes it."""


def overloaded() -> Response:
    """Refuse a call because the model is overloaded."""
    return google.OVERLOADED


@dataclass(slots=True)
class _Quota:
    """A quota, and how an error about it is written: with its limit and the time to retry."""

    window: Window
    of_tokens: bool
    write: Callable[[int | None, float | None], Response]

    def wait(self, now: float, tokens: int) -> float:
        """Return in how many seconds there is room for a prompt of so many tokens."""
        return self.window.wait(now, tokens if self.of_tokens else 1)


@dataclass
class Project:
    """A project: what is spent of its quotas. `source` draws the calls of others, and what is told."""

    plan: KeyPlan
    habits: Habits
    source: random.Random
    _requests: Window = field(init=False)
    _quotas: list[_Quota] = field(init=False)
    _others_at: float = math.inf

    def __post_init__(self) -> None:
        plan, habits, exact = self.plan, self.habits, self.habits.delay.exact
        self._requests = habits.counting.window(plan.requests, habits.period)
        self._quotas = [
            _Quota(
                self._requests,
                False,
                lambda limit, told: google.minute_spent(MODEL, limit, told, exact=exact),
            )
        ]
        if plan.tokens:
            window = habits.counting.window(plan.tokens, habits.period)
            self._quotas.append(
                _Quota(window, True, lambda limit, told: google.tokens_spent(MODEL, limit, told, exact=exact))
            )
        if day := plan.day:
            window = Day(day.requests, day.left, day.midnight + day.late)
            self._quotas.append(
                _Quota(window, False, lambda limit, _: google.day_spent(MODEL, limit or day.requests))
            )
        if plan.others:
            self._others_at = self._next_other(plan.others.begin)

    def wait(self, now: float, tokens: int) -> float:
        """Return in how many seconds there is room for a prompt of so many tokens; 0 means now."""
        self._pass(now)
        return max(quota.wait(now, tokens) for quota in self._quotas)

    def left(self, now: float) -> float:
        """Return the share of its scarcest quota that is left."""
        self._pass(now)
        return min(quota.window.left(now) / quota.window.limit for quota in self._quotas)

    def call(self, now: float, tokens: int) -> Refusal | None:
        """Count a call with a prompt of so many tokens; None when it is served."""
        self._pass(now)
        if self.habits.overloaded and self.source.random() < self.habits.overloaded:
            return overloaded
        spent = max(self._quotas, key=lambda quota: quota.wait(now, tokens))
        wait = spent.wait(now, tokens)
        if wait <= 0:
            for quota in self._quotas:
                quota.window.spend(now, tokens if quota.of_tokens else 1)
            return None
        if self.habits.counts_refused:
            self._requests.spend(now, 1)
        if wait == math.inf:
            wait = spent.window.wait(now, spent.window.limit)  # it never fits; this is when all is free
        told = self.habits.delay.told(wait, self.source)
        limit = int(spent.window.limit) if self.habits.value else None
        return lambda: spent.write(limit, told)

    def _pass(self, now: float) -> None:
        """Let happen what has happened since the last call."""
        while self._others_at <= now:
            at = self._others_at
            self._requests.limit = self.plan.limit(at)
            if self.habits.counts_refused or self._requests.wait(at, 1) <= 0:
                self._requests.spend(at, 1)
            self._others_at = self._next_other(at)
        self._requests.limit = self.plan.limit(now)

    def _next_other(self, at: float) -> float:
        others = self.plan.others
        assert others is not None
        at += self.source.expovariate(others.share * self.plan.limit(at) / self.habits.period)
        return at if at < others.end else math.inf
