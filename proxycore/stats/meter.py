"""The meter: the counters of this process, and what is under way in it.

Counters add up over processes (`counters`); what is under way is this process's own (`Meter.now`).

    counter           labels
    requests          outcome, key, model family      first_byte, duration   model family (histograms)
    attempts          key, answer                     tokens                 direction, model family
    failovers         key                             client.tokens          client, direction
    benches           key, scope, reason              received, sent, unread
    client.requests   client                          lag                    (a histogram)
    dropped_lines                                     prompt_tokens,
    hedges            result                          cached_tokens          key, model family
    client.refusals   client, limit                   model.requests,
                                                      model.prompt_tokens,
                                                      model.cached_tokens    model
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from proxycore.gemini.token_usage import TokenUsage
from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.rotation.bench import BenchPlace
from proxycore.rotation.events import BenchBegan, RequestBlamed
from proxycore.rotation.hedging import HedgeResult
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key
from proxycore.stats.counters import Counters
from proxycore.stats.history import FIRST_BYTE_BOUNDS, History
from proxycore.stats.model_labels import NONE, OTHER, ModelLabels, ModelNames
from proxycore.stats.open_requests import longest_wait, stream_json

DURATION_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds: the buckets of whole requests."""

LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
"""Seconds: the buckets of the event loop's lag."""

MOST_STREAMS = 200
"""Streams that are listed one by one."""

MOST_JUDGEMENTS = 20
"""The latest requests found to be at fault that are kept."""

_MOST_MODELS = 64  # that were asked for last: clients can invent names without end
_LAG_INTERVAL = 0.5  # seconds between two measurements of the event loop's lag
_FIRST_BYTES_OF_KEY, _FIRST_BYTES = 8, 64  # the latest times to first byte that are kept
_MOST_REASONS = 64
_NAMED_CODES = {400, 401, 403, 404, 429}
_REFUSALS = {"401", "403", "429"}


@dataclass(slots=True)
class _Use:
    """The latest use of a key. `last` is a moment of the clock."""

    last: float = 0.0
    first_bytes: deque[float] = field(default_factory=lambda: deque(maxlen=_FIRST_BYTES_OF_KEY))


@dataclass(slots=True)
class Demand:
    """When clients last asked for a model, and were last served by it. Moments of the clock."""

    asked_at: float
    served_at: float = float("-inf")


