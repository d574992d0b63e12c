"""The parts of the benchmark. In each the proxies take turns on one core, in slices of a second or less.

What makes the machine slow then does so for all alike, and two slices that are neighbours can be compared.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.contenders import Contender, Origin, Started
from tests.bench.heads import dripping, health, long_fields, short_fields, unfinished
from tests.bench.load import Slice, Streams, plain
from tests.bench.machine import ServerError
from tests.bench.report import Report, Row

CONNECTIONS = 32
GAP = 0.04  # seconds between the events of a stream
_FILLED = 0.85  # of a core: a proxy that is measured with plain requests has no time left
_IN_TIME = 0.97  # of all events
_HEAD = 60_000  # bytes, of an unfinished head: somewhat less than is refused


@dataclass(frozen=True)
class Plan:
    """How often and how long, in seconds, and how many streams and unfinished heads."""

    rounds: int = 10
    warm: float = 0.15
    slice: float = 0.4
    event_slice: float = 0.8
    settle: float = 1.0
    drip: float = 4.0
    memory_rounds: int = 2
    moving: int = 200
    held: int = 1000
    heads: int = 200


QUICK = Plan(
    rounds=4,
    warm=0.1,
    slice=0.25,
    event_slice=0.4,
    settle=0.3,
    drip=1.0,
    memory_rounds=1,
    held=400,
    heads=50,
)
SMOKE = Plan(
    rounds=2,
    warm=0.05,
    slice=0.1,
    event_slice=0.2,
    settle=0.1,
    drip=0.2,
    memory_rounds=1,
    moving=5,
    held=8,
    heads=4,
)


@dataclass
class Bench:
    """One run: its plan, its report, a folder for files, where the upstream is, and the proxies' core."""

    plan: Plan
    report: Report
    folder: Path
    bare: Origin
    tls: Origin
    core: int
    contenders: list[Contender]
    stack: ExitStack
    _starts: int = field(default=0, init=False)
    _kept: dict[Origin, list[Started]] = field(default_factory=dict, init=False)

    def kept(self, origin: Origin) -> list[Started]:
        """All proxies in front of this origin, started the first time; they run until the end."""
        if origin not in self._kept:
            self._kept[origin] = self.stack.enter_context(self.running(self.contenders, origin))
        return self._kept[origin]

    @contextmanager
    def running(self, contenders: list[Contender], origin: Origin) -> Iterator[list[Started]]:
        """Start proxies, those that can be, and end them."""
        with ExitStack() as stack:
            started: list[Started] = []
            for contender in contenders:
                self._starts += 1
                folder = self.folder / str(self._starts)
                try:
                    started.append(stack.enter_context(contender.running(origin, folder, self.core)))
                except ServerError as error:
                    self.report.failed(contender.name, error)
            yield started

    async def in_turn(
        self, part: str, started: list[Started], measure: Callable[[Started], Awaitable[Slice]]
    ) -> dict[str, list[Slice]]:
        """Measure all, round after round, in alternating order; a proxy that fails is left out.

        What comes of the first round is dropped: it connects, loads and caches.
        """
        slices: dict[str, list[Slice]] = {one.name: [] for one in started}
        for number in range(self.plan.rounds + 1):
            _say(f"{part}: round {number} of {self.plan.rounds}")
            for one in started[:: 1 if number % 2 else -1]:
                if one.name in slices:
                    try:
                        slices[one.name].append(await measure(one))
                    except ServerError as error:
                        self.report.failed(one.name, f"{part}: {error}")
                        del slices[one.name]
        for name, measured in slices.items():
            self.report.errors(part, name, measured)
        return {name: measured[1:] for name, measured in slices.items()}

    async def plain_requests(self, origin: Origin, suffix: str = "") -> None:
        """CPU for a request, as many as are answered."""
        part, plan = f"plain requests{suffix}", self.plan

        async def measure(one: Started) -> Slice:
            return await plain(one.port, CONNECTIONS, warm=plan.warm, seconds=plan.slice, meter=one.meter)

        slices = await self.in_turn(part, self.kept(origin), measure)
        rate = self.report.row(f"requests a second{suffix}, {CONNECTIONS} connections", compared=False)
        cost = self.report.row(f"CPU per request{suffix}, µs", 1)
        for name, measured in slices.items():
            rate.add(name, (one.rate for one in measured))
            _add_cpu(cost, name, measured)
            if sum(one.used.cpu / one.used.at + one.others for one in measured) < _FILLED * len(measured):
                self.report.note(f"{name}: {part}: the load's core was full before the proxy's")

    async def events(self) -> None:
        """CPU for an event of many streams."""
        number, plan = self.plan.moving, self.plan
        started = self.kept(self.bare)
        streams = {one.name: Streams(one.port, self.bare.port, f"port{one.port}") for one in started}

        async def measure(one: Started) -> Slice:
            return await streams[one.name].move(
                GAP, warm=plan.warm, seconds=plan.event_slice, meter=one.meter
            )

        for one in started:
            await streams[one.name].open(number)
        slices = await self.in_turn("events", started, measure)
        for opened in streams.values():
            opened.leave()
        cost = self.report.row(f"CPU per event, µs, {number} streams", 1)
        delay = self.report.row("delay of an event, median, ms", 2, compared=False)
        for name, measured in slices.items():
            _add_cpu(cost, name, measured)
            delay.add(name, (one.delay * 1e3 for one in measured))
            late = sum(one.rate < _IN_TIME * number / GAP for one in measured)
            if late:
                self.report.note(f"{name}: events: fewer than {_IN_TIME:.0%} came in time, slices: {late}")

    async def memory(self, origin: Origin, suffix: str = "") -> None:
        """Memory of streams that are open and hardly move, each time in a process that is new."""
        row = self.report.row(f"kB per open stream{suffix}, {self.plan.held:,} streams", 1)

        async def measure(one: Started) -> float:
            streams = Streams(one.port, self.bare.port, f"port{one.port}")
            # What is loaded and cached once is not the memory of a stream.
            await plain(one.port, CONNECTIONS, warm=0, seconds=self.plan.settle, meter=one.meter)
            await streams.open(1)
            before = one.meter.memory()
            await streams.open(self.plan.held)
            moved = await streams.move(
                self.plan.settle, warm=0, seconds=1.5 * self.plan.settle, meter=one.meter
            )
            taken = one.meter.memory() - before
            streams.leave()
            self.report.errors(f"open streams{suffix}", one.name, [moved])
            return taken / self.plan.held

        await self._sizes(row, origin, measure)

    async def drip(self) -> None:
        """How long `/healthz` takes beside heads that come byte by byte, and what they cost."""
        await self._drip("quiet", 0)
        await self._drip("10 heads of 60 kB in drops", 10)

    async def _drip(self, label: str, number: int) -> None:
        delay = self.report.row(f"`/healthz`, {label}, median, ms", 1, compared=False)
        cost = self.report.row(f"CPU, {label}, % of a core", 1, compared=False)
        for one in self.kept(self.bare):
            _say(f"drip: {label}: {one.name}")
            try:
                async with dripping(one.port, number, _HEAD):
                    await asyncio.sleep(self.plan.settle)
                    asked = await health(one.port, gap=0.02, seconds=self.plan.drip, meter=one.meter)
            except ServerError as error:
                self.report.failed(one.name, f"{label}: {error}")
                continue
            self.report.errors(label, one.name, [asked])
            delay.add(one.name, [asked.delay * 1e3], [asked.others])
            cost.add(one.name, [asked.used.cpu / asked.used.at * 100])

    async def heads(self) -> None:
        """Memory of heads that are never finished, each time in a process that is new."""
        heads = {
            "60 kB of short fields": short_fields(_HEAD),
            "60 kB in 100 fields": long_fields(_HEAD),
        }
        for label, head in heads.items():
            row = self.report.row(f"kB per unfinished head, {label}", 1, compared=False)

            async def measure(one: Started, head: bytes = head) -> float:
                await unfinished(one.port, 4, head, seconds=self.plan.warm, meter=one.meter)
                return await unfinished(
                    one.port, self.plan.heads, head, seconds=self.plan.settle, meter=one.meter
                )

            await self._sizes(row, self.bare, measure)

    async def _sizes(self, row: Row, origin: Origin, measure: Callable[[Started], Awaitable[float]]) -> None:
        """Measure memory, in bytes, of a new process of each proxy, as often as planned."""
        for _ in range(self.plan.memory_rounds):
            for contender in self.contenders:
                _say(f"{row.label}: {contender.name}")
                try:
                    with self.running([contender], origin) as started:
                        row.add(contender.name, [await measure(one) / 1e3 for one in started])
                except ServerError as error:
                    self.report.failed(contender.name, f"{row.label}: {error}")

    async def over_tls(self) -> None:
        """Plain requests and memory again, with TLS to the upstream."""
        await self.plain_requests(self.tls, " with TLS upstream")
        await self.memory(self.tls, " with TLS upstream")


def _say(progress: str) -> None:
    sys.stderr.write(f"{progress} ...\n")


def _add_cpu(row: Row, name: str, slices: list[Slice]) -> None:
    row.add(name, (one.cpu * 1e6 for one in slices), (one.others for one in slices))


PARTS: dict[str, Callable[[Bench], Coroutine[Any, Any, None]]] = {
    "plain": lambda bench: bench.plain_requests(bench.bare),
    "events": Bench.events,
    "memory": lambda bench: bench.memory(bench.bare),
    "tls": Bench.over_tls,
    "drip": Bench.drip,
    "heads": Bench.heads,
}
"""By the names of the command line."""
