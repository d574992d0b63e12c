"""A pool near its limit, on a simulated clock: minutes pass in milliseconds.

The rotator and the lines are the program's own. The upstream counts as Google is thought to: so many calls
of a project in any window. Times are seconds.
"""

import asyncio
import itertools
import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from proxycore.clock import Clock
from proxycore.gemini.verdict import HEALTHY, Backoff, BenchScope, Limit, Reaction, Verdict
from proxycore.peers.replicator import Replicator
from proxycore.peers.update import Update
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.wait_queues import WaitQueues
from tests.support.turned_loop import TurnedLoop

MODEL = "m"
DOUBLINGS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
RETURNS = 0.2  # share of those who were refused that come back when they were told to


@dataclass
class Upstream:
    """Counts the calls of each project: `quotas` in any `window`, or with `fixed` from minute to minute.

    `tell` is how it writes times.
    """

    quotas: dict[str, int]
    window: float
    fixed: bool
    tell: Callable[[float], float]
    served: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def refuses(self, project: str, now: float) -> float | None:
        """None when a call is served; else in how many seconds there is room."""
        served = self.served[project]
        begins = math.floor(now / self.window) * self.window if self.fixed else now - self.window
        while served and (served[0] < begins if self.fixed else served[0] <= begins):
            served.popleft()
        if len(served) < self.quotas[project]:
            served.append(now)
            return None
        return self.tell((begins if self.fixed else served[0]) + self.window - now)


@dataclass
class Figures:
    """The results of the measured time."""

    asked: int = 0
    served: int = 0
    calls: int = 0
    back: list[bool] = field(default_factory=list)  # of those who came back: whether they were served
    arrivals: list[int] = field(default_factory=list)  # of those who waited, as they were sent
    used: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return self.served / self.asked

    @property
    def calls_for_each(self) -> float:
        return self.calls / self.used.total()

    @property
    def in_order(self) -> float:
        return sum(one < other for one, other in pairwise(self.arrivals)) / max(1, len(self.arrivals) - 1)


@dataclass
class Simulation:
    """Keys with these quotas; several keys may share a project. `workers` share their state.

    `stranger` is a project that somebody else uses, with half of its quota.
    """

    quotas: Sequence[int]
    load: float
    window: float = 60.0
    max_wait: float = 20.0
    warm: int = 3
    measured: int = 12
    seed: int = 1
    keys_each: int = 1
    workers: int = 1
    fixed: bool = False
    tell: Callable[[float], float] = float
    stranger: str = ""
    latency: float = 0.005
    lag: float = 0.003  # of what workers tell

    def run(self) -> Figures:
        loop = TurnedLoop(sockets=False)
        try:
            return loop.run_until_complete(self._run())
        finally:
            loop.close()

    async def _run(self) -> Figures:
        self.figures = Figures()
        self._arrivals = itertools.count()
        self._random = random.Random(self.seed)  # noqa: S311 - seeded, so that it is the same every time
        time = asyncio.get_running_loop().time
        self._clock = Clock(time, time)
        self._upstream = Upstream(
            {str(n): quota for n, quota in enumerate(self.quotas)}, self.window, self.fixed, self.tell
        )
        self._replicators: list[Replicator] = []
        self._pools = [self._pool(number) for number in range(self.workers)]
        self._from = self._clock() + self.warm * self.window
        self._to = self._from + self.measured * self.window
        tasks = [asyncio.ensure_future(self._stranger())] if self.stranger else []
        coming = random.Random(-self.seed)  # noqa: S311 - the same arrivals, whatever becomes of them
        rate = self.load * sum(self.quotas) / self.window
        while self._clock() < self._to:
            await asyncio.sleep(coming.expovariate(rate))
            tasks.append(asyncio.ensure_future(self._request()))
        await asyncio.gather(*tasks)
        return self.figures

    def _pool(self, number: int) -> tuple[Rotator, WaitQueues]:
        names = [str(n) for n in range(len(self.quotas))]
        keys = keys_of(
            KeySpec(f"{name}-{n}", f"secret-{name}-{n}", f"p{name}" if self.keys_each > 1 else "")
            for name in names
            for n in range(self.keys_each)
        )
        source = random.Random(100 * self.seed + number)  # noqa: S311 - seeded, so that it is the same every time
        rotator = Rotator(keys, DOUBLINGS, clock=self._clock, source=source)
        queues = WaitQueues(rotator, self.max_wait, LoopScheduler(self._clock))
        if self.workers > 1:
            told: list[Update] = []

            def flush() -> None:
                updates = told[:]
                told.clear()
                for other in [replicator for n, replicator in enumerate(self._replicators) if n != number]:
                    other.apply(updates)

            def publish(update: Update) -> None:
                if not told:
                    asyncio.get_running_loop().call_later(self.lag, flush)
                told.append(update)

            self._replicators.append(
                Replicator(
                    rotator,
                    queues,
                    AffinityTable(self._clock),
                    publish=publish,
                    clock=self._clock,
                    process_id=str(number),
                )
            )
        return rotator, queues

    async def _request(self) -> None:
        began, figures = self._clock(), self.figures
        measured = self._from <= began < self._to
        queues, told = await self._ask(measured=measured)
        if not measured:
            return
        figures.asked += 1
        figures.served += told is None
        if told is not None and self._random.random() < RETURNS:
            await asyncio.sleep(told + 0.003)
            _, told = await self._ask(measured=False, queues=queues)
            figures.back.append(told is None)

    async def _ask(
        self, *, measured: bool, queues: WaitQueues | None = None
    ) -> tuple[WaitQueues, int | None]:
        """One request with one worker; None when it was served, else when to come back."""
        pools = [pool for pool in self._pools if queues in {None, pool[1]}]
        rotator, queues = self._random.choice(pools)
        began, arrival = self._clock(), next(self._arrivals)
        used: set[Key] = set()
        while True:
            call = queues.try_acquire(MODEL, used) or await queues.wait(
                MODEL, arrival, set(), began + self.max_wait - self._clock()
            )
            if call is None:
                seconds = max(1, math.ceil((rotator.ready_at(MODEL) or math.inf) - self._clock()))
                queues.expected.add(MODEL, self._clock() + seconds)
                return queues, seconds
            if measured and self._clock() > began + self.window / 100:
                self.figures.arrivals.append(arrival)
            project = call.key.name.partition("-")[0]
            refused = await self._call(project)
            if refused is None:
                rotator.apply(call, HEALTHY)
                return queues, None
            used.add(call.key)
            limit = Limit("PerMinute", self._upstream.quotas[project], 60.0)
            rotator.apply(
                call, Verdict("spent", Reaction.FAILOVER, BenchScope.MODEL, refused, limits=(limit,))
            )

    async def _call(self, project: str) -> float | None:
        await asyncio.sleep(self.latency * self._random.uniform(0.5, 1.5))
        now = self._clock()
        refused = self._upstream.refuses(project, now)
        if self._from <= now < self._to:
            self.figures.calls += 1
            self.figures.used[project] += refused is None
        await asyncio.sleep(self.latency * self._random.uniform(0.5, 1.5))
        return refused

    async def _stranger(self) -> None:
        every = self.window / self._upstream.quotas[self.stranger] * 2
        while self._clock() < self._to:
            self._upstream.refuses(self.stranger, self._clock())
            await asyncio.sleep(every)
