"""A model of Google for mixtures of keys: its responses, and the truth about which key would be served.

What is wrong is a `Trouble`: of a key, of a project, or of everything. Times are seconds since the beginning.
"""

import math
import random
import zlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from tests.support import google_errors as google
from tests.support.google_errors import Response

MINUTE = 60.0
LARGE_TOKENS = 150_000
QUOTA_OF_TOKENS = 125_000


class Trouble(Enum):
    """Failures, with Google's error; None where that depends on the model and the moment."""

    INVALID = google.INVALID
    EXPIRED = google.EXPIRED
    UNAUTHENTICATED = google.UNAUTHENTICATED
    SUSPENDED = google.SUSPENDED
    LEAKED = google.LEAKED
    DENIED = google.DENIED
    DISABLED = "the API is not switched on in the project"
    NO_CREDIT = google.NO_CREDIT
    SPENDING = google.SPENDING
    REFERRER = google.REFERRER
    BARE = google.BARE
    CALLER = google.CALLER
    TIER = google.TIER
    NOT_FOUND = "models/… is not found"
    DAY = "daily quota exhausted"
    MINUTE = "so many requests a minute"
    OVERLOADED = google.OVERLOADED
    INTERNAL = google.INTERNAL
    RESET = google.RESET
    SLOW = "seconds to the first byte"


class Poison(Enum):
    """Faults of a request, for which every key refuses it; PLAIN: none."""

    PLAIN = google.SERVED
    SEARCH = google.SEARCH
    CACHE = google.CACHE
    CALLER = google.CALLER
    BARE = google.BARE
    LARGE = "more tokens than a minute's quota"


DEAD = frozenset(
    {Trouble.INVALID, Trouble.EXPIRED, Trouble.UNAUTHENTICATED, Trouble.SUSPENDED, Trouble.LEAKED}
)
VAGUE = frozenset({Trouble.BARE, Trouble.CALLER})
UPSTREAMS = frozenset({Trouble.OVERLOADED, Trouble.INTERNAL, Trouble.RESET})
# Which of several is told: Google checks the key, then its project, then the request, then quotas.
_ORDER = {trouble: place for place, trouble in enumerate(Trouble)}


@dataclass(frozen=True)
class Ill:
    """A trouble from `begin` to `end`, of one model or (empty) of all, at a call in `share` of all cases.

    `amount` is a quota's number of requests, or the seconds of a slow key.
    """

    trouble: Trouble
    begin: float = 0.0
    end: float = math.inf
    model: str = ""
    share: float = 1.0
    amount: float = 0.0

    def __str__(self) -> str:
        when = (
            "" if (self.begin, self.end) == (0.0, math.inf) else f" from {self.begin:.2f} to {self.end:.2f}"
        )
        share = f" {self.share:.0%}" if self.share < 1 else ""
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.trouble.name}{amount}{share}{f' for {self.model}' if self.model else ''}{when}"

    def concerns(self, model: str, now: float) -> bool:
        """Whether it affects this model now."""
        return self.begin <= now < self.end and self.model in {"", model}


@dataclass(frozen=True)
class KeyPlan:
    """A key: its name, its project, and what is wrong with it. It may be bound to the pages of `origin`."""

    name: str
    project: str
    ills: tuple[Ill, ...] = ()
    origin: str = ""

    @property
    def healthy(self) -> bool:
        """Whether the key itself never fails."""
        return all(ill.trouble is Trouble.SLOW for ill in self.ills)


@dataclass(frozen=True)
class Request:
    """A client's request at a moment. The client disconnects after some seconds without a response."""

    number: int
    client: str
    at: float
    poison: Poison
    model: str
    origin: str = ""
    leaves: float = math.inf


@dataclass(frozen=True)
class Answer:
    """Google's response, its delay in seconds, and the failure behind it; None: none."""

    response: Response
    seconds: float
    why: Trouble | Poison | None


class Truth(Enum):
    """Whether a key would serve a request."""

    YES = "it would"
    QUOTA = "it would, as far as its quota's window tells"
    PERHAPS = "it would now and then, or has been ill, so that it may rest for that"
    NO = "it would not"


