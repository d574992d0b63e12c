"""The clients that were asked to retry later (`Retry-After`), and the time in the queue kept free for them.

A client that waited as asked must not be refused again. So each is told a moment of its own: there are no
more in any few seconds than calls that the quotas permit, and of those one client gets three quarters at
most. While one is expected for a model, a new request may join the queue only if its wait is shorter than
the longest one by a margin, which is for those that return.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from proxycore.rotation.events import Events, Origin, ReturnExpected

_KEPT_FREE = 0.25  # of the time that a request may wait, for clients that return
_GRACE = 0.3  # seconds after its moment for which a client is still expected
_FAR = 600.0  # seconds: a client that is asked to return later than that is not expected
_MOST_EXPECTED = 10_000  # for a model
_MOST_MODELS = 256
_SPAN = 2.0  # seconds, or the time of so many calls if that is longer, in which moments are counted
_OWN = 0.75  # of the calls in it that one client may be told to return for


@dataclass(slots=True)
class _Moments:
    """Moments in order, and from when to when there are known to be `limit` in each span."""

    all: list[float] = field(default_factory=list)
    full_from: float = 0.0
    full_until: float = 0.0
    limit: float = 0.0

    def first_free(self, at: float, span: float, limit: float) -> float:
        """Return the first moment, whole seconds after `at`, in a span with fewer than `limit`.

        No more than `_FAR` seconds after `at`.
        """
        is_known = self.limit == limit and self.full_from <= at < self.full_until
        free = at + math.ceil(self.full_until - at) if is_known else at
        while free < at + _FAR and self._beside(free, span) >= limit:
            free += 1.0
        if is_known:
            self.full_until = free
        elif self.limit != limit or free - at > self.full_until - max(self.full_from, at):
            self.full_from, self.full_until, self.limit = at, free, limit
        return free

    def _beside(self, at: float, span: float) -> int:
        """Return how many are in the same span as a moment, of those that time is divided into."""
        begin = at // span * span
        return bisect_left(self.all, begin + span) - bisect_left(self.all, begin)


@dataclass(slots=True)
class _Expected:
    """The clients that are expected for a model: all moments, the client of each, and those by client."""

    moments: _Moments = field(default_factory=_Moments)
    clients: list[str] = field(default_factory=list)
    by_client: dict[str, _Moments] = field(default_factory=dict)

    def add(self, at: float, client: str) -> None:
        place = bisect_right(self.moments.all, at)
        self.moments.all.insert(place, at)
        self.clients.insert(place, client)
        insort(self.by_client.setdefault(client, _Moments()).all, at)

    def remove(self, place: int) -> float:
        at, client = self.moments.all.pop(place), self.clients.pop(place)
        theirs = self.by_client[client].all
        theirs.remove(at)
        if not theirs:
            del self.by_client[client]
        return at

    def first_free(self, at: float, client: str, rate: float) -> float:
        """Return the first moment for one more, whole seconds after `at`; infinity if there is none soon.

        `rate` calls a second are permitted.
        """
        span, own, last = max(_SPAN, _SPAN / rate), self.by_client.get(client), at + _FAR
        while at < last:
            free = self.moments.first_free(at, span, rate * span)
            if own is None:
                return free
            at = own.first_free(free, span, max(1.0, rate * span * _OWN))
            if at == free:
                return free
        return math.inf


class ExpectedReturns:
    """The moments at which clients are expected back, by model. `now` returns the clock's, in seconds.

    Publishes `ReturnExpected` when a client is asked to return, and when it has.
    """

    def __init__(self, now: Callable[[], float], events: Events) -> None:
        self._now = now
        self._events = events
        self._models: OrderedDict[str, _Expected] = OrderedDict()

    def __len__(self) -> int:
        """Return for how many models clients are expected."""
        return len(self._models)

    def place(self, model: str, client: str, at: float, rate: float) -> int:
        """Return after how many whole seconds a client is to return that could be served `at` a moment.

        `rate` is how many calls a second are permitted.
        """
        now = self._now()
        at, expected = now + max(1, math.ceil(at - now)), self._models.get(model)
        if expected is not None and rate < math.inf:
            at = min(expected.first_free(at, client, rate), max(at, now + int(_FAR) - 1))
        return math.ceil(round(at - now, 3))

    def add(self, model: str, at: float, client: str = "", origin: Origin = Origin.HERE) -> None:
        """Expect a client at this moment, when it was asked to return."""
        now, expected = self._now(), self._models.setdefault(model, _Expected())
        if len(self._models) > _MOST_MODELS:
            self._models.popitem(last=False)  # clients can invent names without end
        if now < at < now + _FAR and len(expected.clients) < _MOST_EXPECTED:
            expected.add(at, client)
            self._events.publish(ReturnExpected(origin, model, at, client, gone=False))

    def remove(self, model: str, at: float) -> None:
        """Stop expecting a client: it has returned, to another process."""
        expected = self._models.get(model)
        if expected:
            place = bisect_left(moments := expected.moments.all, at)
            if place < len(moments) and moments[place] == at:
                expected.remove(place)

    def admit(self, model: str, needed: float, allowed: float, client: str = "") -> bool:
        """Return whether a request that needs to wait so many seconds, of those allowed, may join the queue.

        A request that uses the margin counts as the return of its client, if that is expected now.
        """
        now, expected = self._now(), self._models.get(model)
        if expected is None:
            return needed <= allowed
        moments = expected.moments.all
        while moments and moments[0] < now - _GRACE:
            expected.remove(0)
        if not moments:
            self._models.pop(model, None)
            return needed <= allowed
        if needed <= allowed * (1 - _KEPT_FREE):
            return True
        theirs = expected.by_client.get(client)
        if needed > allowed or not theirs or theirs.all[0] > now:
            return False
        at = expected.remove(expected.clients.index(client))
        self._events.publish(ReturnExpected(Origin.HERE, model, at, client, gone=True))
        return True
