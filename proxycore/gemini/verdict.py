"""Verdicts of `judge`: what a response means for its key, what is benched, and what the request does next."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

# ai.google.dev/gemini-api/docs/rate-limits: "midnight Pacific time"
_GOOGLE_DAY = ZoneInfo("America/Los_Angeles")


class BenchScope(Enum):
    """What a verdict benches."""

    NOTHING = "nothing"
    MODEL = "project x lane"
    CALLER = "key x lane"
    ORIGIN = "key x origin of the client's page"
    KEY = "whole key"
    PROJECT = "all keys of the project"
    ACCOUNT = "all keys of the billing account"
    RETIRED = "retired"


class Reaction(Enum):
    """What the request does next."""

    RELAY = "the response goes to the client"
    FAILOVER = "another key"
    RETRY = "another attempt after a server error; few, and only for what may be repeated"
    COMPARE = "another key: its verdict on the same request shows whether key or request is to blame"
    ENTITLED = "the other projects, once each: one of them may be entitled"
    TOKENS = "another key, three in all: the prompt exceeds what is left of a token quota"
    OWNER = "the other keys, once each"


class Backoff(Enum):
    """Which exponential backoff applies when a response names no time."""

    QUOTA = "quota"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Limit:
    """A spent quota: Google's id, and the limit per `seconds`; a day is Google's day.

    `amount` is a number of requests, or of tokens if it is `of_tokens`; None if Google does not tell it.
    """

    quota: str
    amount: int | None
    seconds: float
    of_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one response means. `seconds` is how long to bench; None means exponential backoff by `backoff`.

    `reason` is for the log and the status page. `limits` are the spent quotas that can be counted, `project`
    is the Google project that the response names as the key's. `day` is whether a quota of Google's day is
    spent, so that the bench goes by that day, even if the wall clock is set. `words` is Google's own message,
    one line of at most 300 characters, empty without one; `unknown_model` is whether the model was not found;
    `deadline` whether the upstream gave up after a long wait (504); `way` whether it is about the way to
    Google: the region, an outbound proxy, a gateway or the network.
    """

    reason: str
    then: Reaction = Reaction.RELAY
    rest: BenchScope = BenchScope.NOTHING
    seconds: float | None = None
    backoff: Backoff = Backoff.QUOTA
    limits: tuple[Limit, ...] = ()
    project: str = ""
    day: bool = False
    words: str = field(default="", compare=False)
    unknown_model: bool = False
    deadline: bool = False
    way: bool = False

    @property
    def healthy(self) -> bool:
        """Whether the key's strikes are cleared."""
        return self is HEALTHY


HEALTHY = Verdict("healthy")
CLIENT_ERROR = Verdict("client error")
REGION_BLOCKED = Verdict("region not supported", way=True)
NOT_GOOGLE = Verdict("not a Google response", way=True)
UPSTREAM_FAILURE = Verdict("upstream error", Reaction.RETRY)
NO_RESPONSE = Verdict("upstream error", Reaction.RETRY, way=True)
TIMED_OUT = Verdict("timeout", way=True)
# From methods that accept no API key at all, and for some bad keys: no evidence against this one.
KEYS_NOT_ACCEPTED = Verdict("API keys not accepted", Reaction.OWNER)
NOT_OWNER = Verdict("the resource belongs to another key", Reaction.OWNER)

# The upstream's own deadline passed: a retry may take as long again.
DEADLINE_EXCEEDED = Verdict("upstream deadline exceeded", Reaction.RETRY, deadline=True)

NO_CREDIT = "no credit or spending cap reached"
"""The reason of a refusal for want of money."""

NOT_ENTITLED = "not entitled"
"""The reason of a refusal of a model that the key's project may not use."""

DAY = 86400.0
"""Seconds of a day, the window of Google's longest quotas."""

YOUNG_DAY = 1800.0
"""Seconds after midnight in which a day's quotas may not be reset yet: Google is late, and clocks differ."""


def until_google_midnight(now: float) -> float:
    """Seconds until the next midnight in Los Angeles, where Google's quota days end.

    `now` is the wall clock, in seconds since the epoch.
    """
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), _GOOGLE_DAY)
    return midnight.timestamp() - now


def end_of_google_date(day: date) -> float:
    """When a day at Google ends, by the wall clock, in seconds since the epoch."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), _GOOGLE_DAY).timestamp()


def since_google_midnight(now: float) -> float:
    """Seconds since the last midnight in Los Angeles. `now` is the wall clock, in seconds since the epoch."""
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date(), datetime.min.time(), _GOOGLE_DAY)
    return now - midnight.timestamp()
