"""Publishes what clients with limits have used, so that it outlives a restart and every process can show it.

A host without Redis publishes what it counts under the name `-`, and counts that again after a restart. With
Redis every host publishes its part under a name of its own; Redis itself has the sum.
"""

import asyncio
from collections.abc import Callable, Sequence

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY
from proxycore.peers.store import Store
from proxycore.peers.update import Update, UpdateKind
from proxycore.rotation.bench import end_of_day
from proxycore.stats.limits.client_limits import Period
from proxycore.stats.limits.ledger import Ledger

ALONE = "-"
"""The name under which a host without Redis publishes."""

_INTERVAL = 0.5  # seconds
_LONGEST = 2 * DAY  # seconds for which an update holds


class LimitFacts:
    """Publishes the changes of `ledger` in `store`, and applies what an earlier process has published.

    `host` returns the name under which it publishes.
    """

    def __init__(self, ledger: Ledger, store: Store, host: Callable[[], str], clock: Clock) -> None:
        self._ledger = ledger
        self._store = store
        self._host = host
        self._clock = clock

    def start(self) -> None:
        """Apply what the store holds, and what comes into it from now on."""
        self._store.subscribe(self.apply)
        self.apply(self._store.snapshot())

    async def run(self) -> None:
        """Publish changes again and again, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            self.publish_changes()

    def publish_changes(self) -> None:
        """Publish the accounts that have changed."""
        now, host = self._clock(), self._host()
        until = now + _LONGEST
        updates = [
            Update(UpdateKind.LIMIT, "", f"{host} {client}", counts, now, until, tuple(moments))
            for client, (counts, moments) in self._ledger.changes()
        ]
        self._store.publish(updates, self.apply)

    def apply(self, updates: Sequence[Update]) -> None:
        """Count what was published by a host without Redis. Malformed updates are skipped."""
        for update in updates:
            host, _, client = update.about.partition(" ")
            if update.kind == UpdateKind.LIMIT and host == ALONE:
                try:
                    self._ledger.restore(client, update.value, update.moments)
                except (TypeError, ValueError):
                    continue  # another version of this program, perhaps


class SeenUse:
    """What the clients with limits have used, as it was published in `store`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._facts: dict[str, dict[str, Update]] = {}  # by client and host
        store.subscribe(self.apply)
        self.apply(store.snapshot())

    def apply(self, updates: Sequence[Update]) -> None:
        """Note what was published."""
        for update in updates:
            if update.kind == UpdateKind.LIMIT:
                host, _, client = update.about.partition(" ")
                self._facts.setdefault(client, {})[host] = update

    def of(self, client: str) -> dict[str, int]:
        """What a client has used of each rate on all hosts, by its topic."""
        used: dict[str, int] = {}
        for update in self._facts.get(client, {}).values():
            try:
                self._add(update, used)
            except (StopIteration, TypeError, ValueError):
                continue  # another version of this program, perhaps
        return used

    def _add(self, update: Update, used: dict[str, int]) -> None:
        moments, now = iter(update.moments), self._clock()
        for topic, counts in update.value:
            period = Period(topic.partition("/")[2])
            for count in counts:
                at = next(moments)
                ends = end_of_day(at, self._clock) if period is Period.DAY else at + period.seconds
                if at <= now < ends:
                    used[topic] = used.get(topic, 0) + count
