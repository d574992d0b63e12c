"""The load: plain requests in a closed loop, and many streams of server-sent events.

Everything that comes back is checked, byte for byte or event by event: a proxy that loses something shows up
as broken and not as fast. Every function ends within the seconds that it was given, and a few.
"""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.client import Client, Target
from tests.bench.machine import Sample
from tests.bench.upstream import ANSWER, EVENT_NUMBER, EVENT_SIZE, EVENT_TIME

OPENING_AT_ONCE = 32  # streams that may wait for their first event at the same time


@dataclass
class PlainTally:
    """What became of plain requests, counted by all clients together."""

    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    over: bool = False


class _PlainClient(Client):
    """One connection that asks again as soon as it is answered, and connects again when it was closed."""

    def __init__(self, target: Target, tally: PlainTally) -> None:
        super().__init__(target, target.plain())
        self._tally = tally
        self._body = b""

    async def stay_connected(self) -> None:
        """Connect; keep trying while that fails."""
        while not self._tally.over:
            try:
                await self.connect()
            except OSError:
                self._tally.errors["could not connect"] += 1
                await asyncio.sleep(0.05)
            else:
                break

    def data_received(self, data: bytes) -> None:
        """Count the answer once it is whole, and ask again."""
        answer = self._answer
        self._body += answer.feed(data)
        if answer.done:
            self._count()
            if answer.kept_alive:
                self._send()
            elif self._transport:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name that asyncio calls
        """Come back, unless it is over."""
        if self._tally.over:
            return
        if not self._answer.done:
            self._answer.end()
            self._count()
        self._reconnecting = self._loop.create_task(self.stay_connected())

    def _count(self) -> None:
        if self._answer.done and self._answer.status == 200 and self._body == ANSWER:
            self._tally.answered += 1
        elif not self._answer.done:
            self._tally.errors["cut before the end"] += 1
        elif self._answer.status != 200:
            self._tally.errors[f"status {self._answer.status}"] += 1
        else:
            self._tally.errors["wrong body"] += 1
        self._body = b""


@dataclass(frozen=True)
class PlainResult:
    """Requests answered between two samples, and all errors."""

    answered: int
    errors: Counter[str]
    before: Sample
    after: Sample


async def plain(
    target: Target, connections: int, *, warm: float, seconds: float, meter: Callable[[], Sample]
) -> PlainResult:
    """Keep `connections` busy for `warm` seconds, then for the `seconds` that count."""
    tally = PlainTally()
    clients = [_PlainClient(target, tally) for _ in range(connections)]
    connecting = [asyncio.create_task(client.stay_connected()) for client in clients]
    await asyncio.sleep(warm)
    answered, before = tally.answered, meter()
    await asyncio.sleep(seconds)
    answered, after = tally.answered - answered, meter()
    tally.over = True
    for client in clients:
        client.leave()
    await asyncio.wait(connecting, timeout=1)
    return PlainResult(answered, tally.errors, before, after)


@dataclass
class StreamTally:
    """Events of all streams together. `delays` in nanoseconds, kept while `counting`."""

    events: int = 0
    counting: bool = False
    delays: "array[int]" = field(default_factory=lambda: array("q"))


class _StreamClient(Client):
    """One stream, checked event by event."""

    def __init__(self, target: Target, events: int, gap: float, tally: StreamTally) -> None:
        super().__init__(target, target.stream(events, gap))
        self._events, self._tally = events, tally
        self._body = b""
        self.received = 0
        self.opened = asyncio.Event()  # set as well when it never will be
        self.finished = asyncio.Event()
        self.outcome = "not over in time"

    def data_received(self, data: bytes) -> None:
        """Take the events that are whole."""
        now = time.monotonic_ns()
        body = self._body + self._answer.feed(data)
        if self._answer.status != 200:
            if self._answer.status:
                self.finish(f"status {self._answer.status}")
            return
        start, end = 0, len(body) - EVENT_SIZE
        while start <= end:
            event = body[start : start + EVENT_SIZE]
            if not event.startswith(b"data: ") or event[EVENT_NUMBER] != b"%06d" % self.received:
                self.finish("wrong event")
                return
            self.received += 1
            if self._tally.counting:
                self._tally.events += 1
                self._tally.delays.append(now - int(event[EVENT_TIME]))
            start += EVENT_SIZE
        self._body = body[start:]
        if self.received:
            self.opened.set()
        if self._answer.done:
            self.finish("whole" if self.received == self._events and not self._body else "ended short")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name that asyncio calls
        """A stream that ends with its connection may still be whole: a proxy may answer without chunks."""
        if not self.finished.is_set():
            self._answer.end()
            self.finish("whole" if self._answer.done and self.received == self._events else "cut")

    def finish(self, outcome: str) -> None:
        """Note how it ended, the first time, and hang up."""
        if not self.finished.is_set():
            self.outcome = outcome
            self.opened.set()
            self.finished.set()
            self.leave()


