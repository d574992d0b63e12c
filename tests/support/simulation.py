"""A pool of keys on a simulated clock: minutes pass in milliseconds. Times are seconds since the start.

What is simulated is Google, the clients, and the link between processes; the choice of keys is the program's
own, that of a scheduler that knows everything, or that of a program of the usual kind.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from tests.support.google_quotas import Project, Refusal
from tests.support.prompt_cache import PromptCache
from tests.support.scenario import Request, Scenario
from tests.support.simulation_bound import Bound
from tests.support.simulation_figures import CallRecord, Figures, Record
from tests.support.simulation_proxy import Proxies
from tests.support.simulation_schedulers import FixedBench, PlainRandom, RoundRobin, Scheduler
from tests.support.turned_loop import TurnedLoop

_LATE = 0.003  # seconds after its time that a client comes back


class Simulation:
    """A run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        self.scenario = scenario
        self.projects = [
            Project(plan, scenario.habits, self.source(f"project {number} {seed}"))
            for number, plan in enumerate(scenario.projects)
        ]
        self.caches = [PromptCache() for _ in scenario.projects]
        self.seed = seed
        self._latencies = self.source(f"latency {seed}")
        self._returns = self.source(f"returns {seed}")
        self._sent: dict[int, float] = {}  # when the last call was made, by the number of a request
        self._numbers = itertools.count(1)
        self._figures = Figures(scenario, 0.0, scenario.end)
        self._start = 0.0
        self._time: Callable[[], float] = float

    def run(self, make: "Callable[[Simulation], Scheduler] | None" = None) -> Figures:
        """Run it with the program or another scheduler; returns the figures of the measured part."""
        loop = TurnedLoop(sockets=False)
        try:
            loop.run_until_complete(self._run(make or proxies))
        finally:
            loop.close()
        return self._figures.between(self.scenario.begin)

    def now(self) -> float:
        """Return the moment."""
        return self._time() - self._start

    async def call(self, project: int, request: Request) -> Refusal | None:
        """Make a call with a key of a project; None when it is served."""
        latency, source = self.scenario.latency / 2, self._latencies
        self._sent[request.number] = self.now()
        await asyncio.sleep(latency * source.uniform(0.5, 1.5))
        refusal = self.call_now(project, request)
        await asyncio.sleep(latency * source.uniform(0.5, 1.5))
        return refusal

    def call_now(self, project: int, request: Request) -> Refusal | None:
        """Make a call that takes no time."""
        now = self.now()
        refusal = self.projects[project].call(now, request.tokens)
        call = CallRecord(now, project, request.tokens, refusal is None)
        if request.conversation and call.served:
            cache = self.caches[project]
            call = replace(call, cached=cache.cached(request.conversation, request.tokens, now))
            cache.serve(request.conversation, request.tokens, now)
        self._figures.calls.append(call)
        return refusal

    async def _run(self, make: "Callable[[Simulation], Scheduler]") -> None:
        loop, scenario = asyncio.get_running_loop(), self.scenario
        self._time, self._start = loop.time, loop.time()
        scheduler, tasks = make(self), []
        coming, prompts = self.source(f"arrivals {self.seed}"), self.source(f"prompts {self.seed}")
        turns, at = scenario.conversations.turns if scenario.conversations else 1, 0.0
        while (at := at + coming.expovariate(scenario.rate(at) / turns)) < scenario.end:
            await asyncio.sleep(at - self.now())
            request = scenario.draw(next(self._numbers), prompts)
            begin = self._conversation if scenario.conversations else self._request
            tasks.append(asyncio.ensure_future(begin(scheduler, request)))
        await asyncio.gather(*tasks)

    async def _conversation(self, scheduler: Scheduler, first: Request) -> None:
        plan = self.scenario.conversations
        assert plan is not None
        source = self.source(f"conversation {first.number} {self.seed}")
        for tokens in plan.prompts(source):
            if self.now() >= self.scenario.end:
                return
            number = next(self._numbers)
            await self._request(
                scheduler,
                replace(first, number=number, conversation=first.number, size=4 * tokens, tokens=tokens),
            )
            await asyncio.sleep(source.expovariate(1 / plan.pause))

    async def _request(self, scheduler: Scheduler, request: Request) -> None:
        record = Record(request, self.now())
        (self._figures.returns if request.again else self._figures.records).append(record)
        record.served, record.told = await scheduler.serve(request)
        record.took = self.now() - record.at
        record.sent = self._sent.pop(request.number, record.at)
        if record.told is None or request.again or self._returns.random() >= self.scenario.returning:
            return
        await asyncio.sleep(record.told + _LATE)
        await self._request(scheduler, replace(request, again=True))

    @staticmethod
    def source(name: str) -> random.Random:
        """Return a random source that is the same every time."""
        return random.Random(name)  # noqa: S311 - seeded


def proxies(run: Simulation) -> Scheduler:
    """The program."""
    return Proxies(run, run.scenario, run.seed)


SCHEDULERS: dict[str, Callable[[Simulation], Scheduler]] = {
    "bound": lambda run: Bound(run, run.scenario),
    "proxy": proxies,
    "random, 1 try": lambda run: PlainRandom(run, run.source(f"peer {run.seed}"), 1),
    "random, 3 tries": lambda run: PlainRandom(run, run.source(f"peer {run.seed}")),
    "round robin, 3": RoundRobin,
    "fixed bench, 3": lambda run: FixedBench(run, run.source(f"peer {run.seed}")),
}
"""The program, the bound, and the peers."""
