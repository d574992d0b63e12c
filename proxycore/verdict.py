"""What an upstream answer says about the key that was used: the only file that knows Google's error shapes.

Google answers errors as `{"error": {"code", "message", "status", "details"}}` (AIP-193), on the
OpenAI-compatible path as a one-element array of it. `judge` reads one and says three things: why
(`reason`), what rests and for how long (`rest`, `seconds`, `backoff`), and what the request does next
(`then`). Its rules, first match wins:

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

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from proxycore.coding import decode
from proxycore.headers import Fields

LONGEST_TOLD = 86400.0
"""Seconds that an answer can bench a key for: Google's longest quota window is a day."""

_GOOGLE_DAY = ZoneInfo(
    "America/Los_Angeles"
)  # ai.google.dev/gemini-api/docs/rate-limits: "midnight Pacific time"


class Rest(Enum):
    """What an answer takes out of the rotation."""

    NOTHING = "nothing"
    MODEL = "key x model"
    KEY = "whole key"
    RETIRED = "retired"


class Then(Enum):
    """What the request does next."""

    RELAY = "the answer goes to the client"
    FAILOVER = "another key"
    RETRY = "another try after Google's trouble; few, and only for what may be repeated"
    ADDRESS = "another key, but few: perhaps it is our address that is refused"
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
    """

    reason: str
    then: Then = Then.RELAY
    rest: Rest = Rest.NOTHING
    seconds: float | None = None
    backoff: Backoff = Backoff.QUOTA
    limits: tuple[Limit, ...] = ()
    project: str = ""
    vague: bool = False

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
_RETRY_IN = re.compile(r"[Rr]etry in ((?:[\d.]+(?:ms|s|m|h))+)")
_DURATION = re.compile(r"([\d.]+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

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
_PROJECT = re.compile(r"\bprojects?[/ ]([0-9]{4,20})\b")
# Of tokens there are quotas, too, but what a call will cost is not known before it is made.
_PERIOD = re.compile(r"(?i)^(?!.*token).*per(second|minute|day)")
DAY = 86400.0
_PERIODS = {"second": 1.0, "minute": 60.0, "day": DAY}


@dataclass(slots=True)
class _Error:
    """Google's error, read: empty where the answer had nothing of the kind."""

    message: str = ""
    reasons: set[str] = field(default_factory=set)
    quotas: list[tuple[str, str]] = field(default_factory=list)  # (quotaId, quotaValue)
    retry_delay: str = ""
    project: str = ""


def judge(status: int, headers: Fields, body: bytes, *, now: float, names_resource: bool = False) -> Verdict:
    """What this answer says about the key it was got with.

    `now` is seconds since the epoch; `names_resource` says whether the request named a resource that
    belongs to one key's project (a file, a cached content, an operation, ...).
    """
    if status < 400:
        return HEALTHY
    if status >= 500:
        return TROUBLE
    encodings = [value for name, value in headers if name.lower() == "content-encoding"]
    text = decode(body, encodings)
    error = _read(text)
    if error is None and status != 429 and _is_html(text):
        # Google's API answers in JSON: this is a middlebox, or a front end that refuses our address.
        return FOREIGN
    verdict = _refusal(status, error or _Error(), _retry_after(headers, now), now, names_resource)
    if error and error.project and verdict.rest is not Rest.NOTHING:
        return replace(verdict, project=error.project)
    return verdict


def _refusal(
    status: int, error: _Error, retry_after: float | None, now: float, names_resource: bool
) -> Verdict:
    if status == 429:
        return _quota(error, retry_after, now)
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


def _quota(error: _Error, retry_after: float | None, now: float) -> Verdict:
    if _MONEY.search(error.message):
        return Verdict(
            "no credit or spending cap reached", Then.FAILOVER, Rest.KEY, backoff=Backoff.FORBIDDEN
        )
    if any(value == "0" for _, value in error.quotas) or _NO_QUOTA.search(error.message):
        return Verdict("not entitled", Then.FAILOVER, Rest.MODEL, until_google_midnight(now))
    limits = tuple(_limits(error.quotas))
    if any("perday" in quota.lower() for quota, _ in error.quotas):
        seconds = until_google_midnight(now)
        return Verdict("day quota spent", Then.FAILOVER, Rest.MODEL, seconds, limits=limits)
    told = _told(error)
    if error.quotas or told is not None:
        told = retry_after if told is None else told
        return Verdict("quota spent", Then.FAILOVER, Rest.MODEL, told, limits=limits)
    return Verdict(
        "refused without a reason", Then.ADDRESS, Rest.MODEL, retry_after, Backoff.ADDRESS, vague=True
    )


