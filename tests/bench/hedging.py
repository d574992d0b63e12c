"""What hedging does to the slowest requests: time to first byte, and calls for each request.

    python -m tests.bench.hedging

2 % of the upstream's calls take ten times as long. The proxy is the program's own, on a loop whose time is
turned, so that all ratios are those of one run and no matter of the machine.
"""

import asyncio
import logging
import random
import sys

from tests.support.clocks import loops_clock
from tests.support.proxy import proxy
from tests.support.turned_loop import TurnedLoop
from tests.support.wire import RawUpstream, Seen, answer, ask

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
KEYS = {f"GOOGLE_API_KEY_{number}": f"secret-of-{number}" for number in range(10)}
REQUESTS, LEARNING, EACH_SECOND = 2000, 200, 20.0
SLOW, TIMES = 0.02, 10.0


async def times(hedge: str) -> tuple[list[float], float]:
    """The times to first byte in order, and the calls for each request."""
    draw, arrivals = random.Random(1), random.Random(2)  # noqa: S311 - the same in each run
    loop = asyncio.get_running_loop()
    measured: list[float] = []

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(draw.lognormvariate(-0.7, 0.35) * (TIMES if draw.random() < SLOW else 1.0))
        writer.write(answer(200, b"{}"))

    async def request(number: int) -> None:
        began = loop.time()
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
        assert got.status == 200
        if number >= LEARNING:
            measured.append(loop.time() - began)

    async with RawUpstream(script) as upstream:
        async with proxy(upstream.url, KEYS, loops_clock(), HEDGE=hedge) as here:
            requests = []
            for number in range(REQUESTS):
                requests.append(asyncio.ensure_future(request(number)))
                await asyncio.sleep(arrivals.expovariate(EACH_SECOND))
            await asyncio.gather(*requests)
        return sorted(measured), len(upstream.seen) / REQUESTS


def main() -> None:
    logging.disable()
    unhedged: list[float] = []
    sys.stdout.write("HEDGE: p50, p95 and p99 of the first byte, of those without; calls for each request\n")
    for hedge in ("off", "2%", "5%"):
        loop = TurnedLoop(grace=0.002)
        found, calls = loop.run_until_complete(times(hedge))
        loop.close()
        unhedged = unhedged or found
        ratios = [found[int(p * len(found))] / unhedged[int(p * len(found))] for p in (0.5, 0.95, 0.99)]
        shown = "  ".join(f"{ratio:.2f}" for ratio in ratios)
        sys.stdout.write(f"{hedge:>5}: {shown}; {calls:.3f}\n")


if __name__ == "__main__":
    main()
