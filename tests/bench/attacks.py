"""Whether one client can stop the program for all others: `/healthz` while it is attacked in every way.

    python -m tests.bench.attacks [--server path/to/server.py] [--only names,bombs] [--seconds 8]

The real program runs on one core, the attackers (`attackers`) and the upstream on another. How long
`/healthz` takes is measured quietly before each attack, under it, and under all of them together. Linux only.

What it must show: with every attack running, `/healthz` answers at its 99th percentile within ten times its
quiet figure plus 100 ms, and the program's memory stays within what MAX_HELD_MB says.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.bench.attackers import ATTACKS, CLIENT_KEY
from tests.bench.machine import free_port, pinned
from tests.support.wire import Client, connect

_ROOT = Path(__file__).resolve().parents[2]
_HELD = 200  # MB
_AROUND = 100  # MB that the program may take beyond that: its buffers, and what its allocator keeps
_GAP = 0.02  # seconds between two looks
_QUIET = 4.0  # seconds
_LOG = "stalled_log"  # an attack of another kind: nobody reads the program's log


@dataclass
class Figures:
    """Milliseconds that `/healthz` took, in order, and the program's memory at most, in MB."""

    times: list[float] = field(default_factory=list)
    memory: float = 0.0

    def at(self, percent: float) -> float:
        """A percentile; infinity when nothing was answered."""
        return self.times[int((len(self.times) - 1) * percent / 100)] if self.times else float("inf")


class Log:
    """The program's log: read, or left in its pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.read = threading.Event()
        self.read.set()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while self._pipe.read1(65536):  # type: ignore[attr-defined] # a BufferedReader
            self.read.wait()


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str], core: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program on one core, ended at last."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = {"PATH": os.environ["PATH"], "HOME": folder, "PYTHONPATH": str(_ROOT)}
        with pinned(core):
            process = subprocess.Popen(command, env=path | environment, cwd=folder, stderr=subprocess.PIPE)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def look(client: Client) -> float:
    """Milliseconds that one request for `/healthz` takes."""
    begun = time.monotonic()
    client.send("GET", "/healthz")
    got = await client.got()
    assert got.status == 200, got
    return 1000 * (time.monotonic() - begun)


async def measure(port: int, pid: int, seconds: float) -> Figures:
    """How long `/healthz` takes, asked again and again on one connection."""
    figures, until = Figures(), time.monotonic() + seconds
    async with connect(port) as client:
        while time.monotonic() < until:
            try:
                figures.times.append(await asyncio.wait_for(look(client), 2 * seconds))
            except (TimeoutError, OSError, EOFError):
                figures.times.append(float("inf"))
                break
            figures.memory = max(figures.memory, memory(pid))
            await asyncio.sleep(_GAP)
    figures.times.sort()
    return figures


def memory(pid: int) -> float:
    """Resident megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def under(names: list[str], port: int, pid: int, log: Log, seconds: float) -> tuple[Figures, str]:
    """The figures under these attacks at the same time, and what the attackers got."""
    if _LOG in names:
        log.read.clear()
    arguments = ["--port", str(port), "--seconds", str(seconds + 2)]
    attackers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.attackers", name, *arguments, stdout=subprocess.PIPE, cwd=_ROOT
        )
        for name in names
        if name in ATTACKS
    ]
    await asyncio.sleep(1.0)  # until they have begun
    figures = await measure(port, pid, seconds)
    log.read.set()
    statuses: Counter[str] = Counter()
    for attacker in attackers:
        said, _ = await attacker.communicate()
        statuses.update(json.loads(said or b"{}"))
    return figures, " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))


async def run(port: int, pid: int, log: Log, names: list[str], seconds: float) -> bool:
    """Prints a line for each attack, and one for all; returns whether it shows what it must."""
    await wait_until_healthy(port)
    quiet: list[Figures] = []
    sys.stdout.write(
        f"{'/healthz, ms':<18}{'p50':>8}{'p99':>9}{'max':>9}{'MB':>7}   what the attackers got\n"
    )

    async def line(title: str, attack: list[str]) -> Figures:
        figures, got = await under(attack, port, pid, log, seconds if attack else _QUIET)
        times = f"{figures.at(50):>8.1f}{figures.at(99):>9.1f}{figures.at(100):>9.1f}"
        sys.stdout.write(f"{title:<18}{times}{figures.memory:>7.0f}   {got}\n")
        sys.stdout.flush()
        return figures

    before = memory(pid)
    for name in names:
        quiet.append(await line("quiet", []))
        await line(name, [name])
    quiet.append(await line("quiet", []))
    together = await line("all together", names)
    calm = statistics.median(figures.at(99) for figures in quiet)
    allowed = 10 * calm + 100
    shows = together.at(99) <= allowed and together.memory <= before + _HELD + _AROUND
    sys.stdout.write(
        f"all together: p99 {together.at(99):.0f} ms, at most {allowed:.0f} (quiet: {calm:.1f});"
        f" memory {together.memory:.0f} MB, at most {before:.0f} + {_HELD} + {_AROUND}:"
        f" {'as it must be' if shows else 'NOT AS IT MUST BE'}\n"
    )
    return shows


async def wait_until_healthy(port: int, seconds: float = 20.0) -> None:
    """Returns when the program answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            async with connect(port) as client:
                await look(client)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def main() -> int:
    """Starts everything; returns the exit status: 0 if it shows what it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path, default=_ROOT / "server.py")
    parser.add_argument(
        "--only", default=",".join([*ATTACKS, _LOG]), help="attacks, with commas between them"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="for each")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    port, upstream_port = free_port(), free_port()
    environment = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
        "OUTPUT_API_KEY": CLIENT_KEY,
        "MAX_HELD_MB": str(_HELD),
        "MAX_WAIT": "2",
    } | {f"GOOGLE_API_KEY_{number}": f"upstream-key-number-{number}" for number in range(1, 51)}
    upstream = [sys.executable, "-m", "tests.bench.attackers", "upstream", "--port", str(upstream_port)]
    with started(upstream, {}, cores[-1]) as relayed_to, pinned(cores[-1]):
        Log(relayed_to.stderr or sys.stdin.buffer)
        with started([sys.executable, str(options.server.resolve())], environment, cores[0]) as program:
            assert program.stderr
            names = options.only.split(",")
            shows = asyncio.run(run(port, program.pid, Log(program.stderr), names, options.seconds))
    return 0 if shows else 1


if __name__ == "__main__":
    sys.exit(main())
