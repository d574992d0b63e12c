"""Parses retry delays: Google's durations, and the `Retry-After` field. Pure."""

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from proxycore.http.fields import Fields, value_of

_LONGEST = 86400.0  # seconds; longer delays are cut: Google's longest quota window is a day
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{0,20})?(?:ms|s|m|h))+")
_AMOUNT = re.compile(r"([0-9.]+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def delay_in(duration: object) -> float | None:
    """Seconds in a `google.protobuf.Duration`: a string in JSON, an object as some libraries write it.

    None if it is neither.
    """
    if isinstance(duration, str):
        return seconds_in(duration)
    if not isinstance(duration, dict):
        return None
    parts = duration.get("seconds"), duration.get("nanos")
    seconds, nanos = (str(part) if isinstance(part, str | int | float) else "" for part in parts)
    try:
        total = float(seconds or 0) + float(nanos or 0) / 1e9
    except ValueError:
        return None
    return min(total, _LONGEST) if (seconds or nanos) and math.isfinite(total) and total >= 0 else None


def seconds_in(duration: str) -> float | None:
    """Seconds in a duration as Google writes it: `41s`, `34.07s`, `500ms`, `1h2m3s`. None if it is none."""
    if not _DURATION.fullmatch(duration):
        return None
    return min(sum(float(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(duration)), _LONGEST)


def retry_after(headers: Fields, now: float) -> float | None:
    """Seconds in `Retry-After`, which is a number or a date (RFC 9110 §10.2.3). None without a valid one.

    A date counts from the response's own `Date` (§6.6.1), since one clock wrote both; without that from
    `now`, the wall clock in seconds since the epoch.
    """
    value = value_of(headers, "retry-after").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST)
    moment = _http_date(value)
    if moment is None:
        return None
    sent = _http_date(value_of(headers, "date").strip())
    return min(max(moment - (now if sent is None else sent), 0.0), _LONGEST)


def _http_date(value: str) -> float | None:
    """Seconds since the epoch; None when it is not a date."""
    try:
        moment = parsedate_to_datetime(value)
        # One of the three forms of a date does not state that it is GMT (RFC 9110 §5.6.7).
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
