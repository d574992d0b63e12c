"""The present time as header fields have it (RFC 9110 §5.6.7)."""

import time
from functools import lru_cache

from tornado.httputil import format_timestamp


def http_date() -> str:
    """The value of a Date field. It changes once a second, and is made as often."""
    return _date_at(int(time.time()))


@lru_cache(1)
def _date_at(second: int) -> str:
    return format_timestamp(second)
