"""The retry budget: how many calls may be repeated after server errors. Pure.

As in Finagle and Envoy: a share of the requests, and a few a second besides. When the whole upstream fails,
retries would only add to its load; when a few keys do, there are plenty for every request.
"""

from collections.abc import Callable

_SHARE = 0.2  # of a retry that each request earns
_EACH_SECOND = 5.0  # retries that are added in any case
_MOST = 50.0  # retries that are saved up, and available at the start


class RetryBudget:
    """A balance of retries that every request adds to. `clock` returns the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._balance = _MOST
        self._at = clock()

    def __repr__(self) -> str:
        return f"<RetryBudget {self._balance:.0f} retries left>"

    def earn(self) -> None:
        """Add the share of one request."""
        self._balance = min(_MOST, self._balance + _SHARE)

    def spend(self) -> bool:
        """Spend a retry; return whether there was one."""
        now = self._clock()
        self._balance = min(_MOST, self._balance + _EACH_SECOND * (now - self._at))
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
