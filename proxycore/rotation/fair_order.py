"""The order in which waiters are served: fair between their clients, then by arrival. Pure.

This is start-time fair queueing (Goyal, Vin and Cheng, 1996). Virtual time counts the calls that a client
with weight 1 has had. A waiter starts when the one before it, of the same client, has had its call, which
takes 1/weight of virtual time; it never starts in the past. Who starts first is served first. So clients
that always wait are served in proportion to their weights, and one that wants less than its share hardly
waits, however many requests of others do.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from proxycore.rotation.waiter import Waiter

_IDLE = 256  # clients without a waiter that are remembered, at most: addresses come without end


@dataclass(slots=True)
class _Client:
    """A client: when its next waiter starts, in virtual time, the latest arrival, and how many wait."""

    next_start: float = 0.0
    latest: int = -1
    waiting: int = 0


class FairOrder:
    """The waiters of one queue. `weights` are those of clients by name; it is 1 where none is given.

    `unrestricted` and `restricted` are the waiters in order, for reading only.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.unrestricted: list[Waiter] = []
        self.restricted: list[Waiter] = []
        self._weights = weights
        self._clients: dict[str, _Client] = {}
        self._virtual = 0.0  # the start of the unrestricted waiter that was served last

    def __len__(self) -> int:
        return len(self.unrestricted) + len(self.restricted)

    def __iter__(self) -> Iterator[Waiter]:
        """Iterate over all waiters in order; they may be removed meanwhile."""
        if not self.restricted:
            return iter(self.unrestricted[:])
        return iter(sorted(self.unrestricted + self.restricted, key=_place))

    def add(self, waiter: Waiter) -> None:
        """Add a waiter behind the earlier arrivals of its client."""
        client = self._clients.get(waiter.client)
        if client is None:
            if len(self._clients) >= _IDLE + len(self):
                self._forget_idle()
            client = self._clients[waiter.client] = _Client()
        waiter.start = max(client.next_start, self._virtual)
        client.next_start = waiter.start + 1.0 / self._weights.get(waiter.client, 1.0)
        insort(self._list_of(waiter), waiter, key=_place)
        if client.waiting and waiter.arrival < client.latest:
            self._sort_arrivals(waiter.client)
        else:
            client.latest = waiter.arrival
        client.waiting += 1

    def by_tries(self, tries: int) -> list[Waiter]:
        """Return all waiters in the order in which they get the next try of a search, after so many.

        First those that fewest keys have refused; every fourth time those whose turn it is, since new
        requests that every key refuses must not use up all tries, either.
        """
        return list(self) if tries % 4 == 0 else sorted(self, key=lambda waiter: len(waiter.avoid))

    def ahead(self, waiter: Waiter) -> int:
        """Return how many unrestricted waiters come before this one."""
        return bisect_left(self.unrestricted, _place(waiter), key=_place)

    def serve(self, waiter: Waiter) -> None:
        """Remove a waiter that gets its call."""
        self._list_of(waiter).remove(waiter)
        self._clients[waiter.client].waiting -= 1
        if not waiter.is_restricted:  # others are served when their own keys are ready, out of order
            self._virtual = max(self._virtual, waiter.start)

    def remove(self, waiters: Collection[Waiter]) -> None:
        """Remove waiters that get no call: those behind, of the same client, take their starts."""
        if len(waiters) == 1 and self._remove_last(*waiters):
            return
        gone, names = set(map(id, waiters)), {waiter.client for waiter in waiters}
        theirs = defaultdict[str, list[Waiter]](list)
        for waiter in self:
            if waiter.client in names:
                theirs[waiter.client].append(waiter)
        for name, former in theirs.items():
            starts, kept = [one.start for one in former], [one for one in former if id(one) not in gone]
            for waiter, start in zip(kept, starts, strict=False):
                waiter.start = start
            client = self._clients[name]
            client.next_start, client.waiting = starts[len(kept)], len(kept)
        for some in self.unrestricted, self.restricted:
            some[:] = [waiter for waiter in some if id(waiter) not in gone]
            some.sort(key=_place)

    def _remove_last(self, waiter: Waiter) -> bool:
        """Remove a waiter if it is the last of all, so that none takes its start; returns whether it is."""
        theirs = self._list_of(waiter)
        if theirs[-1] is not waiter or any(
            one.start > waiter.start for one in (*self.unrestricted[-1:], *self.restricted[-1:])
        ):
            return False
        theirs.pop()
        client = self._clients[waiter.client]
        client.next_start, client.waiting = waiter.start, client.waiting - 1
        return True

    def _list_of(self, waiter: Waiter) -> list[Waiter]:
        return self.restricted if waiter.is_restricted else self.unrestricted

    def _sort_arrivals(self, client: str) -> None:
        """Let the earliest arrivals of a client have the first of its starts."""
        theirs = [waiter for waiter in self if waiter.client == client]
        starts = [waiter.start for waiter in theirs]
        for waiter, start in zip(sorted(theirs, key=_arrival), starts, strict=True):
            waiter.start = start
        self.unrestricted.sort(key=_place)
        self.restricted.sort(key=_place)

    def _forget_idle(self) -> None:
        self._clients = {name: client for name, client in self._clients.items() if client.waiting}


_place, _arrival = attrgetter("start", "arrival"), attrgetter("arrival")
