"""The store: the newest updates, so that a process that starts knows what the others know. Pure."""

from collections.abc import Callable, Iterable, Sequence

from proxycore.peers.update import Update

_CAPACITY = 300_000  # updates; one takes about 500 bytes

Subscriber = Callable[[Sequence[Update]], None]
"""A function that is called with new updates."""


class Store:
    """Keeps the newest update of each topic, and passes new ones on to its subscribers.

    `clock` returns the moment, in seconds. An update that ends a fact is kept as well:
    an older one of the same topic may still arrive.
    """

    def __init__(self, clock: Callable[[], float], capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._updates: dict[tuple[str, str, str], Update] = {}
        self._sweep_at = 1000
        self._subscribers: list[Subscriber] = []

    def publish(self, updates: Iterable[Update], source: Subscriber | None = None) -> None:
        """Keep the updates that are new, and pass them on to all subscribers but the `source`."""
        now = self._clock()
        fresh = [update for update in updates if self._keep(update, now)]
        for subscriber in self._subscribers if fresh else ():
            if subscriber != source:  # bound methods are equal, not the same
                subscriber(fresh)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Pass new updates on to a subscriber from now on."""
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Pass no more updates on to a subscriber; it need not be subscribed."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def snapshot(self) -> list[Update]:
        """Return all updates that hold, in the order in which they were found."""
        now = self._clock()
        held = [update for update in self._updates.values() if update.until > now]
        return sorted(held, key=lambda update: update.stamp)

    def _keep(self, update: Update, now: float) -> bool:
        known = self._updates.get(update.topic)
        if update.until <= now or (known and known.stamp >= update.stamp):
            return False
        self._updates[update.topic] = update
        if len(self._updates) > self._sweep_at:
            self._sweep(now)
        return True

    def _sweep(self, now: float) -> None:
        self._updates = {topic: update for topic, update in self._updates.items() if update.until > now}
        if len(self._updates) > self._capacity:
            keep = sorted(self._updates.values(), key=lambda update: update.stamp)[self._capacity // 10 :]
            self._updates = {update.topic: update for update in keep}
        self._sweep_at = min(2 * len(self._updates) + 1000, self._capacity + 1000)