@dataclass
class Google:
    """Answers calls. `everywhere` is what is wrong with every key, `latency` seconds to the first byte."""

    everywhere: tuple[Ill, ...]
    latency: float
    random: random.Random
    _calls: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    _told: defaultdict[tuple[str, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def answer(self, key: KeyPlan, request: Request, now: float) -> Answer:
        """The answer to a call that is sent now."""
        source, seconds = self.random, self.latency * self.random.uniform(0.6, 1.6)
        for ill in self._ills(key, request, now):
            if ill.trouble is Trouble.SLOW:
                seconds += ill.amount
            elif ill.share >= 1 or source.random() < ill.share:
                wait = source.uniform(0.1, 1.0) if ill.trouble in UPSTREAMS else source.uniform(0.02, 0.08)
                return Answer(self._words(ill, key, request, now), wait, ill.trouble)
        if request.poison is not Poison.PLAIN:
            poison = request.poison
            return Answer(_poisoned(request), source.uniform(0.02, 0.08), poison)
        self._calls[key.project, request.model].append(now)
        return Answer(google.SERVED, seconds, None)

    def truth(self, key: KeyPlan, request: Request, at: float) -> Truth:
        """Whether the key would have served the request at that moment, which is past."""
        if request.poison is not Poison.PLAIN:
            return Truth.NO
        found = Truth.YES
        for ill in self._ills(key, request, at):
            if ill.trouble is Trouble.SLOW:
                continue
            if ill.share >= 1:
                return Truth.NO
            found = Truth.PERHAPS
        if found is Truth.YES and any(_was_ill(ill, request.model, at) for ill in key.ills):
            return Truth.PERHAPS
        quota = any(ill.trouble is Trouble.MINUTE and ill.concerns(request.model, at) for ill in key.ills)
        if quota and found is Truth.YES:
            told = self._told[key.project, request.model]
            rests = any(since <= at < until for since, until in told)
            return Truth.PERHAPS if rests else Truth.QUOTA
        return found

    def _ills(self, key: KeyPlan, request: Request, now: float) -> Iterator[Ill]:
        """The failures of this call, the one that Google reports first."""
        found = [ill for ill in (*self.everywhere, *key.ills) if self._hits(ill, key, request, now)]
        return iter(sorted(found, key=lambda ill: _ORDER[ill.trouble]) if len(found) > 1 else found)

    def _hits(self, ill: Ill, key: KeyPlan, request: Request, now: float) -> bool:
        if not ill.concerns(request.model, now):
            return False
        if ill.trouble is Trouble.REFERRER:
            return request.origin != key.origin
        if ill.trouble is Trouble.MINUTE:
            return self._used(key.project, request.model, now) >= ill.amount
        return True

    def _used(self, project: str, model: str, at: float) -> int:
        calls = self._calls[project, model]
        return bisect_left(calls, at) - bisect_right(calls, at - MINUTE)

    def _words(self, ill: Ill, key: KeyPlan, request: Request, now: float) -> Response:
        if isinstance(ill.trouble.value, Response):
            return ill.trouble.value
        if ill.trouble is Trouble.NOT_FOUND:
            return google.not_found(request.model)
        if ill.trouble is Trouble.DISABLED:
            return google.disabled(100_000 + zlib.crc32(key.project.encode()))
        if ill.trouble is Trouble.DAY:
            return google.day_spent(request.model, 20)
        calls = self._calls[key.project, request.model]
        room = calls[bisect_right(calls, now - MINUTE)] + MINUTE - now if calls else 1.0
        # A bench may be jittered by a second, and quotas are counted by the proxy with a little to spare.
        self._told[key.project, request.model].append((now, now + room + 1.5))
        return google.minute_spent(request.model, int(ill.amount), room)


def _was_ill(ill: Ill, model: str, at: float) -> bool:
    return ill.end <= at and ill.model in {"", model} and ill.trouble is not Trouble.SLOW


def _poisoned(request: Request) -> Response:
    if isinstance(request.poison.value, Response):
        return request.poison.value
    return google.tokens_spent(request.model, QUOTA_OF_TOKENS, 34.5)
