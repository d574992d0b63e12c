"""What is to be written, in bounded memory: kept by the event loop, taken by the storage's thread."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from proxycore.storage.rows import EventRow, Fact, RequestRow
from proxycore.storage.slots import SlotSums
from proxycore.storage.usage import UsageSums

_MOST_REQUESTS = 20_000  # about 20 MB
_MOST_EVENTS = 20_000
_MOST_FACTS = 300_000


@dataclass(slots=True)
class Batch:
    """What is written together. `facts` are by topic, `sums` and `slots` are over requests that the
    log does not get."""

    requests: list[RequestRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    sums: UsageSums = field(default_factory=UsageSums)
    slots: SlotSums = field(default_factory=SlotSums)

    def __bool__(self) -> bool:
        return bool(self.requests or self.events or self.facts or self.sums)


class Pending:
    """Keeps rows until they are taken. `most` is how many requests it keeps.

    `dropped` is how many requests the log will not get.
    """

    def __init__(self, most: int = _MOST_REQUESTS) -> None:
        self.dropped = 0
        self._most = most
        self._requests: deque[RequestRow] = deque()
        self._events: deque[EventRow] = deque(maxlen=_MOST_EVENTS)
        self._facts: dict[Hashable, Callable[[], Fact]] = {}
        self._sums, self._slots = UsageSums(), SlotSums()
        self._lock = threading.Lock()  # of the sums, the slots and `dropped`
        self._unwritten = Batch()  # the thread's

    def request(self, row: RequestRow) -> None:
        """Keep a request; the oldest one goes when there are too many."""
        self._requests.append(row)
        if len(self._requests) > self._most:
            with contextlib.suppress(IndexError):  # they have just been taken
                self._drop([self._requests.popleft()])

    def event(self, row: EventRow) -> None:
        """Keep an event; the oldest one goes when there are too many."""
        self._events.append(row)

    def fact(self, topic: Hashable, make: Callable[[], Fact]) -> None:
        """Keep a fact instead of an older one of its topic. `make` is called when it is taken."""
        if len(self._facts) < _MOST_FACTS:
            self._facts[topic] = make

    def take(self) -> Batch:
        """Return all that is kept, with what was put back. Called by the storage's thread."""
        batch, self._unwritten = self._unwritten, Batch()
        # One by one: meanwhile the event loop may add some.
        with contextlib.suppress(IndexError):
            while True:
                batch.requests.append(self._requests.popleft())
        with contextlib.suppress(IndexError):
            while True:
                batch.events.append(self._events.popleft())
        with contextlib.suppress(KeyError):
            while True:
                _, make = self._facts.popitem()
                fact = make()
                batch.facts[fact.topic] = fact
        self._drop(batch.requests[: -self._most])
        del batch.requests[: -self._most]
        del batch.events[:-_MOST_EVENTS]
        with self._lock:
            sums, self._sums = self._sums, UsageSums()
            slots, self._slots = self._slots, SlotSums()
        batch.sums.merge(sums)
        batch.slots.merge(slots)
        return batch

    def put_back(self, batch: Batch) -> None:
        """Keep what could not be written. Called by the storage's thread."""
        self._unwritten = batch

    def _drop(self, rows: list[RequestRow]) -> None:
        if rows:
            with self._lock:
                self.dropped += len(rows)
                for row in rows:
                    self._sums.add(row)
                    self._slots.add(row)
