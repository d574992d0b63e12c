"""The meter: counts what happens in this process, and knows what is under way in it.

What is counted adds up over processes (`tally`); what is under way is this process's own (`Meter.now`).

    tally name        labels
    requests          outcome, key, model family      first_byte, duration   model family (measured)
    attempts          key, answer                     tokens                 direction, model family
    failovers         key                             client.tokens          client, direction
    benches           key, scope, reason              received, sent, unread
    client.requests   client                          lag                    (measured)
    dropped_lines
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from proxycore.bench import BenchPlace
from proxycore.events import BenchBegan, RequestBlamed
from proxycore.family import NONE, OTHER, Families
from proxycore.history import FIRST_BYTE_BOUNDS, History
from proxycore.judgement import Judgement
from proxycore.key import Key
from proxycore.record import Record
from proxycore.tally import Tally
from proxycore.usage import Usage

DURATION_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds: the buckets of whole requests."""

LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
"""Seconds: the buckets of the event loop's lag."""

MOST_STREAMS = 200
"""Streams that are told one by one."""

MOST_JUDGEMENTS = 20
"""Requests found to be at fault that are remembered, the latest."""

_PULSE = 0.5  # seconds between two looks at the event loop's lag
_FEW, _SOME = 8, 64  # latest times to first byte that are kept of a key, and of all
_MOST_REASONS = 64
_NAMED_CODES = {400, 401, 403, 404, 429}
_REFUSALS = {"401", "403", "429"}


@dataclass(slots=True)
class _Use:
    """What was lately seen of a key. `last` is a moment of the clock."""

    last: float = 0.0
    first_bytes: deque[float] = field(default_factory=lambda: deque(maxlen=_FEW))


class Meter:
    """Is told of everything. `clock` tells the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.tally = Tally()
        self.gauges: dict[str, Callable[[], int]] = {}  # what others know of the present
        self.counters: dict[str, Callable[[], int]] = {}  # what others have counted, by its tally name
        self._counted: dict[str, int] = {}  # how much of that the tally has
        self.started = clock()
        self._clock = clock
        self._history = History(self.tally, clock)
        self._families = Families()
        self._reasons: set[str] = set()
        self._open: dict[Record, None] = {}  # in order of arrival
        self._uses: dict[str, _Use] = {}
        self._seen: dict[str, float] = {}  # client -> when
        self._first_bytes: deque[float] = deque(maxlen=_SOME)
        self._judgements: deque[Judgement] = deque(maxlen=MOST_JUDGEMENTS)

    # Requests.

    def opened(self, record: Record) -> None:
        """A request may come in."""
        self._open[record] = None
        self._seen[record.client] = record.since

    def closed(self, record: Record, outcome: str, seconds: float) -> None:
        """A request has ended after so many seconds, opened before or not."""
        self._open.pop(record, None)
        self._count_bytes(record)
        family = self._families.of(record.model)
        key = record.key if record.key != "-" else NONE
        self.tally.add("requests", outcome, key, family)
        self.tally.add("client.requests", record.client)
        self.tally.measure("duration", DURATION_BOUNDS, seconds, family)
        self._history.request()

    def first_byte(self, record: Record) -> None:
        """An answer of the upstream has begun to go to the client."""
        seconds = record.first_byte or 0.0
        self.tally.measure("first_byte", FIRST_BYTE_BOUNDS, seconds, self._families.of(record.model))
        self._history.first_byte(seconds)
        self._first_bytes.append(round(seconds, 3))

    def used(self, record: Record, usage: Usage) -> None:
        """An answer told what it took."""
        family = self._families.of(record.model)
        for direction, count in (("input", usage.input), ("output", usage.output)):
            if count:
                self.tally.add("tokens", direction, family, n=count)
                self.tally.add("client.tokens", record.client, direction, n=count)

    def unread(self) -> None:
        """An answer was compressed, so that it is not known what it took."""
        self.tally.add("unread")

    # Attempts.

    def attempted(self, key: Key, answer: int | str) -> None:
        """A call with a key ended: with a status, or in a word."""
        word = answer if isinstance(answer, str) else _word(answer)
        self.tally.add("attempts", key.name, word)
        self._use(key).last = self._clock()
        if word in _REFUSALS:
            self._history.refusal()

    def answered(self, key: Key, seconds: float) -> None:
        """A call with a key was served, its head came after so many seconds."""
        self._use(key).first_bytes.append(round(seconds, 3))

    def failed_over(self, key: Key) -> None:
        """A request goes on with another key."""
        self.tally.add("failovers", key.name)

    def benched(self, event: BenchBegan) -> None:
        """A new bench, or retirement."""
        reason = event.bench.reason
        if reason not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            reason = OTHER  # they are the upstream's own words
        self._reasons.add(reason)
        scope = "key" if event.place is BenchPlace.WHOLE else event.place.value
        self.tally.add("benches", event.key.name, scope, reason)

    def judged(self, event: RequestBlamed) -> None:
        """A request was found to be at fault for what keys refused."""
        self._judgements.append(event.judgement)

    # What others ask.

    @property
    def sessions(self) -> int:
        """How many Live sessions are under way."""
        return sum(record.kind == "live" for record in self._open)

    def catch_up(self) -> None:
        """Counts the bytes of what is under way, and what others have counted."""
        for record in self._open:
            self._count_bytes(record)
        for name, counter in self.counters.items():
            count = counter()
            if fresh := count - self._counted.get(name, 0):
                self.tally.add(name, n=fresh)
                self._counted[name] = count

    def now(self) -> dict[str, Any]:
        """What is under way, as JSON has it. Times are moments of the clock that a host's processes share."""
        streams = [record for record in self._open if record.kind]
        by_client = Counter(record.client for record in self._open)
        return {name: gauge() for name, gauge in self.gauges.items()} | {
            "started": self.started,
            "running": len(self._open),
            "open": {"streams": len(streams) - self.sessions, "live": self.sessions},
            "streams": [_stream(record) for record in streams[:MOST_STREAMS]],
            "clients": {name: [seen, by_client[name]] for name, seen in self._seen.items()},
            "keys": {name: [use.last, list(use.first_bytes)] for name, use in self._uses.items()},
            "first_bytes": list(self._first_bytes),
            "judgements": [asdict(judgement) for judgement in self._judgements],
        }

    async def watch_loop(self) -> None:
        """Measures how late the event loop is, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PULSE
            await asyncio.sleep(_PULSE)
            self.tally.measure("lag", LAG_BOUNDS, max(0.0, loop.time() - due))

    def _use(self, key: Key) -> _Use:
        return self._uses.setdefault(key.name, _Use())

    def _count_bytes(self, record: Record) -> None:
        received, sent = record.received_bytes, record.sent_bytes
        if fresh := received - record.counted_received:
            self.tally.add("received", n=fresh)
        if fresh := sent - record.counted_sent:
            self.tally.add("sent", n=fresh)
        record.counted_received, record.counted_sent = received, sent


def _word(status: int) -> str:
    return str(status) if status in _NAMED_CODES else f"{status // 100}xx"


def _stream(record: Record) -> dict[str, Any]:
    return {
        "id": record.request_id,
        "kind": record.kind,
        "client": record.client,
        "key": record.key,
        "model": record.model,
        "since": record.since,
        "sent_bytes": record.sent_bytes,
    }
