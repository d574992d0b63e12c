"""Parses Google's errors. Pure.

Google writes errors as `{"error": {"code", "message", "status", "details"}}` (AIP-193), on the
OpenAI-compatible path as an array with that one element. In the Interactions API, `code` is a string, and
there is neither status nor details. Anything else does not come from Google. `judge` decides what an error
means.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from proxycore.gemini.retry_delay import delay_in
from proxycore.http.coding import LARGEST

_MOST_OBJECTS = 32  # elements of a list in an error that are read; Google's have a few
_LONGEST_REASON = 100  # characters; Google's are short names

_CONSUMER = re.compile(r"(?:projects/|project_number:)([0-9]{4,20})", re.ASCII)
_PERIOD = re.compile(r"per[ _]?(second|minute|hour|day)", re.IGNORECASE)
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_ZERO = re.compile(r"0+(?:\.0*)?", re.ASCII)

# The names of google.rpc.Code.
_STATUSES = frozenset(
    {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
# The error codes of the Interactions API, and the HTTP status that each comes with.
_INTERACTIONS_CODES = {
    "invalid_request": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "not_found": 404,
    "aborted": 409,
    "quota_exceeded": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    "resource_exhausted": 429,
    "cancelled": 499,
    "internal": 500,
    "internal_error": 500,
    "api_error": 500,
    "unknown": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "service_unavailable": 503,
    "overloaded": 503,
    "deadline_exceeded": 504,
    "gateway_timeout": 504,
}
_QUOTA_STATUSES = frozenset({402, 429})  # Google has used either for billing errors


@lru_cache(maxsize=256)  # Google has a few dozen quotas
def _period(name: str) -> float | None:
    found = _PERIOD.findall(name)
    return _PERIODS[found[-1].lower()] if found else None


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota that Google names: its id (or its name in the message), its limit, and the metric it counts."""

    name: str
    value: str = ""
    metric: str = ""

    @property
    def period(self) -> float | None:
        """The length of its window in seconds, None where it is not stated."""
        return _period(self.name)

    @property
    def of_tokens(self) -> bool:
        """Whether it counts tokens. A call's cost in tokens is not known before it is made."""
        return "token" in f"{self.name} {self.metric}".lower()

    @property
    def is_countable(self) -> bool:
        """Whether its limit is a number: an int64, which has at most 19 digits."""
        return self.value.isascii() and self.value.isdigit() and len(self.value) < 20

    @property
    def is_zero(self) -> bool:
        """Whether its limit is zero."""
        return bool(_ZERO.fullmatch(self.value))


@dataclass(slots=True)
class GoogleError:
    """An error of Google's.

    `code` is the HTTP status in it, `interactions_code` the code in the Interactions API, empty elsewhere.
    `reasons` are those of its `ErrorInfo`, `quotas` the quotas that it names. `retry_delay` is that of its
    `RetryInfo`, in seconds. `project` is the number of the key's project, `bad_request` whether it names a
    fault in the request.
    """

    code: int = 0
    message: str = ""
    interactions_code: str = ""
    reasons: set[str] = field(default_factory=set)
    quotas: list[Quota] = field(default_factory=list)
    retry_delay: float | None = None
    project: str = ""
    bad_request: bool = False

    def fits(self, status: int) -> bool:
        """Whether it fits a response with this HTTP status; if not, a proxy changed one of them."""
        return self.code == status or {self.code, status} <= _QUOTA_STATUSES


def read_error(text: bytes | None) -> GoogleError | None:
    """Parse the error in a decoded body; None if it is not Google's."""
    if not text or len(text) > LARGEST:
        return None
    try:
        document = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return _read_document(document)


def read_opening(text: bytes) -> GoogleError | None:
    """Parse the error at the start of a stream, maybe an incomplete array; None if it is not Google's."""
    try:
        opened = text.decode().strip()
        if opened.startswith("["):
            document, _ = json.JSONDecoder(parse_int=_whole).raw_decode(opened[1:].lstrip())
            return _read_document(document)
    except (ValueError, RecursionError):
        return None
    return read_error(text)


def _read_document(document: object) -> GoogleError | None:
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    content = document.get("error") if isinstance(document, dict) else None
    if not isinstance(content, dict):
        return None
    error = GoogleError(message=_string(content, "message"))
    code = content.get("code")
    if isinstance(code, str):
        return _as_interactions(error, code, content)
    if not isinstance(code, int | float) or not 100 <= code <= 999 or code != int(code):
        return None
    if _string(content, "status") not in _STATUSES:
        return None
    error.code = int(code)
    for detail in _objects(content, "details"):
        _read_detail(error, detail)
    return error


def _as_interactions(error: GoogleError, code: str, content: dict[str, Any]) -> GoogleError | None:
    if code not in _INTERACTIONS_CODES or "type" in content or not isinstance(content.get("message"), str):
        return None
    error.interactions_code, error.code = code, _INTERACTIONS_CODES[code]
    return error


def _read_detail(error: GoogleError, detail: dict[str, Any]) -> None:
    match _string(detail, "@type").rpartition("google.rpc.")[2]:
        case "BadRequest":
            error.bad_request = True
        case "RetryInfo":
            error.retry_delay = delay_in(detail.get("retryDelay"))
        case "QuotaFailure":
            error.quotas += [
                Quota(_string(v, "quotaId"), _string(v, "quotaValue"), _string(v, "quotaMetric"))
                for v in _objects(detail, "violations")
            ]
        case "ErrorInfo" if detail.get("domain", "googleapis.com") == "googleapis.com":
            _read_error_info(error, detail)


def _read_error_info(error: GoogleError, detail: dict[str, Any]) -> None:
    if reason := _string(detail, "reason"):
        error.reasons.add(reason[:_LONGEST_REASON])
    metadata = detail.get("metadata")
    if not isinstance(metadata, dict):
        return
    if named := _CONSUMER.fullmatch(_string(metadata, "consumer")):
        error.project = named[1]
    if "quota_limit" in metadata:
        parts = (_string(metadata, name) for name in ("quota_limit", "quota_limit_value", "quota_metric"))
        error.quotas.append(Quota(*parts))


def _objects(container: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    value = container.get(name)
    items = value[:_MOST_OBJECTS] if isinstance(value, list) else []
    return (item for item in items if isinstance(item, dict))


def _string(container: dict[str, Any], name: str) -> str:
    value = container.get(name)
    # JSON can contain lone surrogates, which can't be encoded again.
    return str(value).encode(errors="replace").decode() if isinstance(value, str | int | float) else ""


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)  # int() refuses thousands of digits
