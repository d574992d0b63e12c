"""A pool of keys on a simulated clock: minutes pass in milliseconds. Times are seconds since the start."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from tests.support.google_quotas import Project, Refusal
from tests.support.scenario import CallRecord, Figures, Record, Request, Scenario
from tests.support.simulation_proxy import Proxy
from tests.support.simulation_schedulers import Bound, FixedBench, PlainRandom, RoundRobin, Scheduler
from tests.support.turned_loop import TurnedLoop

_LATE = 0.003  # seconds after its time that a client comes back


class Simulation:
    """A run of a scenario with one scheduler."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        self.scenario = scenario
        self.seed = seed
        self.projects = [
            Project(key, scenario.habits, self._source(f"project {number}"))
            for number, key in enumerate(scenario.keys)
        ]
        self._latencies = self._source("latency")
        self._returns = self._source("returns")
        self._records: list[Record] = []
        self._calls: list[CallRecord] = []
        self._start = 0.0
        self._time: Callable[[], float] = float

    def run(self, make: "Callable[[Simulation], Scheduler]") -> Figures:
        """Run it; returns the figures of the measured part."""
        loop = TurnedLoop(sockets=False)
        try:
            return loop.run_until_complete(self._run(make))
        finally:
            loop.close()

    def now(self) -> float:
        """Return the moment."""
        return self._time() - self._start

    async def call(self, key: int, request: Request) -> Refusal | None:
        """Make a call."""
        latency, source = self.scenario.latency / 2, self._latencies
        await asyncio.sleep(latency * source.uniform(0.5, 1.5))
        refusal = self.call_now(key, request)
        await asyncio.sleep(latency * source.uniform(0.5, 1.5))
        return refusal

    def call_now(self, key: int, request: Request) -> Refusal | None:
        """Make a call that takes no time."""
        now = self.now()
        refusal = self.projects[key].call(now, request.tokens)
        self._calls.append(CallRecord(now, key, refusal is None))
        return refusal

    async def _run(self, make: "Callable[[Simulation], Scheduler]") -> Figures:
        loop, scenario = asyncio.get_running_loop(), self.scenario
        self._time, self._start = loop.time, loop.time()
        scheduler, tasks = make(self), []
        coming, number, at = self._source("arrivals"), 0, 0.0
        while True:
            at += coming.expovariate(scenario.rate(at))
            if at >= scenario.end:
                break
            await asyncio.sleep(at - self.now())
            number += 1
            tasks.append(asyncio.ensure_future(self._request(scheduler, Request(number))))
        await asyncio.gather(*tasks)
        return Figures(scenario, 0.0, scenario.end, self._records, self._calls).between(scenario.begin)

    async def _request(self, scheduler: Scheduler, request: Request) -> None:
        record = Record(request, self.now())
        self._records.append(record)
        record.served, record.told = await scheduler.serve(request)
        record.waited = self.now() - record.at
        if record.told is None or request.again or self._returns.random() >= self.scenario.returning:
            return
        await asyncio.sleep(record.told + _LATE)
        await self._request(scheduler, replace(request, again=True))

    def _source(self, name: str) -> random.Random:
        return random.Random(f"{name} {self.seed}")  # noqa: S311 - seeded, so that it is the same every time


def proxy(run: Simulation) -> Scheduler:
    """The program."""
    return Proxy(run, run.scenario.max_wait, run.seed)


def bound(run: Simulation) -> Scheduler:
    """The all-knowing scheduler."""
    return Bound(run, run.scenario.max_wait)


def _peer_source(run: Simulation) -> random.Random:
    return random.Random(f"peer {run.seed}")  # noqa: S311 - seeded


SCHEDULERS: dict[str, Callable[[Simulation], Scheduler]] = {
    "bound": bound,
    "proxy": proxy,
    "random, 1 try": lambda run: PlainRandom(run, _peer_source(run), 1),
    "random, 3 tries": lambda run: PlainRandom(run, _peer_source(run)),
    "round robin, 3": RoundRobin,
    "fixed bench, 3": lambda run: FixedBench(run, _peer_source(run)),
}
"""The program, the bound, and the peers."""
