"""Several clients that share a pool of keys, on a simulated clock. Times are seconds.

The rotator and the queues are the program's own. The upstream serves so many calls of a key in any minute.
"""

import asyncio
import itertools
import random
import statistics
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

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
WINDOW = 60.0
_LATENCY = 0.005  # of a call
_LAG = 0.003  # of what workers tell each other


@dataclass(frozen=True)
class Load:
    """The requests of a client, at random moments: `share` of what the pool can serve.

    `returning` is the share of its refused requests that come back as they are told. With `owned`, each
    request belongs to one of the keys.
    """

    client: str
    share: float
    returning: float = 0.0
    owned: bool = False


@dataclass
class Figures:
    """What became of a load's requests in the measured time."""

    waits: list[float] = field(default_factory=list)  # of those served
    told: list[int] = field(default_factory=list)  # seconds, of those refused
    back: list[bool] = field(default_factory=list)  # of those that came back: whether they were served

    @property
    def served(self) -> float:
        return len(self.waits) / (len(self.waits) + len(self.told))

    @property
    def median_wait(self) -> float:
        return statistics.median(self.waits)

    @property
    def served_again(self) -> float:
        return sum(self.back) / len(self.back)


@dataclass
class SharedPool:
    """Keys with these quotas a minute, and the clients that use them, through `workers` processes."""

    quotas: Sequence[int]
    loads: Sequence[Load]
    weights: dict[str, float] = field(default_factory=dict)
    max_wait: float = 10.0
    warm: int = 5
    measured: int = 15
    workers: int = 1
    seed: int = 1

    def run(self) -> dict[Load, Figures]:
        """Return the figures of each load. `used` is then the share of the quotas that was used,
        `calls_for_each` the calls for each that was served."""
        loop = TurnedLoop(sockets=False)
        try:
            return loop.run_until_complete(self._run())
        finally:
            loop.close()

    async def _run(self) -> dict[Load, Figures]:
        time = asyncio.get_running_loop().time
        self._clock = Clock(time, time)
        self._random = random.Random(self.seed)  # noqa: S311 - seeded, so that it is the same every time
        self._arrivals = itertools.count()
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)
        self._served = self._made = 0
        self._replicators: list[Replicator] = []
        self._workers = [self._worker(number) for number in range(self.workers)]
        self._from = self._clock() + self.warm * WINDOW
        self._to = self._from + self.measured * WINDOW
        self.figures = {load: Figures() for load in self.loads}
        await asyncio.gather(*(self._ask_on(load) for load in self.loads))
        self.used = self._served / (self.measured * sum(self.quotas))
        self.calls_for_each = self._made / self._served
        return self.figures

    async def _ask_on(self, load: Load) -> None:
        coming = random.Random(f"{load} {self.seed}")  # noqa: S311 - the same, whatever becomes of the requests
        rate = load.share * sum(self.quotas) / WINDOW
        tasks = []
        while self._clock() < self._to:
            await asyncio.sleep(coming.expovariate(rate))
            tasks.append(asyncio.ensure_future(self._request(load, coming)))
        await asyncio.gather(*tasks)

    async def _request(self, load: Load, coming: random.Random) -> None:
        began, worker = self._clock(), coming.randrange(self.workers)
        owner = coming.randrange(len(self.quotas)) if load.owned else None
        told = await self._ask(load, worker, owner)
        figures = self.figures[load] if self._from <= began < self._to else Figures()
        if told is None:
            figures.waits.append(self._clock() - began)
            return
        figures.told.append(told)
        if coming.random() < load.returning:
            await asyncio.sleep(told + coming.uniform(0.0, 0.02))
            figures.back.append(await self._ask(load, coming.randrange(self.workers), owner) is None)

    async def _ask(self, load: Load, worker: int, owner: int | None) -> int | None:
        """Serve one request with a worker; None when it was served, else when to come back."""
        rotator, queues = self._workers[worker]
        only = None if owner is None else rotator.keys[owner]
        arrival, deadline, used = next(self._arrivals), self._clock() + self.max_wait, set[Key]()
        while True:
            call = queues.try_acquire(MODEL, used, only) or await queues.wait(
                MODEL, arrival, frozenset(), deadline - self._clock(), only, client=load.client
            )
            if call is None:
                at = rotator.ready_at(MODEL, only=only)
                assert at is not None
                return queues.retry_after(MODEL, at, load.client)
            wait = await self._call(call.key.name)
            if wait is None:
                rotator.apply(call, HEALTHY)
                return None
            used.add(call.key)
            limit = Limit("PerMinute", self.quotas[int(call.key.name)], WINDOW)
            rotator.apply(call, Verdict("spent", Reaction.FAILOVER, BenchScope.MODEL, wait, limits=(limit,)))

    async def _call(self, key: str) -> float | None:
        """Call the upstream; None when it served, else in how many seconds it would."""
        await asyncio.sleep(_LATENCY * self._random.uniform(0.5, 1.5))
        now, calls = self._clock(), self._calls[key]
        while calls and calls[0] <= now - WINDOW:
            calls.popleft()
        is_served = len(calls) < self.quotas[int(key)]
        if is_served:
            calls.append(now)
        if self._from <= now < self._to:
            self._served += is_served
            self._made += 1
        await asyncio.sleep(_LATENCY * self._random.uniform(0.5, 1.5))
        return None if is_served else calls[0] + WINDOW - now

    def _worker(self, number: int) -> tuple[Rotator, WaitQueues]:
        keys = keys_of(KeySpec(str(n), f"secret-{n}") for n in range(len(self.quotas)))
        backoffs = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
        source = random.Random(100 * self.seed + number)  # noqa: S311 - seeded
        rotator = Rotator(keys, backoffs, clock=self._clock, source=source)
        queues = WaitQueues(rotator, self.max_wait, LoopScheduler(self._clock))
        queues.set_weights(self.weights)
        if self.workers > 1:
            replicator = Replicator(
                rotator,
                queues,
                AffinityTable(self._clock),
                publish=lambda update: self._tell_others(number, update),
                clock=self._clock,
                process_id=str(number),
            )
            replicator.share_calls()
            self._replicators.append(replicator)
        return rotator, queues

    def _tell_others(self, number: int, update: Update) -> None:
        for other, replicator in enumerate(self._replicators):
            if other != number:
                asyncio.get_running_loop().call_later(_LAG, replicator.apply, [update])
