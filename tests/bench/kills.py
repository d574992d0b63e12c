"""The state file after `kill -9` at random moments under load: it opens each time, and how much is lost.

    python -m tests.bench.kills [kills] [at a time]

1,000 kills by default, 50 at a time, each of a program of its own that was serving for one to four seconds.
Prints the longest time by which a request that was lost had been over.
"""

import asyncio
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from proxycore.clock import Clock
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import RequestFilter, RequestRow, UsageQuery
from proxycore.storage.storage import Storage

_PAUSE = 0.01  # seconds between two requests
_MOST = 1000  # requests of one program
_MOMENT = struct.Struct("d")


async def _serve(path: Path, ended: mmap.mmap) -> None:
    """Put requests until killed; `ended` is shared with who kills, and gets when each was put."""
    storage = Storage(path, 86400.0, Clock(), str)
    await storage.start(lambda _: None)
    for number in range(_MOST):
        storage.put_request(
            RequestRow(
                f"{number}", time.time(), "client", "192.0.2.1", "POST", f"/{number}", "m", "key", 200,
                RequestOutcome.SERVED,
            )
        )  # fmt: skip
        _MOMENT.pack_into(ended, number * _MOMENT.size, time.monotonic())
        await asyncio.sleep(_PAUSE)


def _started(path: Path, ended: mmap.mmap) -> int:
    """Start a program; returns its process id."""
    process = os.fork()
    if not process:
        try:
            asyncio.run(_serve(path, ended))
        finally:
            os._exit(1)
    return process


async def _lost(path: Path, ended: mmap.mmap, killed: float) -> float:
    """Return how long ago the first of the requests that are not in the file was over, in seconds."""
    storage = Storage(path, 86400.0, Clock(), str)
    await storage.start(lambda _: None)
    try:
        page = await storage.requests(RequestFilter(), limit=_MOST)
        counted = sum(row.requests for row in await storage.usage(UsageQuery(0, time.time() + 86400)))
        if [row.id for row in page.rows] != [f"{number}" for number in reversed(range(len(page.rows)))]:
            raise AssertionError(f"{path}: there are gaps")
        if counted != len(page.rows):
            raise AssertionError(f"{path}: {counted} of {len(page.rows)} requests are in the usage")
    finally:
        await storage.close()
    if list(path.parent.glob("*corrupt*")):
        raise AssertionError(f"{path}: it was corrupt")
    (moment,) = _MOMENT.unpack_from(ended, len(page.rows) * _MOMENT.size)
    return killed - moment if moment else 0.0


def _round(folder: Path, count: int, source: random.Random) -> list[float]:
    """Start so many programs and kill each; returns what each has lost."""
    running = []
    for number in range(count):
        (folder / f"{number}").mkdir()
        path, ended = folder / f"{number}" / "state.db", mmap.mmap(-1, (_MOST + 1) * _MOMENT.size)
        begun = time.monotonic()
        running.append((begun + source.uniform(1, 4), _started(path, ended), path, ended))
    lost = []
    for at, process, path, ended in sorted(running, key=lambda one: one[0]):
        time.sleep(max(0.0, at - time.monotonic()))
        os.kill(process, signal.SIGKILL)
        killed = time.monotonic()
        os.waitpid(process, 0)
        lost.append((path, ended, killed))
    return [asyncio.run(_lost(*one)) for one in lost]


def main() -> None:
    """Kill, and print what was lost."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    together = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    source = random.Random(1)  # noqa: S311 - a load
    lost: list[float] = []
    while len(lost) < kills:
        with tempfile.TemporaryDirectory() as folder:
            lost += _round(Path(folder), min(together, kills - len(lost)), source)
    half = sorted(lost)[len(lost) // 2]
    print(f"{len(lost)} kills: the files opened; at most {max(lost):.2f} s lost, half of them {half:.2f} s")  # noqa: T201


if __name__ == "__main__":
    main()