@dataclass(frozen=True)
class StreamsResult:
    """What came of streams that were opened together; `delays` are sorted nanoseconds."""

    asked: int
    opened: int
    outcomes: Counter[str]
    events: int
    delays: list[int]
    before: Sample
    after: Sample

    @property
    def errors(self) -> Counter[str]:
        """Every way to end but the right one."""
        return Counter({outcome: number for outcome, number in self.outcomes.items() if outcome != "whole"})


async def _open(clients: list[_StreamClient], seconds: float, limit: float) -> None:
    """Open streams spread over `seconds`; give up on those that do not open within `limit` seconds in all."""
    turn = asyncio.Semaphore(OPENING_AT_ONCE)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def open_one(number: int, client: _StreamClient) -> None:
        await asyncio.sleep(began + seconds * number / len(clients) - loop.time())
        async with turn:
            try:
                await client.connect()
            except OSError:
                client.finish("could not connect")
            await client.opened.wait()

    opening = [asyncio.create_task(open_one(*each)) for each in enumerate(clients)]
    _, late = await asyncio.wait(opening, timeout=limit)
    for task in late:
        task.cancel()
    await asyncio.gather(*opening, return_exceptions=True)


async def streams(
    target: Target,
    number: int,
    *,
    gap: float,
    ramp: float,
    warm: float,
    seconds: float,
    meter: Callable[[], Sample],
) -> StreamsResult:
    """Run `number` streams of an event every `gap` seconds to their end, measuring `seconds` while all run.

    They are opened over `ramp` seconds, and the window begins `warm` seconds later whatever happened, so that
    an overloaded proxy is measured as it is then.
    """
    spare, grace = 0.5, 4.0  # events after the window; patience with the last of them
    tally = StreamTally()
    events = round((ramp + warm + seconds + spare) / gap)
    clients = [_StreamClient(target, events, gap, tally) for _ in range(number)]
    opening = asyncio.create_task(_open(clients, ramp, limit=ramp + warm + seconds))
    await asyncio.sleep(ramp + warm)
    before, tally.counting = meter(), True
    await asyncio.sleep(seconds)
    after, tally.counting = meter(), False
    await opening
    finishing = [asyncio.create_task(client.finished.wait()) for client in clients]
    _, late = await asyncio.wait(finishing, timeout=ramp + spare + grace)
    for task in late:
        task.cancel()
    return _leave(clients, tally, before, after)


async def hold(
    target: Target, number: int, *, gap: float, ramp: float, seconds: float, meter: Callable[[], Sample]
) -> StreamsResult:
    """Hold `number` streams open for `seconds`, an event every `gap` seconds; whole are those that moved.

    The samples are taken before the first is opened and while all are open.
    """
    tally = StreamTally(counting=True)
    clients = [_StreamClient(target, 999_999, gap, tally) for _ in range(number)]
    before = meter()
    await _open(clients, ramp, limit=ramp + 10)
    received = [client.received for client in clients]
    await asyncio.sleep(seconds)
    after = meter()
    for client, earlier in zip(clients, received, strict=True):
        if not client.finished.is_set() and client.received:
            client.outcome = "whole" if client.received > earlier else "stalled"
    return _leave(clients, tally, before, after)


def _leave(clients: list[_StreamClient], tally: StreamTally, before: Sample, after: Sample) -> StreamsResult:
    outcomes = Counter(
        client.outcome if client.received else f"no event: {client.outcome}" for client in clients
    )
    opened = sum(client.received > 0 for client in clients)
    for client in clients:
        client.finish("left")
    return StreamsResult(len(clients), opened, outcomes, tally.events, sorted(tally.delays), before, after)
