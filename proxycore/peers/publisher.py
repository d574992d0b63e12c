"""The publisher: publishes what this process finds, and applies what other processes publish.

Every process has a store of its own; `worker_link` and `replicas` keep it like those of other processes.
All updates of one turn of the event loop are published together, and nobody waits for it.
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
        """Applies all updates that the store holds, and from now on the new ones of others."""
        self._apply = apply
        self._store.subscribe(apply)
        apply(self._store.snapshot())

    def publish(self, update: Update) -> None:
        """Publishes it when this turn of the event loop is over."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self.flush)
        self._pending.append(update)

    def snapshot(self) -> list[Update]:
        """All updates that hold, in the order in which they were found."""
        return self._store.snapshot()

    def flush(self) -> None:
        """Publishes at once what is still to be published."""
        pending, self._pending = self._pending, []
        self._store.publish(pending, self._apply)

    def close(self) -> None:
        """Publishes what is still to be published, and applies no more."""
        self.flush()
        if self._apply:
            self._store.unsubscribe(self._apply)
