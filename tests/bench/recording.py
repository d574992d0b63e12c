"""What the state file costs: CPU per request with it less CPU per request without it, in all processes.

    python -m tests.bench.recording [workers] [rounds] [checkout]

One process and five rounds by default. The programs with and without, and those of another checkout if one is
named, share a core and serve at the same time, so that all suffer alike from what else the machine does. A
round ends when what it recorded is written. Prints the median of the rounds' differences, and their range.
With workers, connections may all fall to one of them, which makes requests cheaper: take many rounds.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.contenders import CLIENT_KEY
from tests.bench.load import plain
from tests.bench.machine import Meter, free_port, pinned, running
from tests.bench.upstream import KEYS

_ROOT = Path(__file__).resolve().parents[2]
_CONNECTIONS = 16
_SECONDS = 6.0  # of load in a round
_WRITTEN = 2.5  # seconds after which all of it is in the file


async def _round(programs: list[tuple[int, Meter]]) -> list[float]:
    """Return the microseconds of CPU per request of each program."""
    before = [meter() for _, meter in programs]
    loads = [plain(port, _CONNECTIONS, warm=0.0, seconds=_SECONDS, meter=meter) for port, meter in programs]
    done = [load.done for load in await asyncio.gather(*loads)]
    await asyncio.sleep(_WRITTEN)
    used = [(meter() - sample).cpu for (_, meter), sample in zip(programs, before, strict=True)]
    return [1e6 * cpu / number for cpu, number in zip(used, done, strict=True)]


async def measure(folder: Path, roots: list[Path], workers: int, rounds: int) -> None:
    """Print the figures of each checkout."""
    cores = sorted(os.sched_getaffinity(0))
    upstream = free_port()
    command = [sys.executable, str(_ROOT / "tests/bench/upstream.py"), "--port", str(upstream)]
    with ExitStack() as stack:
        stack.enter_context(running(command, {}, folder / "upstream", upstream, cores[-1]))
        programs: list[tuple[int, Meter]] = []
        for number, root in enumerate(roots):
            for state in ("off", "state.db"):
                port = free_port()
                environment = {f"GOOGLE_API_KEY_{place}": key for place, key in enumerate(KEYS, 1)}
                environment |= {"HOST": "127.0.0.1", "PORT": str(port), "WORKERS": str(workers)}
                environment |= {"UPSTREAM_URL": f"http://127.0.0.1:{upstream}", "OUTPUT_API_KEY": CLIENT_KEY}
                own = {"STATE_FILE": state}
                command = [sys.executable, str(root / "server.py")]
                place = folder / f"{number}-{state}"
                process = stack.enter_context(running(command, environment | own, place, port, cores[0]))
                programs.append((port, Meter.of(process, cores[0])))
        stack.enter_context(pinned(cores[-1]))
        costs = [await _round(programs) for _ in range(rounds + 1)][1:]  # the first one is to warm up
    for number, root in enumerate(roots):
        more = sorted(each[2 * number + 1] - each[2 * number] for each in costs)
        without = statistics.median(each[2 * number] for each in costs)
        print(f"{root.name}, workers={workers}: {without:.0f} µs per request without a state file; ", end="")  # noqa: T201 - a report
        print(f"with it {statistics.median(more):.1f} more ({more[0]:.1f} to {more[-1]:.1f})")  # noqa: T201


def main() -> None:
    """Measure."""
    workers, rounds = (int(value) for value in [*sys.argv[1:3], *("1", "5")[len(sys.argv[1:3]) :]])
    roots = [_ROOT, *(Path(name).resolve() for name in sys.argv[3:4])]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), roots, workers, rounds))


if __name__ == "__main__":
    main()
