"""How well a pool of keys is used near its limit: the proxy over sockets, against quotas that slide.

    python -m tests.bench.quotas                 everything, about an hour
    python -m tests.bench.quotas --quick         ten equal keys at 95 %, one process, about a minute
    python -m tests.bench.quotas --loads 95 130 --pools equal --deployments workers replicas

The mock of the Gemini API counts really: so many requests in any "minute", which lasts a few seconds
here. Requests arrive at random (Poisson). Each row is one run: the share of requests that were served,
upstream calls for each answer, 429s that clients saw, the share of the pool's quota that was used, the worst
key's distance from its share, how long those who were served took, how many of those who waited were served
in order of arrival, and how many of those who came back when `Retry-After` said were served.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from proxycore.demo import Health, MockServer
from tests.bench.machine import free_port, running
from tests.support.redis_server import redis_server
from tests.support.wire import Got, ask

SERVER = Path(__file__).resolve().parents[2] / "server.py"
TARGET = "/v1beta/models/gemini-2.5-flash:generateContent"
CLIENT_KEY = "bench-client-key"
UNEQUAL = (5, 8, 11, 14, 18, 23, 29, 37, 47, 60)
DEPLOYMENTS = ("one", "workers", "replicas")
PEERS = ("plain random", "fixed bench", "round robin")
_TRIES = 3  # of the peers, for each request
_WAITED = 0.05  # seconds: who took longer has waited for a key
_RETURNS = 0.2  # share of those who were refused that come back

Ask = Callable[[bytes], Awaitable[Got]]


@dataclass(frozen=True)
class Pool:
    """Keys by secret: the project that each belongs to, and the calls that a project has in a minute."""

    projects: dict[str, str]
    quotas: dict[str, int]

    @classmethod
    def named(cls, name: str) -> "Pool":
        """One of the three."""
        if name == "projects":
            return cls(
                {f"key-{n}": str(70_000 + n % 20) for n in range(100)},
                {str(70_000 + n): 15 for n in range(20)},
            )
        quotas = (15,) * 10 if name == "equal" else UNEQUAL
        return cls({f"key-{n}": f"{n}" for n in range(10)}, {f"{n}": quota for n, quota in enumerate(quotas)})

    def healths(self, minute: float) -> dict[str, Health]:
        """The keys as the mock has them."""
        told = {name: name if int(name) >= 70_000 else "" for name in self.quotas}
        of = {name: Health.quota(quota, minute, told[name]) for name, quota in self.quotas.items()}
        return {secret: of[project] for secret, project in self.projects.items()}

    def variables(self) -> dict[str, str]:
        """The keys as the proxy has them."""
        return {
            f"GOOGLE_API_KEY_{n}" + (f"__P{project}" if int(project) >= 70_000 else ""): secret
            for n, (secret, project) in enumerate(self.projects.items())
        }


@dataclass
class Run:
    """What came of one load."""

    name: str
    asked: int = 0
    refused: int = 0
    took: list[float] = field(default_factory=list)
    order: list[int] = field(default_factory=list)  # those who waited, by arrival, as they were served
    came_back: int = 0
    served_then: int = 0
    calls: int = 0
    used: Counter[str] = field(default_factory=Counter)  # project -> served calls

    def row(self, pool: Pool, minutes: float) -> dict[str, Any]:
        """The figures."""
        served, took = len(self.took), sorted(self.took) or [0.0]
        whole = sum(self.used.values()) / (sum(pool.quotas.values()) * minutes)
        shares = [self.used[name] / (quota * minutes) for name, quota in pool.quotas.items()]
        in_order = [earlier < later for earlier, later in pairwise(self.order)]
        return {
            "run": self.name,
            "served": served / max(1, self.asked),
            "calls": self.calls / max(1, sum(self.used.values())),
            "429s": self.refused,
            "used": whole,
            "worst key": max(abs(share / whole - 1) for share in shares) if whole else 0.0,
            "p50": took[len(took) // 2],
            "p99": took[int(len(took) * 0.99)],
            "in order": sum(in_order) / len(in_order) if in_order else None,
            "came back": self.served_then / self.came_back if self.came_back else None,
        }


@dataclass
class Load:
    """One load on one target: `rate` requests a second, measured for `seconds` after `warm` seconds."""

    run: Run
    ask: Ask
    rate: float
    warm: float
    seconds: float
    source: random.Random
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def drive(self) -> None:
        """Sends all requests, and waits for their answers."""
        loop = asyncio.get_running_loop()
        start = next_at = loop.time()
        arrival = 0
        while next_at < start + self.warm + self.seconds:
            await asyncio.sleep(next_at - loop.time())
            self._start(self._request(arrival, measured=loop.time() >= start + self.warm))
            arrival += 1
            next_at += self.source.expovariate(self.rate)
        while self.tasks:
            await asyncio.wait(self.tasks)

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _request(self, arrival: int, *, measured: bool) -> None:
        loop, run = asyncio.get_running_loop(), self.run
        body = json.dumps({"contents": [{"parts": [{"text": f"question {arrival}"}]}]}).encode()
        began = loop.time()
        got = await self.ask(body)
        took = loop.time() - began
        if measured:
            run.asked += 1
            if got.status == 200:
                run.took.append(took)
                if took > _WAITED:
                    run.order.append(arrival)
            else:
                run.refused += 1
        told = got.all("retry-after")
        if measured and told and self.source.random() < _RETURNS:
            await asyncio.sleep(int(told[0]))
            again = await self.ask(body)
            run.came_back += 1
            run.served_then += again.status == 200


class Peer:
    """What programs of the usual kind do: another key after a 429, three tries in all."""

    def __init__(self, name: str, keys: list[str], port: int, minute: float, source: random.Random) -> None:
        self._name, self._keys, self._port, self._minute, self._source = name, keys, port, minute, source
        self._turns = cycle(keys)
        self._benched: dict[str, float] = {}

    async def ask(self, body: bytes) -> Got:
        """One request."""
        got = Got(429, "", [])
        for _ in range(_TRIES):
            key = self._key()
            if key is None:
                break
            got = await ask(self._port, "POST", TARGET, ("x-goog-api-key", key), body=body)
            if got.status == 200:
                break
            self._benched[key] = asyncio.get_running_loop().time() + self._minute
        got.fields = []
        return got

    def _key(self) -> str | None:
        if self._name == "round robin":
            return next(self._turns)
        now = asyncio.get_running_loop().time()
        ready = [key for key in self._keys if self._benched.get(key, 0.0) <= now]
        if self._name == "plain random":
            ready = self._keys
        return self._source.choice(ready) if ready else None


@contextlib.contextmanager
def deployed(
    deployment: str, pool: Pool, upstream: str, folder: Path, max_wait: float
) -> Iterator[list[int]]:
    """The proxy, once or several times; yields its ports."""
    environment = pool.variables() | {
        "HOST": "127.0.0.1",
        "UPSTREAM_URL": upstream,
        "OUTPUT_API_KEY": CLIENT_KEY,
        "MAX_WAIT": f"{max_wait:g}",
        "LOG_LEVEL": "warning",
    }
    with contextlib.ExitStack() as stack:
        if deployment == "workers":
            environment["WORKERS"] = "4"
        if deployment == "replicas":
            environment["REDIS_URL"] = stack.enter_context(redis_server()).url
        ports = [free_port() for _ in range(2 if deployment == "replicas" else 1)]
        for port in ports:
            command = [sys.executable, str(SERVER), "--port", str(port)]
            stack.enter_context(running(command, environment, folder / f"proxy-{port}", port, 0))
        yield ports


@contextlib.asynccontextmanager
async def counted(
    pool: Pool, minute: float, run: Run, warm: float, seconds: float
) -> AsyncIterator[MockServer]:
    """A mock, whose calls in the measured time are counted at the end."""
    mock = MockServer(pool.healths(minute))
    mock.calls = deque(maxlen=1_000_000)
    began = mock.clock()
    yield mock
    for call in mock.calls:
        if warm <= call.arrived - began < warm + seconds:
            run.calls += 1
            run.used[pool.projects[call.key]] += call.status == 200
    await mock.stop()


@dataclass(frozen=True)
class Plan:
    """What all runs have in common. `minute` is seconds, `warm` and `measured` are minutes."""

    minute: float
    warm: float
    measured: float
    max_wait: float
    seed: int

    async def try_ours(self, pool_name: str, load: int, deployment: str) -> dict[str, Any]:
        """One run of the proxy."""
        pool, run = Pool.named(pool_name), Run(f"{pool_name} {load} % {deployment}")
        warm, seconds = self.warm * self.minute, self.measured * self.minute
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with counted(pool, self.minute, run, warm, seconds) as mock:
                with contextlib.ExitStack() as stack:
                    # Waits until the proxy is there, so not on the loop that serves the mock.
                    ports = await asyncio.to_thread(
                        stack.enter_context,
                        deployed(deployment, pool, mock.listen(), Path(folder), self.max_wait),
                    )
                    source = random.Random(self.seed)  # noqa: S311 - the same load for all
                    credential = ("x-goog-api-key", CLIENT_KEY)
                    mock.calls.clear()

                    async def send(body: bytes) -> Got:
                        return await ask(source.choice(ports), "POST", TARGET, credential, body=body)

                    await self._load(run, send, pool, load, source).drive()
                    await asyncio.to_thread(stack.close)
        return run.row(pool, self.measured)

    async def try_peer(self, pool_name: str, load: int, name: str) -> dict[str, Any]:
        """One run of a peer."""
        pool, run = Pool.named(pool_name), Run(f"{pool_name} {load} % {name}")
        async with counted(
            pool, self.minute, run, self.warm * self.minute, self.measured * self.minute
        ) as mock:
            port = int(mock.listen().rpartition(":")[2])
            source = random.Random(self.seed)  # noqa: S311 - the same load for all
            peer = Peer(name, list(pool.projects), port, self.minute, source)
            await self._load(run, peer.ask, pool, load, source).drive()
        return run.row(pool, self.measured)

    def _load(self, run: Run, send: Ask, pool: Pool, load: int, source: random.Random) -> Load:
        rate = load / 100 * sum(pool.quotas.values()) / self.minute
        return Load(run, send, rate, self.warm * self.minute, self.measured * self.minute, source)


def _line(row: dict[str, Any]) -> str:
    share = "".join(
        f"{'-' if row[name] is None else f'{100 * row[name]:.1f} %':>12}"
        for name in ("served", "used", "worst key", "in order", "came back")
    )
    return f"{row['run']:<32}{row['calls']:>8.3f}{row['429s']:>7}{row['p50']:>8.2f}{row['p99']:>8.2f}{share}"


def main() -> int:
    """Run what the command line says, and print a line for each."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.quotas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pools = ("equal", "unequal", "projects")
    loads = (70, 90, 95, 100, 130)
    parser.add_argument("--quick", action="store_true", help="one run of the proxy, without peers")
    parser.add_argument("--pools", nargs="+", choices=pools, default=pools)
    parser.add_argument("--loads", nargs="+", type=int, default=loads)
    parser.add_argument("--deployments", nargs="+", choices=DEPLOYMENTS, default=DEPLOYMENTS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--minute", type=float, default=6.0, help="seconds that a minute lasts")
    parser.add_argument("--measured", type=float, default=10.0, help="minutes that are measured, of each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    options = parser.parse_args()
    if options.quick:
        options.pools, options.loads, options.deployments, options.peers = ["equal"], [95], ["one"], []
    plan = Plan(options.minute, 3.0, options.measured, 20 / 60 * options.minute, options.seed)
    heads = "".join(f"{name:>12}" for name in ("served", "used", "worst key", "in order", "came back"))
    if not options.json:
        sys.stdout.write(f"{'':<32}{'calls':>8}{'429s':>7}{'p50 s':>8}{'p99 s':>8}{heads}\n")
    for pool in options.pools:
        for load in options.loads:
            runs = [plan.try_ours(pool, load, deployment) for deployment in options.deployments]
            runs += [plan.try_peer(pool, load, name) for name in options.peers]
            for work in runs:
                row = asyncio.run(work)
                sys.stdout.write((json.dumps(row) if options.json else _line(row)) + "\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
