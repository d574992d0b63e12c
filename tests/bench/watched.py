"""What it costs to be watched: CPU per relayed event with the status page and metrics in use, and without.

    python -m tests.bench.watched

One proxy with 50 keys, most of which rest, relays 200 streams of 25 events a second. In turn nobody watches,
or two pages are open and the metrics are read every five seconds. The load shares a core with the upstream,
the proxy has another.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.contenders import CLIENT_KEY
from tests.bench.load import Streams
from tests.bench.machine import Meter, free_port, running
from tests.bench.upstream import KEYS
from tests.support.wire import ask, connect

_HERE = Path(__file__).resolve().parent
_SERVER = _HERE.parents[1] / "server.py"
_ADMIN = ("x-goog-api-key", "bench-admin-key")
_ROUNDS, _SECONDS = 6, 8.0
_IDLE = 30.0  # seconds
_SPARE = 50 - len(KEYS)
_STREAMS, _GAP = 200, 0.04


async def page(port: int) -> None:
    """A page that is open."""
    async with connect(port) as client:
        client.send("GET", "/status.json", _ADMIN, ("Accept", "text/event-stream"))
        await client.head()
        async for _ in client.chunks():
            pass


async def scrapes(port: int) -> None:
    """Prometheus."""
    while True:
        assert (await ask(port, "GET", "/metrics", _ADMIN)).status == 200
        await asyncio.sleep(5)


async def let_rest(port: int) -> None:
    """The spare keys rest: the upstream does not know them."""
    for number in range(_SPARE):
        order = {"action": "rest", "key": f"spare{number}", "seconds": 86400}
        kind = ("Content-Type", "application/json")
        got = await ask(port, "POST", "/status.json", _ADMIN, kind, body=json.dumps(order).encode())
        assert got.status == 200, got.body


async def one(port: int, streams: Streams, meter: Meter, *, watched: bool) -> float:
    """Microseconds of CPU for each event of a round."""
    works = [page(port), page(port), scrapes(port)] if watched else []
    tasks = [asyncio.create_task(work) for work in works]
    measured = await streams.move(_GAP, warm=0.5, seconds=_SECONDS, meter=meter)
    for task in tasks:
        assert not task.done(), "nobody watched"
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    assert not measured.errors, measured.errors
    return measured.cpu * 1e6


async def idle(port: int, meter: Meter) -> float:
    """Milliseconds of CPU a second that watching takes by itself, while nothing is relayed."""
    tasks = [asyncio.create_task(work) for work in (page(port), page(port), scrapes(port))]
    await asyncio.sleep(1)
    before = meter()
    await asyncio.sleep(_IDLE)
    used = meter() - before
    for task in tasks:
        assert not task.done(), "nobody watched"
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    return 1000 * used.cpu / used.at


async def rounds(port: int, upstream_port: int, meter: Meter) -> None:
    """In turn watched and not."""
    alone: list[float] = []
    seen: list[float] = []
    await let_rest(port)
    streams = Streams(port, upstream_port, "watched")
    await streams.open(_STREAMS)
    for number in range(_ROUNDS):
        for watched in (False, True) if number % 2 else (True, False):
            (seen if watched else alone).append(await one(port, streams, meter, watched=watched))
    streams.leave()
    ratios = [one / other for one, other in zip(seen, alone, strict=True)]
    sys.stdout.write(
        f"CPU per event: {median(alone):.1f} µs unwatched, {median(seen):.1f} µs watched; of {_ROUNDS} pairs"
        f" of rounds the median ratio is {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})\n"
    )
    took = await idle(port, meter)
    relaying = _STREAMS / _GAP * median(alone) / 1000
    sys.stdout.write(
        f"watching by itself: {took:.1f} ms of CPU a second, {took / relaying:.1%} of the {relaying:.0f} ms"
        " that relaying takes\n"
    )


def main() -> None:
    """Starts everything, and prints what it measured."""
    cores = sorted(os.sched_getaffinity(0))
    port, upstream_port = free_port(), free_port()
    upstream = [sys.executable, str(_HERE / "upstream.py"), "--port", str(upstream_port)]
    environment = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
        "OUTPUT_API_KEY": CLIENT_KEY,
        "ADMIN_API_KEY": _ADMIN[1],
    }
    environment |= {f"GOOGLE_API_KEY_{number}": key for number, key in enumerate(KEYS, 1)}
    environment |= {f"GOOGLE_API_KEY_spare{number}": f"spare-key-{number}" for number in range(_SPARE)}
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(running(upstream, {}, folder / "upstream", upstream_port, cores[-1]))
        command = [sys.executable, str(_SERVER)]
        pid = stack.enter_context(running(command, environment, folder / "ours", port, cores[0]))
        asyncio.run(rounds(port, upstream_port, Meter.of(pid, cores[0])))


if __name__ == "__main__":
    main()
