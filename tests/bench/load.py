"""The load: plain requests in a closed loop, and streams of server-sent events that stay open.

Everything that comes back is checked, byte for byte or event by event: a proxy that loses something shows up
as broken and not as fast.
"""

import asyncio
import statistics
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.client import PLAIN, Client, stream_of
from tests.bench.machine import Meter, Sample, ServerError
from tests.bench.upstream import ANSWER, EVENT_BEGIN, EVENT_END, EVENT_NUMBER, EVENT_SIZE, EVENT_TIME

_OPENING_AT_ONCE = 32  # streams that may wait for their first event at the same time
_PATIENCE = 30.0  # seconds for a stream to open, for anything to be done, or for the last answers


@dataclass(frozen=True)
class Slice:
    """What was done in one measured time, what it took, and what went wrong.

    `delay` is the median time of an event on its way, in seconds; 0 for plain requests.
    """

    done: int
    used: Sample
    errors: Counter[str]
    delay: float = 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds for each request or event."""
        return self.used.cpu / self.done

    @property
    def rate(self) -> float:
        """Requests or events a second."""
        return self.done / self.used.at

    @property
    def others(self) -> float:
        """The share of the core that was used by anything but the proxy."""
        return max(self.used.others / self.used.at, 0.0)


@dataclass
class Tally:
    """Plain requests answered to all clients together, and what became of the others."""

    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    over: bool = False


class _PlainClient(Client):
    """One connection that asks again as soon as it is answered, and connects again when it was closed."""

    def __init__(self, port: int, tally: Tally) -> None:
        super().__init__(port, PLAIN)
        self._tally = tally
        self._body = b""
        self.finished = asyncio.Event()

    async def stay_connected(self) -> None:
        """Connect; keep trying while that fails."""
        while not self._tally.over:
            try:
                await self.connect()
            except OSError:
                self._tally.errors["could not connect"] += 1
                await asyncio.sleep(0.05)
            else:
                return
        self.finished.set()

    def data_received(self, data: bytes) -> None:
        """Count the answer once it is whole, and ask again."""
        answer = self._answer
        self._body += answer.feed(data)
        if answer.done:
            self._count()
            if answer.kept_alive and not self._tally.over:
                self._send()
            else:
                self.leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name that asyncio calls
        """Come back, unless it is over."""
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


async def plain(port: int, connections: int, *, warm: float, seconds: float, meter: Meter) -> Slice:
    """Keep `connections` busy for `warm` seconds, then for the `seconds` that count.

    Raises ServerError when nothing was answered.
    """
    tally = Tally()
    clients = [_PlainClient(port, tally) for _ in range(connections)]
    connecting = [asyncio.create_task(client.stay_connected()) for client in clients]
    await asyncio.sleep(warm)
    answered, before = tally.answered, meter()
    await _sleep_until(seconds, lambda: tally.answered > answered)
    answered, used = tally.answered - answered, meter() - before
    tally.over = True
    finishing = [asyncio.create_task(client.finished.wait()) for client in clients]
    _, late = await asyncio.wait(finishing, timeout=_PATIENCE)
    tally.errors.update({"not answered in time": len(late)} if late else {})
    for task in (*late, *connecting):
        task.cancel()
    for client in clients:
        client.leave()
    if not answered:
        raise ServerError(f"nothing was answered: {dict(tally.errors)}")
    return Slice(answered, used, tally.errors)


async def _sleep_until(seconds: float, done: Callable[[], bool]) -> None:
    """At least so long; on a machine that is very busy, until anything was done."""
    end = time.monotonic() + _PATIENCE
    while True:
        await asyncio.sleep(seconds)
        if done() or time.monotonic() > end:
            return


@dataclass
class Events:
    """What all streams of a group have received; `delays` in nanoseconds, kept while `counting`."""

    received: int = 0
    counting: bool = False
    delays: "array[int]" = field(default_factory=lambda: array("q"))
    errors: Counter[str] = field(default_factory=Counter)


class _StreamClient(Client):
    """One stream, checked event by event."""

    def __init__(self, port: int, request: bytes, events: Events) -> None:
        super().__init__(port, request)
        self._events = events
        self._body = b""
        self._over = False
        self.received = 0
        self.opened = asyncio.Event()  # set as well when it never will be

    def data_received(self, data: bytes) -> None:
        """Take the events that are whole."""
        now = time.monotonic_ns()
        body = self._body + self._answer.feed(data)
        if self._answer.status not in {0, 200}:
            self.end(f"status {self._answer.status}")
        start, end = 0, len(body) - EVENT_SIZE
        while start <= end and not self._over:
            event = body[start : start + EVENT_SIZE]
            right = event.startswith(EVENT_BEGIN) and event.endswith(EVENT_END)
            if not right or event[EVENT_NUMBER] != b"%06d" % self.received:
                self.end("wrong event")
            self._take(event, now)
            start += EVENT_SIZE
        self._body = body[start:]
        if self._answer.done:
            self.end("ended")

    def _take(self, event: bytes, now: int) -> None:
        self.received += 1
        if self._events.counting:
            self._events.received += 1
            self._events.delays.append(now - int(event[EVENT_TIME]))
        elif self.received == 1:
            self.opened.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name that asyncio calls
        """A stream never ends by itself."""
        self.end("cut")

    def end(self, error: str | None = None) -> None:
        """Hang up; note why, the first time."""
        if not self._over and error:
            self._events.errors[error] += 1
        self._over = True
        self.opened.set()
        self.leave()


class Streams:
    """Streams through one proxy that stay open, and move only while they are measured.

    `group` is the name under which the upstream on `upstream_port` lets them move.
    """

    def __init__(self, port: int, upstream_port: int, group: str) -> None:
        self._port, self._upstream_port, self._group = port, upstream_port, group
        self._events = Events()
        self._clients: list[_StreamClient] = []

    async def open(self, number: int) -> None:
        """Open so many more, and wait until each has had its first event."""
        turn = asyncio.Semaphore(_OPENING_AT_ONCE)
        request = stream_of(self._group)
        clients = [_StreamClient(self._port, request, self._events) for _ in range(number)]
        self._clients += clients

        async def open_one(client: _StreamClient) -> None:
            async with turn:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await client.connect()
                        await client.opened.wait()
                except OSError as error:  # TimeoutError is one
                    client.end(f"not opened: {type(error).__name__}")

        await asyncio.gather(*map(open_one, clients))

    async def move(self, gap: float, *, warm: float, seconds: float, meter: Meter) -> Slice:
        """An event every `gap` seconds on each; count those of the `seconds` after `warm`.

        Raises ServerError when none came.
        """
        events = self._events
        await pace(self._upstream_port, self._group, gap)
        await asyncio.sleep(warm)
        events.received, events.delays = 0, array("q")
        before, events.counting = meter(), True
        await _sleep_until(seconds, lambda: events.received > 0)
        used, events.counting = meter() - before, False
        await pace(self._upstream_port, self._group, 0)
        await asyncio.sleep(0.05)  # the last events are on their way
        errors, events.errors = events.errors, Counter()
        if not events.received:
            raise ServerError(f"no event came: {dict(errors)}")
        return Slice(events.received, used, errors, statistics.median(events.delays) / 1e9)

    @property
    def received(self) -> list[int]:
        """How many events each has had."""
        return [client.received for client in self._clients]

    def leave(self) -> None:
        """Hang up on all."""
        for client in self._clients:
            client.end()


async def pace(upstream_port: int, group: str, gap: float) -> None:
    """Let the upstream send an event every `gap` seconds on each stream of a group; none if it is 0."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream_port)
    writer.write(b"POST /bench/%b/%d HTTP/1.1\r\n\r\n" % (group.encode(), round(gap * 1e6)))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
