"""Google's errors as they are written, and times as they are told. Pure.

Google answers errors as `{"error": {"code", "message", "status", "details"}}` (AIP-193), on the
OpenAI-compatible path as a one-element array of it. What an error means is the verdict's.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from proxycore.headers import Fields

LONGEST_TOLD = 86400.0
"""Seconds that an answer can bench a key for: Google's longest quota window is a day."""

_MOST_OBJECTS = 32  # of a list in an error that are read; Google's have a few
_LONGEST_REASON = 100  # characters; Google's are words

_RETRY_IN = re.compile(r"[Rr]etry in ((?:[\d.]+(?:ms|s|m|h))+)")
_DURATION = re.compile(r"([\d.]+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PROJECT = re.compile(r"\bprojects?[/ ]([0-9]{4,20})\b")


@dataclass(slots=True)
class GoogleError:
    """Google's error, read: empty where the answer had nothing of the kind."""

    message: str = ""
    reasons: set[str] = field(default_factory=set)
    quotas: list[tuple[str, str]] = field(default_factory=list)  # (quotaId, quotaValue)
    retry_delay: str = ""
    project: str = ""

    @property
    def told(self) -> float | None:
        """Seconds after which it says to come again, None when it doesn't."""
        told = _seconds(self.retry_delay)
        match = _RETRY_IN.search(self.message)
        said = _seconds(match[1]) if match else None
        if told is None or (said is not None and abs(said - told) < 1):
            return said  # often the same with more digits
        return told


def read_error(text: bytes | None) -> GoogleError | None:
    """The error in an answer's body; None when there is none of Google's."""
    try:
        document = json.loads(text or b"", parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and document:
        document = document[0]
    content = document.get("error") if isinstance(document, dict) else None
    if not isinstance(content, dict):
        return None
    error = GoogleError(message=_string(content, "message"))
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


def _read_error_info(error: GoogleError, detail: dict[str, Any]) -> None:
    if reason := _string(detail, "reason"):
        error.reasons.add(reason[:_LONGEST_REASON])
    metadata = detail.get("metadata")
    if not isinstance(metadata, dict):
        return
    if named := _PROJECT.match(_string(metadata, "consumer")):
        error.project = named[1]
    if "quota_limit" in metadata:
        error.quotas.append((_string(metadata, "quota_limit"), _string(metadata, "quota_limit_value")))


def _objects(container: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    value = container.get(name)
    items = value[:_MOST_OBJECTS] if isinstance(value, list) else []
    return (item for item in items if isinstance(item, dict))


def _string(container: dict[str, Any], name: str) -> str:
    value = container.get(name)
    # Lone surrogates, which JSON can have, could be written nowhere.
    return str(value).encode(errors="replace").decode() if isinstance(value, str | int) else ""


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)  # Python refuses to read thousands of digits


def _seconds(duration: str) -> float | None:
    """Seconds in a duration as Google writes it: `41s`, `34.07s`, `500ms`, `1h2m3s`."""
    parts = _DURATION.findall(duration)
    try:
        total = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    except ValueError:
        return None
    return min(total, LONGEST_TOLD) if parts else None


def retry_after(headers: Fields, now: float) -> float | None:
    """Seconds in `Retry-After`, which is a number or a date (RFC 9110 §10.2.3).

    A date counts from the answer's own `Date` (§6.6.1), since one clock made both; without that from `now`,
    the wall clock in seconds since the epoch.
    """
    value = _first_value(headers, "retry-after")
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_TOLD)
    moment = _http_date(value)
    if moment is None:
        return None
    sent = _http_date(_first_value(headers, "date"))
    return min(max(moment - (now if sent is None else sent), 0.0), LONGEST_TOLD)


def _first_value(headers: Fields, wanted: str) -> str:
    return next((value.strip() for name, value in headers if name.lower() == wanted), "")


def _http_date(value: str) -> float | None:
    """Seconds since the epoch; None when it is no date."""
    try:
        moment = parsedate_to_datetime(value)
        # One of the three forms of a date doesn't say that it is GMT (RFC 9110 §5.6.7).
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
