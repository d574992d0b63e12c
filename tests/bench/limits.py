"""Ten clients at three times their limits, over two replicas with workers: what each gets of what is its own.

    python -m tests.bench.limits [limits] [seconds] [workers]

`requests=5/second` by default, for 30 seconds, over four workers in each replica. Requests come at random
moments, each on a connection of its own, to the replicas in turn.
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from proxycore.stats.limits.client_limits import Period
from tests.support.process import program
from tests.support.redis_server import redis_server
from tests.support.wire import RawUpstream, always, answer, ask

_CLIENTS = [f"C{number}" for number in range(10)]
_GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
_SERVED = answer(200, b'{"usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 20}}')
_TIMES = 3  # as many requests as permitted


class Load:
    """A client's requests: how long those took that were served, if they ended in time."""

    def __init__(self, name: str) -> None:
        self.key = ("x-goog-api-key", f"the-long-key-of-{name}")
        self.took: list[float] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, ports: list[int], rate: float, end: float) -> None:
        """Send so many requests a second until a moment."""
        source, number = random.Random(self.key[1]), 0  # noqa: S311 - a load
        due = time.monotonic()
        while due < end:
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self._one(ports[number % len(ports)], end))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            number += 1
            due += source.expovariate(rate)
        await asyncio.gather(*self._running)

    async def _one(self, port: int, end: float) -> None:
        begun = time.monotonic()
        got = await ask(port, "POST", _GENERATE, self.key, body=b"{}")
        ended = time.monotonic()
        if got.status == 200 and ended < end:
            self.took.append(ended - begun)


async def measure(folder: Path, limits: str, seconds: float, workers: int) -> None:
    """Print what each client gets."""
    amount, _, period = limits.removeprefix("requests=").partition("/")
    environment = {f"OUTPUT_API_KEY_{name}": f"the-long-key-of-{name}" for name in _CLIENTS}
    environment |= {f"CLIENT_{name}": limits for name in _CLIENTS}
    environment |= {"GOOGLE_API_KEY_1": "AQ.one", "WORKERS": str(workers)}
    async with RawUpstream(always(_SERVED)) as google:
        environment["UPSTREAM_URL"] = google.url
        with redis_server() as redis:
            environment["REDIS_URL"] = redis.url
            with (
                program(folder=folder, environment=environment) as one,
                program(folder=folder, environment=environment) as other,
            ):
                ports = [one.port, other.port]
                await asyncio.sleep(3)  # until all workers serve
                loads = [Load(name) for name in _CLIENTS]
                end = time.monotonic() + seconds
                per_second = int(amount) / Period(period).seconds
                await asyncio.gather(*(load.run(ports, _TIMES * per_second, end) for load in loads))
    theirs = per_second * seconds
    shares = sorted(len(load.took) / theirs for load in loads)
    took = sorted(time for load in loads for time in load.took)
    print(f"{limits}, {workers} workers in each of 2 replicas, {seconds:.0f} s: ", end="")  # noqa: T201 - a report
    print(f"{100 * shares[0]:.1f} to {100 * shares[-1]:.1f} % of what is theirs; ", end="")  # noqa: T201
    print(f"a request took {took[len(took) // 2]:.3f} s, one in ten {took[len(took) * 9 // 10]:.3f} s")  # noqa: T201


def main() -> None:
    """Measure."""
    limits, seconds, workers = [*sys.argv[1:], *("requests=5/second", "30", "4")[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), limits, float(seconds), int(workers)))


if __name__ == "__main__":
    main()
