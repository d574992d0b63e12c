"""The publisher: publishes what this process finds, and applies what other processes publish.

Every process has a store of its own; `worker_link` and `redis_link` synchronise it with those of others. All
updates of one turn of the event loop are published together, in the background.
"""

import asyncio

from proxycore.peers.store import Store, Subscriber
from proxycore.peers.update import Update


class Publisher:
    """Publishes to a store, and applies what others publish there. Belongs to the running event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._apply: Subscriber | None = None
        self._pending: list[Update] = []

    def start(self, apply: Subscriber) -> None:
        """Apply all updates that the store holds, and from now on the new ones of others."""
        self._apply = apply
        self._store.subscribe(apply)
        apply(self._store.snapshot())

    def publish(self, update: Update) -> None:
        """Publish an update when this turn of the event loop is over."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self.flush)
        self._pending.append(update)

    def snapshot(self) -> list[Update]:
        """Return all updates that hold, in the order in which they were found."""
        return self._store.snapshot()

    def flush(self) -> None:
        """Publish pending updates at once."""
        pending, self._pending = self._pending, []
        self._store.publish(pending, self._apply)

    def close(self) -> None:
        """Publish pending updates, and apply no more."""
        self.flush()
        if self._apply:
            self._store.unsubscribe(self._apply)
