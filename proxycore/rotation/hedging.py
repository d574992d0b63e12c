"""Hedging: which late requests are sent a second time, with another project. Pure.

A request is late once it has waited longer for its first byte than 95 % of the requests of its kind: of its
lane, and streamed or not. Every request that may be hedged earns a share of a hedge, so that no more than
that share of them are sent twice, whatever happens to the upstream.
"""

from collections.abc import Callable
from enum import StrEnum

from proxycore.rotation.first_byte_times import FirstByteTimes

_MOST_SAVED = 10.0  # hedges
_MOST_KINDS = 128  # of requests whose times are remembered: clients can invent models

Kind = tuple[str, bool]
"""A lane, and whether the response is streamed."""


class HedgeResult(StrEnum):
    """What became of a hedge; the values are metric labels."""

    WON = "won"
    ABANDONED = "abandoned"
    REFUSED = "refused"


class Hedging:
    """The times to first byte, and the hedges that are left. `clock` returns the moment, in seconds.

    `share` of the requests may be hedged: 0 to 1, 0 for none.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self.share = share
        self._clock = clock
        self._balance = 0.0
        self._times: dict[Kind, FirstByteTimes] = {}

    def set_share(self, share: float) -> None:
        """Set the share for requests that arrive from now on."""
        self.share = share
        self._balance = min(self._balance, _MOST_SAVED * bool(share))

    def earn(self) -> None:
        """Add the share of one request."""
        self._balance = min(_MOST_SAVED, self._balance + self.share)

    @property
    def affordable(self) -> bool:
        """Whether a hedge is left."""
        return self._balance >= 1.0

    def spend(self) -> None:
        """Spend a hedge."""
        self._balance -= 1.0

    def patience(self, kind: Kind) -> float | None:
        """Return the seconds after which a request of this kind is late; None while that is not known."""
        times = self._times.get(kind)
        return times.percentile(self._clock()) if times else None

    def learn(self, kind: Kind, seconds: float) -> None:
        """Learn the time to first byte of a request that was sent once, or how long it has waited so far."""
        times = self._times.get(kind)
        if times is None:
            if len(self._times) >= _MOST_KINDS:
                seldom = next((one for one in self._times if self.patience(one) is None), None)
                del self._times[seldom or next(iter(self._times))]
            times = self._times[kind] = FirstByteTimes(self._clock())
        times.add(seconds)