def _told(error: _Error) -> float | None:
    told = _seconds(error.retry_delay)
    match = _RETRY_IN.search(error.message)
    said = _seconds(match[1]) if match else None
    if told is None or (said is not None and abs(said - told) < 1):
        return said  # often the same with more digits
    return told


def _limits(quotas: list[tuple[str, str]]) -> Iterator[Limit]:
    for quota, value in dict(quotas).items():
        period = _PERIOD.match(quota)
        if period and value.isascii() and value.isdigit():
            yield Limit(quota, int(value), _PERIODS[period[1].lower()])


def _bad_request(error: _Error) -> Verdict:
    if (
        "API_KEY_INVALID" in error.reasons
        or "API_KEY_EXPIRED" in error.reasons
        or _DEAD_400.search(error.message)
    ):
        return Verdict("API key not valid or expired", Then.FAILOVER, Rest.RETIRED)
    return PLACE if _PLACE.search(error.message) else MISTAKE


def _forbidden(error: _Error, names_resource: bool) -> Verdict:
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
    """Seconds until the next midnight in Los Angeles, where Google's quota days end."""
    local = datetime.fromtimestamp(now, UTC).astimezone(_GOOGLE_DAY)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), _GOOGLE_DAY)
    return midnight.timestamp() - now


def _read(text: bytes | None) -> _Error | None:
    try:
        document = json.loads(text or b"")
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and document:
        document = document[0]
    content = document.get("error") if isinstance(document, dict) else None
    if not isinstance(content, dict):
        return None
    error = _Error(message=_string(content, "message"))
    if named := _PROJECT.search(error.message):
        error.project = named[1]
    for detail in _objects(content, "details"):
        kind = _string(detail, "@type").rpartition(".")[2]
        if kind == "RetryInfo":
            error.retry_delay = _string(detail, "retryDelay")
        elif kind == "QuotaFailure":
            error.quotas += [
                (_string(v, "quotaId"), _string(v, "quotaValue")) for v in _objects(detail, "violations")
            ]
        elif kind == "ErrorInfo":
            _read_error_info(error, detail)
    return error


def _read_error_info(error: _Error, detail: dict[str, Any]) -> None:
    if reason := _string(detail, "reason"):
        error.reasons.add(reason)
    metadata = detail.get("metadata")
    if not isinstance(metadata, dict):
        return
    if named := _PROJECT.match(_string(metadata, "consumer")):
        error.project = named[1]
    if "quota_limit" in metadata:
        error.quotas.append((_string(metadata, "quota_limit"), _string(metadata, "quota_limit_value")))


def _objects(container: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    value = container.get(name)
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _string(container: dict[str, Any], name: str) -> str:
    value = container.get(name)
    return str(value) if isinstance(value, str | int) else ""


def _first(reasons: set[str], otherwise: str) -> str:
    return min(reasons, default=otherwise)


def _is_html(text: bytes | None) -> bool:
    return text is not None and text.lstrip()[:1] == b"<"


def _seconds(duration: str) -> float | None:
    """Seconds in a duration as Google writes it: `41s`, `34.07s`, `500ms`, `1h2m3s`."""
    parts = _DURATION.findall(duration)
    try:
        total = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    except ValueError:
        return None
    return min(total, LONGEST_TOLD) if parts else None


def _retry_after(headers: Fields, now: float) -> float | None:
    """Seconds in `Retry-After`, which is a number or a date (RFC 9110 §10.2.3)."""
    value = next((value.strip() for name, value in headers if name.lower() == "retry-after"), "")
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_TOLD)
    try:
        moment = parsedate_to_datetime(value)
        # One of the three forms of a date doesn't say that it is GMT (RFC 9110 §5.6.7).
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_TOLD)
