"""The link to the state file: the disk is one more peer, which a process that starts later learns from.

It keeps every update but those of single calls, of which there are as many as requests and which expire
within minutes. The file has times by the wall clock, since the moments of another start are others. What was
learned from one upstream says nothing about another, such as a mock.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from proxycore.clock import Clock
from proxycore.peers.store import Store
from proxycore.peers.update import Update, UpdateKind, decode_all, fingerprint
from proxycore.storage.rows import EventRow, Fact, RequestRow
from proxycore.storage.storage import Storage

_LENGTH = 8  # of an upstream's fingerprint: few have more than two
_EARLY = 1.0  # seconds by which an update may seem to be found before it was


class DiskLink:
    """The link of `store` to the state file of `storage`. `clock` is the store's.

    `upstream` is the URL of the upstream that the facts are about.
    """

    def __init__(self, storage: Storage, store: Store, clock: Clock, upstream: str = "") -> None:
        self.storage = storage
        self._store = store
        self._clock = clock
        self._upstream = fingerprint(upstream)[:_LENGTH] + " "

    async def start(self) -> None:
        """Open the file and publish what it holds; from now on keep what is published.

        Waits two seconds at most. A file that can't be used is logged; once it can be, it gets what the store
        holds then.
        """
        self._store.subscribe(self._keep)
        await self.storage.start(self._opened)

    async def close(self) -> None:
        """Keep what was published, and close the file."""
        self._store.unsubscribe(self._keep)
        await self.storage.close()

    def keep_rows(self, requests: Iterable[RequestRow], events: Iterable[EventRow]) -> None:
        """Keep rows of requests that have ended, and of events."""
        for event in events:  # before the requests that caused them, so that those are never without
            self.storage.put_event(event)
        for request in requests:
            self.storage.put_request(request)

    def _opened(self, facts: list[Fact]) -> None:
        lines = (fact.line for fact in facts if fact.topic.startswith(self._upstream))
        updates = [self._by_our_clock(update) for update in decode_all(lines)]
        self._store.publish(updates, self._keep)
        self._keep(self._store.snapshot())  # the file may be a new one

    def _keep(self, updates: Sequence[Update]) -> None:
        for update in updates:
            if update.kind is not UpdateKind.CALL:
                self.storage.put_fact(update.topic, partial(self._fact, update))

    def _fact(self, update: Update) -> Fact:
        """In the storage's thread: an update that is replaced within a second need not be written down."""
        by_wall = update.moved(self._clock.to_wall(0.0))
        return Fact(self._upstream + ":".join(update.topic), by_wall.encode(), by_wall.stamp, by_wall.until)

    def _by_our_clock(self, update: Update) -> Update:
        update = update.moved(-self._clock.to_wall(0.0))
        # Nothing was found in the future: the wall clock was set back since.
        early = update.stamp - self._clock()
        return update.moved(-early) if early > _EARLY else update
