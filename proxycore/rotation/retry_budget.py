"""The retry budget: how many calls may be repeated after server errors. Pure.

Served calls earn retries. An upstream that fails a share of its calls serves the others, and those pay: with
two retries each, up to two thirds may fail and every request still gets the retries that it needs. An
upstream that fails entirely earns none, so that retries hardly add to its load.
"""

from collections.abc import Callable

_EARNED = 2.0  # retries for each call that is served
_EACH_SECOND = 1.0  # retries that are added in any case, in all processes together
_MOST = 50.0  # retries that are saved up, and available at the start


class RetryBudget:
    """A balance of retries that every served call adds to. `clock` returns the moment, in seconds.

    `processes` is how many have such a budget for the same upstream.
    """

    def __init__(self, clock: Callable[[], float], processes: int = 1) -> None:
        self._clock = clock
        self._each_second = _EACH_SECOND / processes
        self._balance = _MOST
        self._at = clock()

    def __repr__(self) -> str:
        return f"<RetryBudget {self._balance:.0f} retries left>"

    def earn(self) -> None:
        """Add the retries of one call that was served."""
        self._balance = min(_MOST, self._balance + _EARNED)

    def spend(self) -> bool:
        """Spend a retry; return whether there was one."""
        now = self._clock()
        self._balance = min(_MOST, self._balance + self._each_second * (now - self._at))
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
