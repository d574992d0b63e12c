"""What an upstream answer says about the key that was used: the only file that knows what errors mean.

`judge` reads one and says three things: why (`reason`), what rests and for how long (`rest`, `seconds`,
`backoff`), and what the request does next (`then`). Its rules, first match wins:

    2xx, 3xx                                     healthy
    not Google's own answer (HTML, no JSON)      nobody's fault, but for a bare 403, 429 or 5xx
    429  about money                             the key rests as for a 403
    429  quota value 0                           key x model rests until Google's day ends
    429  quota per day                           the same
    429  any other named quota, or a told time   key x model rests as told
    429  with nothing in it                      perhaps our address: key x model, from 1 second
    401 CREDENTIALS_MISSING                      perhaps no key would do: the others, once each
    401, 400 API_KEY_INVALID, 403 suspended      the key is dead
    403, 404 about an owned resource             another key may own it
    403  any other                               the key rests
    5xx                                          Google's trouble: another try
    other 4xx                                    the client's mistake
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from proxycore.coding import decode
from proxycore.error import GoogleError, read_error, retry_after
from proxycore.headers import Fields

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
    ADDRESS = "another key, but few: perhaps it is our address that is refused"
    COMPARE = "another key: what it says of the same request tells whom the refusal is about"
    ENTITLED = "the other projects, once each: one of them may be entitled"
    TOKENS = "another key, three in all: the prompt is larger than what is left of a quota of tokens"
    OWNER = "the other keys, once each"


class Backoff(Enum):
    """Which doubling applies when an answer gives no time."""

    QUOTA = "quota"
    ADDRESS = "address"
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
    names as the key's. `vague` says that nothing in it speaks of this key, so that it may be about all.
    `day` says that the rest ends with Google's day, whatever becomes of the wall clock meanwhile.
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
    vague: bool = False
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

_MONEY = re.compile(
    r"(?i)prepa(?:id|yment) credits?\b|spend(?:ing)? (?:cap|limit)|credits? (?:are|is|have been) depleted"
)
_NO_QUOTA = re.compile(r"\blimit: 0(?![\d.]*\d)")

_DEAD_REASONS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "CONSUMER_SUSPENDED", "ACCESS_TOKEN_TYPE_UNSUPPORTED"}
_ABOUT_ADDRESS = {"API_KEY_IP_ADDRESS_BLOCKED"}
_DEAD_400 = re.compile(r"(?i)api key not (?:valid|found)|api key expired|pass a valid api key")
_DEAD_403 = re.compile(r"(?i)reported as leaked|has been suspended")
# Google's words for a resource that the key's project can't see.
_RESOURCE = re.compile(
    r"(?i)or it may not exist|not found \(or permission denied\)"
    r"|permission to access the \w+ |CachedContent not found"
)
_GENERIC_403 = re.compile(r"(?i)caller does not have permission|permission denied|entity was not found|^$")
_MODEL_404 = re.compile(r"(?i)^(?:publishers/\S+/)?models/\S+ is (?:not found|no longer)|^this model\b")
_PLACE = re.compile(r"(?i)location is not supported")
# Of tokens there are quotas, too, but what a call will cost is not known before it is made.
_PERIOD = re.compile(r"(?i)^(?!.*token).*per(second|minute|day)")
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)  # an int64; Python refuses to read thousands of digits
DAY = 86400.0
_PERIODS = {"second": 1.0, "minute": 60.0, "day": DAY}


def judge(status: int, headers: Fields, body: bytes, *, now: float, names_resource: bool = False) -> Verdict:
    """What this answer says about the key it was got with.

    `now` is the wall clock, in seconds since the epoch; `names_resource` says whether the request named a
    resource that belongs to one key's project (a file, a cached content, an operation, ...).
    """
    if status < 400:
        return HEALTHY
    if status >= 500:
        return TROUBLE
    encodings = [value for name, value in headers if name.lower() == "content-encoding"]
    text = decode(body, encodings)
    error = read_error(text)
    if error is None and status != 429 and _is_html(text):
        # Google's API answers in JSON: this is a middlebox, or a front end that refuses our address.
        return FOREIGN
    verdict = _refusal(status, error or GoogleError(), retry_after(headers, now), now, names_resource)
    if error and error.project and verdict.rest is not Rest.NOTHING:
        return replace(verdict, project=error.project)
    return verdict


def _refusal(
    status: int, error: GoogleError, after: float | None, now: float, names_resource: bool
) -> Verdict:
    if status == 429:
        return _quota(error, after, now)
    if status == 400:
        return _bad_request(error)
    if status == 401 and "CREDENTIALS_MISSING" in error.reasons:
        return KEYLESS
    if status == 401:
        reason, vague = _first(error.reasons, "the key is not accepted"), not error.reasons
        return Verdict(reason, Then.FAILOVER, Rest.RETIRED, vague=vague)
    if status == 403:
        return _forbidden(error, names_resource)
    if status == 404 and names_resource and not _MODEL_404.search(error.message):
        return STRANGER
    return MISTAKE


def _quota(error: GoogleError, after: float | None, now: float) -> Verdict:
    if _MONEY.search(error.message):
        return Verdict(
            "no credit or spending cap reached", Then.FAILOVER, Rest.KEY, backoff=Backoff.FORBIDDEN
        )
    if any(value == "0" for _, value in error.quotas) or _NO_QUOTA.search(error.message):
        return Verdict("not entitled", Then.FAILOVER, Rest.MODEL, until_google_midnight(now), day=True)
    limits = tuple(_limits(error.quotas))
    if any("perday" in quota.lower() for quota, _ in error.quotas):
        seconds = until_google_midnight(now)
        return Verdict("day quota spent", Then.FAILOVER, Rest.MODEL, seconds, limits=limits, day=True)
    told = error.told
    if error.quotas or told is not None:
        told = after if told is None else told
        return Verdict("quota spent", Then.FAILOVER, Rest.MODEL, told, limits=limits)
    return Verdict("refused without a reason", Then.ADDRESS, Rest.MODEL, after, Backoff.ADDRESS, vague=True)


def _limits(quotas: list[tuple[str, str]]) -> Iterator[Limit]:
    for quota, value in dict(quotas).items():
        period = _PERIOD.match(quota)
        if period and _COUNT.fullmatch(value):
            yield Limit(quota, int(value), _PERIODS[period[1].lower()])


def _bad_request(error: GoogleError) -> Verdict:
    if (
        "API_KEY_INVALID" in error.reasons
        or "API_KEY_EXPIRED" in error.reasons
        or _DEAD_400.search(error.message)
    ):
        return Verdict("API key not valid or expired", Then.FAILOVER, Rest.RETIRED)
    return PLACE if _PLACE.search(error.message) else MISTAKE


def _forbidden(error: GoogleError, names_resource: bool) -> Verdict:
    if error.reasons & _DEAD_REASONS or _DEAD_403.search(error.message):
        return Verdict("suspended or leaked", Then.FAILOVER, Rest.RETIRED)
    if "USER_PROJECT_DENIED" in error.reasons:
        # The client's own X-Goog-User-Project, which goes on as it came.
        return MISTAKE
    if not error.reasons and (
        _RESOURCE.search(error.message) or (names_resource and _GENERIC_403.search(error.message))
    ):
        return STRANGER
    reason = _first(error.reasons, "permission denied")
    vague = not error.reasons - _ABOUT_ADDRESS
    return Verdict(reason, Then.FAILOVER, Rest.KEY, backoff=Backoff.FORBIDDEN, vague=vague)


def until_google_midnight(now: float) -> float:
    """Seconds until the next midnight in Los Angeles, where Google's quota days end.

    `now` is the wall clock, in seconds since the epoch.
    """
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), _GOOGLE_DAY)
    return midnight.timestamp() - now


def _first(reasons: set[str], otherwise: str) -> str:
    return min(reasons, default=otherwise)


def _is_html(text: bytes | None) -> bool:
    return text is not None and text.lstrip()[:1] == b"<"
