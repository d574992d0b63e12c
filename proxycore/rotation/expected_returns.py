"""The clients that were asked to retry later (`Retry-After`), and the time in the queue kept free for them.

A client that waited as asked must not be refused again. So while one is expected for a model, a new request
may join the queue only if its wait is shorter than the longest one by a margin, which is for those that
return.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable

from proxycore.rotation.events import Events, Origin, ReturnExpected

_KEPT_FREE = 0.25  # of the time that a request may wait, for clients that return
_GRACE = 0.3  # seconds after its moment for which a client is still expected
_FAR = 600.0  # seconds: a client that is asked to return later than that is not expected
_MOST_EXPECTED = 10_000  # for a model
_MOST_MODELS = 256


class ExpectedReturns:
    """The moments at which clients are expected back, by model. `now` returns the clock's, in seconds.

    Publishes `ReturnExpected` when a client is asked to return, and when it has.
    """

    def __init__(self, now: Callable[[], float], events: Events) -> None:
        self._now = now
        self._events = events
        self._moments: OrderedDict[str, list[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return for how many models clients are expected."""
        return len(self._moments)

    def add(self, model: str, at: float, origin: Origin = Origin.HERE) -> None:
        """Expect a client at this moment, when it was asked to return."""
        now, moments = self._now(), self._moments.setdefault(model, [])
        if len(self._moments) > _MOST_MODELS:
            self._moments.popitem(last=False)  # clients can invent names without end
        if now < at < now + _FAR and len(moments) < _MOST_EXPECTED:
            insort(moments, at)
            self._events.publish(ReturnExpected(origin, model, at, gone=False))

    def remove(self, model: str, at: float) -> None:
        """Stop expecting a client: it has returned, to another process."""
        moments = self._moments.get(model)
        if moments and at in moments:
            moments.remove(at)

    def admit(self, model: str, needed: float, allowed: float) -> bool:
        """Return whether a request that needs to wait so many seconds, of those allowed, may join the queue.

        A request that uses the margin counts as the return of a client that is expected now.
        """
        now, moments = self._now(), self._moments.get(model, [])
        del moments[: bisect_left(moments, now - _GRACE)]
        if not moments:
            self._moments.pop(model, None)
            return needed <= allowed
        if needed <= allowed * (1 - _KEPT_FREE):
            return True
        if needed > allowed or moments[0] > now:
            return False
        self._events.publish(ReturnExpected(Origin.HERE, model, moments.pop(0), gone=True))
        return True
