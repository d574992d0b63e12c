"""A model of Google's quotas: what each project may spend, who else spends it, and how a refusal is told.

Times are seconds since the beginning of a simulation.
"""

import math
import random
from dataclasses import dataclass, field
from enum import Enum

from tests.support import google_errors as google
from tests.support.google_errors import Response
from tests.support.google_windows import Counting, Window

MODEL = "gemini-2.5-flash"


class Delay(Enum):
    """The time to retry that a refusal names."""

    TRUE = "when there is room"
    WHOLE = "the same, in whole seconds rounded up"
    FLOOR = "the same, in whole seconds cut"
    MISSING = "none"
    LONG = "10 to 60 seconds too long"
    HOUR = "an hour"

    def told(self, wait: float, source: random.Random) -> float | None:
        """Return the seconds that are told to one who has to wait so long."""
        match self:
            case Delay.MISSING:
                return None
            case Delay.LONG:
                return wait + source.uniform(10.0, 60.0)
            case Delay.HOUR:
                return 3600.0
            case Delay.WHOLE:
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
class KeyPlan:
    """A key with a project of its own: its quotas a minute, and what happens to them.

    From the moment `raised_at` on, it may make `raised_to` requests.
    """

    requests: int = 15
    tokens: int | None = None
    others: Others | None = None
    raised_at: float = math.inf
    raised_to: int = 0

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

    `counts_refused` is whether refused calls are counted as well, `overloaded` the share of calls that fail
    with 503, `slow` the share that takes ten times as long.
    """

    counting: Counting = Counting.SLIDING
    delay: Delay = Delay.TRUE
    value: bool = True
    counts_refused: bool = False
    overloaded: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call: by which quota, of what limit; `told` are the seconds to wait, None if none are."""

    of_tokens: bool
    limit: int | None
    told: float | None
    exact: bool

    def response(self) -> Response:
        """Return the response, as Google writes it."""
        spent = google.tokens_spent if self.of_tokens else google.minute_spent
        return spent(MODEL, self.limit, self.told, exact=self.exact)


@dataclass
class Project:
    """A project: what is spent of its quotas. `source` draws the calls of others, and what is told."""

    plan: KeyPlan
    habits: Habits
    source: random.Random
    _requests: Window = field(init=False)
    _tokens: Window | None = field(init=False)
    _others_at: float = math.inf

    def __post_init__(self) -> None:
        counting, plan = self.habits.counting, self.plan
        self._requests = counting.window(plan.requests)
        self._tokens = None if plan.tokens is None else counting.window(plan.tokens)
        if plan.others:
            self._others_at = self._next_other(plan.others.begin)

    def wait(self, now: float, tokens: int) -> float:
        """Return in how many seconds there is room for a prompt of so many tokens; 0 means now."""
        self._pass(now)
        wait = self._requests.wait(now, 1)
        return max(wait, self._tokens.wait(now, tokens)) if self._tokens else wait

    def left(self, now: float) -> float:
        """Return the share of its scarcest quota that is left."""
        self._pass(now)
        windows = [self._requests] if self._tokens is None else [self._requests, self._tokens]
        return min(window.left(now) / window.limit for window in windows)

    def call(self, now: float, tokens: int) -> Refusal | None:
        """Count a call with a prompt of so many tokens; None when it is served."""
        self._pass(now)
        refusal = self._refusal(now, tokens)
        if refusal is None or self.habits.counts_refused:
            self._requests.spend(now, 1)
        if refusal is None and self._tokens:
            self._tokens.spend(now, tokens)
        return refusal

    def _refusal(self, now: float, tokens: int) -> Refusal | None:
        window, of_tokens, wait = self._requests, False, self._requests.wait(now, 1)
        if wait <= 0 and self._tokens:
            window, of_tokens, wait = self._tokens, True, self._tokens.wait(now, tokens)
        if wait <= 0:
            return None
        delay = self.habits.delay
        told = delay.told(wait, self.source)
        limit = int(window.limit) if self.habits.value else None
        return Refusal(of_tokens, limit, told, exact=delay not in {Delay.WHOLE, Delay.FLOOR})

    def _pass(self, now: float) -> None:
        """Let happen what has happened since the last call."""
        limit = self.plan.limit(now)
        while self._others_at <= now:
            at = self._others_at
            if self._requests.wait(at, 1) <= 0 or self.habits.counts_refused:
                self._requests.spend(at, 1)
            self._others_at = self._next_other(at)
        if limit != self._requests.limit:
            self._requests.limit = limit

    def _next_other(self, at: float) -> float:
        others = self.plan.others
        assert others is not None
        at += self.source.expovariate(others.share * self.plan.limit(at) / 60.0)
        return at if at < others.end else math.inf
