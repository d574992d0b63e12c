"""What an upstream answer can mean: why a key is refused, what rests for it, and what the request does next.

`judge` reads answers, and says it in these words.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

_GOOGLE_DAY = ZoneInfo(
    "America/Los_Angeles"
)  # ai.google.dev/gemini-api/docs/rate-limits: "midnight Pacific time"


class Rest(Enum):
    """What an answer takes out of the rotation."""

    NOTHING = "nothing"
    MODEL = "project x lane"
    CALLER = "key x lane"
    ORIGIN = "key x origin of the client's page"
    KEY = "whole key"
    PROJECT = "all keys of the project"
    ACCOUNT = "all keys of the billing account"
    RETIRED = "retired"


class Then(Enum):
    """What the request does next."""

    RELAY = "the answer goes to the client"
    FAILOVER = "another key"
    RETRY = "another try after Google's trouble; few, and only for what may be repeated"
    COMPARE = "another key: what it says of the same request tells whom the refusal is about"
    ENTITLED = "the other projects, once each: one of them may be entitled"
    TOKENS = "another key, three in all: the prompt is larger than what is left of a quota of tokens"
    OWNER = "the other keys, once each"


class Backoff(Enum):
    """Which doubling applies when an answer gives no time."""

    QUOTA = "quota"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota of requests that was spent: Google's id of it, so many in `seconds`. A day is Google's own."""

    quota: str
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer means. `seconds` is the rest that was told; None means doubling by `backoff`.

    `limits` are the spent quotas that can be counted, `project` is the Google project that the answer
    names as the key's. `day` says that the rest ends with Google's day, whatever becomes of the wall clock.
    `words` is Google's own message, one line of at most 300 characters, empty where it has none; `unknown`
    whether a model is said not to be found; `deadline` whether the upstream gave up after a long wait (504).
    """

    reason: str
    then: Then = Then.RELAY
    rest: Rest = Rest.NOTHING
    seconds: float | None = None
    backoff: Backoff = Backoff.QUOTA
    limits: tuple[Limit, ...] = ()
    project: str = ""
    day: bool = False
    words: str = field(default="", compare=False)
    unknown: bool = False
    deadline: bool = False

    @property
    def healthy(self) -> bool:
        """Whether the answer clears the key's strikes."""
        return self is HEALTHY


HEALTHY = Verdict("healthy")
MISTAKE = Verdict("the client's mistake")
PLACE = Verdict("this address is not served")
FOREIGN = Verdict("not an answer of Google's")
TROUBLE = Verdict("the upstream's trouble", Then.RETRY)
SILENCE = Verdict("silence")
# Of methods that take no API key at all, and of some bad keys: no evidence against this one.
KEYLESS = Verdict("API keys are not taken here", Then.OWNER)
STRANGER = Verdict("the resource belongs to another key", Then.OWNER)

# A deadline that the upstream gave up at: what is asked again may take as long again.
TIMED_OUT = Verdict("the upstream timed out", Then.RETRY, deadline=True)

DAY = 86400.0
"""Seconds of a day, which Google's longest quotas count in."""


def until_google_midnight(now: float) -> float:
    """Seconds until the next midnight in Los Angeles, where Google's quota days end.

    `now` is the wall clock, in seconds since the epoch.
    """
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), _GOOGLE_DAY)
    return midnight.timestamp() - now


def since_google_midnight(now: float) -> float:
    """Seconds since the last midnight in Los Angeles. `now` is the wall clock, in seconds since the epoch."""
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date(), datetime.min.time(), _GOOGLE_DAY)
    return now - midnight.timestamp()