class Meter:
    """Counts requests, attempts and key events of this process. `clock` returns the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counters = Counters()
        self.started = clock()
        self._gauges: dict[str, Callable[[], int]] = {}
        self._registered: dict[str, Callable[[], int]] = {}
        self._counted: dict[str, int] = {}  # how much of those the counters have
        self._clock = clock
        self._history = History(self.counters, clock)
        self._families = ModelLabels()
        self._models = ModelNames()
        self._reasons: set[str] = set()
        self._open: dict[AccessRecord, None] = {}  # in order of arrival
        self._uses: dict[Key, _Use] = {}
        self._demands: dict[str, Demand] = {}  # by model; the last one was asked for last
        self._seen: dict[str, float] = {}  # client -> when
        self._first_bytes: deque[float] = deque(maxlen=_FIRST_BYTES)
        self._judgements: deque[Judgement] = deque(maxlen=MOST_JUDGEMENTS)

    def register(
        self, *, gauges: Mapping[str, Callable[[], int]], counters: Mapping[str, Callable[[], int]]
    ) -> None:
        """Read these numbers of other parts as well, from now on.

        `gauges` return present values, by their names in `now`; `counters` return totals since the start, by
        the counter's name.
        """
        self._gauges.update(gauges)
        self._registered.update(counters)

    # Requests.

    def opened(self, record: AccessRecord) -> None:
        """Count a request among those under way, once its client may use the proxy."""
        self._open[record] = None
        self._seen[record.client] = record.since

    def closed(self, record: AccessRecord, outcome: str, seconds: float) -> None:
        """Count a request that ended after so many seconds, whether it was opened or not."""
        self._open.pop(record, None)
        self._count_bytes(record)
        family = self._families.of(record.model)
        self.counters.add("requests", outcome, _key_of(record), family)
        self.counters.add("client.requests", record.client)
        self.counters.measure("duration", DURATION_BOUNDS, seconds, family)
        self._history.ended(record, outcome)
        if record.model and _is_demand(record, outcome):
            self.counters.add("model.requests", self._models.of(record.model))
            self._note_demand(record.model, record.since + seconds, served=outcome == RequestOutcome.SERVED)

    def first_byte(self, record: AccessRecord) -> None:
        """Count the time to first byte of a response to a client."""
        seconds = record.first_byte or 0.0
        self.counters.measure("first_byte", FIRST_BYTE_BOUNDS, seconds, self._families.of(record.model))
        self._history.first_byte(record, seconds)
        self._first_bytes.append(seconds)

    def used(self, record: AccessRecord, usage: TokenUsage) -> None:
        """Count the tokens that a response reports."""
        key, family = _key_of(record), self._families.of(record.model)
        for direction, count in (("input", usage.input), ("output", usage.output)):
            if count:
                self.counters.add("tokens", direction, family, n=count)
                self.counters.add("client.tokens", record.client, direction, n=count)
        if usage.input:
            self.counters.add("prompt_tokens", key, family, n=usage.input)
            self.counters.add("model.prompt_tokens", self._models.of(record.model), n=usage.input)
        if usage.cached:
            self.counters.add("cached_tokens", key, family, n=usage.cached)
            self.counters.add("model.cached_tokens", self._models.of(record.model), n=usage.cached)

    def limited(self, record: AccessRecord, limit: str) -> None:
        """Count a request that was refused for a limit of its client."""
        self.counters.add("client.refusals", record.client, limit)

    def unread(self) -> None:
        """Count a response whose tokens could not be read."""
        self.counters.add("unread")

    # Attempts.

    def attempted(self, key: Key, answer: int | str, seconds: float | None = None) -> None:
        """Count a call that ended with a status, or with a word for what happened instead.

        `seconds` is the time until the head of its response, None if it was not served.
        """
        word = answer if isinstance(answer, str) else _word(answer)
        self.counters.add("attempts", key.name, word)
        use = self._use(key)
        use.last = self._clock()
        if seconds is not None:
            use.first_bytes.append(seconds)
        if word in _REFUSALS:
            self._history.refusal()

    def failed_over(self, key: Key) -> None:
        """Count a request that goes on with another key after this one."""
        self.counters.add("failovers", key.name)

    def hedged(self, result: HedgeResult) -> None:
        """Count a hedge: a second attempt of a late request."""
        self.counters.add("hedges", result)

    def benched(self, event: BenchBegan) -> None:
        """Count a new bench or retirement."""
        reason = event.bench.reason
        if reason not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            reason = OTHER  # they are the upstream's own words
        self._reasons.add(reason)
        scope = "key" if event.place is BenchPlace.WHOLE else event.place.value
        self.counters.add("benches", event.key.name, scope, reason)

    def judged(self, event: RequestBlamed) -> None:
        """Keep the judgement on a request that was found to be at fault for its refusals."""
        self._judgements.append(event.judgement)

    def keep(self, keys: Collection[Key]) -> None:
        """Forget the uses of all other keys: they were removed."""
        for gone in self._uses.keys() - set(keys):
            del self._uses[gone]

    # Reading.

    @property
    def demands(self) -> Mapping[str, Demand]:
        """The models that clients asked for last. What is the client's own mistake is no demand."""
        return self._demands

    @property
    def sessions(self) -> int:
        """How many Live sessions are under way."""
        return sum(record.kind == "live" for record in self._open)

    def catch_up(self) -> None:
        """Bring the counters up to date: bytes of requests under way, and the counters of other parts."""
        for record in self._open:
            self._count_bytes(record)
        for name, counter in self._registered.items():
            count = counter()
            if fresh := count - self._counted.get(name, 0):
                self.counters.add(name, n=fresh)
                self._counted[name] = count

    def now(self) -> dict[str, Any]:
        """Return what is under way as JSON. Times are moments of the clock that a host's processes share."""
        now, streams = self._clock(), [record for record in self._open if record.kind]
        by_client = Counter(record.client for record in self._open)
        return {name: gauge() for name, gauge in self._gauges.items()} | {
            "started": self.started,
            "running": len(self._open),
            "open": {"streams": len(streams) - self.sessions, "live": self.sessions},
            "streams": [stream_json(record, now) for record in streams[:MOST_STREAMS]],
            "longest_wait": longest_wait(self._open),
            "clients": {name: [seen, by_client[name]] for name, seen in self._seen.items()},
            "keys": {key.name: [use.last, _rounded(use.first_bytes)] for key, use in self._uses.items()},
            "asked": {model: demand.asked_at for model, demand in self._demands.items()},
            "served": {
                model: demand.served_at for model, demand in self._demands.items() if demand.served_at > 0
            },
            "first_bytes": _rounded(self._first_bytes),
            "judgements": [asdict(judgement) for judgement in self._judgements],
        }

    async def watch_loop(self) -> None:
        """Measure the event loop's lag again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            self.counters.measure("lag", LAG_BOUNDS, max(0.0, loop.time() - due))

    def _use(self, key: Key) -> _Use:
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use()
        return use

    def _note_demand(self, model: str, now: float, *, served: bool) -> None:
        demand = self._demands.pop(model, None) or Demand(now)
        demand.asked_at = now
        if served:
            demand.served_at = now
        self._demands[model] = demand
        if len(self._demands) > _MOST_MODELS:
            del self._demands[next(iter(self._demands))]

    def _count_bytes(self, record: AccessRecord) -> None:
        received, sent = record.received_bytes, record.sent_bytes
        if fresh := received - record.counted_received:
            self.counters.add("received", n=fresh)
        if fresh := sent - record.counted_sent:
            self.counters.add("sent", n=fresh)
        record.counted_received, record.counted_sent = received, sent


def _key_of(record: AccessRecord) -> str:
    return record.key if record.key != "-" else NONE


def _is_demand(record: AccessRecord, outcome: str) -> bool:
    if outcome == RequestOutcome.LEFT:
        return not record.attempts  # the client left while it waited for a key
    return outcome != RequestOutcome.CLIENT_ERROR


def _word(status: int) -> str:
    return str(status) if status in _NAMED_CODES else f"{status // 100}xx"


def _rounded(times: Iterable[float]) -> list[float]:
    return [round(seconds, 3) for seconds in times]
