"""The link between the processes of a simulation: stores of updates that follow each other, unless it is cut.

It stands for Redis, or for the sockets of workers: while it is away updates are lost, and once it is back
each side gets what it missed from the others' stores.
"""

import asyncio
from collections.abc import Callable, Sequence

from proxycore.peers.publisher import Publisher
from proxycore.peers.store import Store, Subscriber
from proxycore.peers.update import Update


class Link:
    """Connects processes. `lag` is the seconds that an update takes; `clock` is theirs."""

    def __init__(self, clock: Callable[[], float], lag: float) -> None:
        self._clock = clock
        self._lag = lag
        self._stores: list[tuple[Store, Subscriber]] = []
        self._cut = False

    def join(self) -> Publisher:
        """Return the publisher of one more process."""
        store = Store(self._clock)

        def send(updates: Sequence[Update]) -> None:
            self._send(store, updates)

        store.subscribe(send)
        self._stores.append((store, send))
        return Publisher(store)

    def cut(self) -> None:
        """Lose what is published from now on."""
        self._cut = True

    def mend(self) -> None:
        """Let each process have what it missed, and what is published from now on."""
        self._cut = False
        for store, _ in self._stores:
            self._send(store, store.snapshot())

    def _send(self, sender: Store, updates: Sequence[Update]) -> None:
        if self._cut:
            return
        loop = asyncio.get_running_loop()
        for store, send in self._stores:
            if store is not sender:
                loop.call_later(self._lag, store.publish, updates, send)
