"""The pool's retry budget: how many calls may be made again after server errors. Pure.

As Finagle and Envoy have it: a share of the calls, and a few a second besides. When the upstream as a whole
is in trouble, retries would only add to that; when a few keys are, there is plenty for every request.
"""

from collections.abc import Callable

_SHARE = 0.2  # of a retry that each request earns
_EACH_SECOND = 5.0  # retries that are earned anyway
_MOST = 50.0  # retries that are saved up, and there at the start


class RetryBudget:
    """Earns with every request, and is spent by retries. `clock` tells the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._balance = _MOST
        self._at = clock()

    def __repr__(self) -> str:
        return f"<RetryBudget {self._balance:.0f} retries left>"

    def earn(self) -> None:
        """A request has come."""
        self._balance = min(_MOST, self._balance + _SHARE)

    def spend(self) -> bool:
        """Takes a retry, and returns whether there was one."""
        now = self._clock()
        self._balance = min(_MOST, self._balance + _EACH_SECOND * (now - self._at))
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
