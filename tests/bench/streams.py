"""10,000 open streams in two workers, all moving, beside 200 that bring as many events.

    python -m tests.bench.streams [--streams 10000] [--rounds 6]    about a minute

Both groups are open in one program, and move in turn, so that a machine that gets slower does so for both.
Printed is the CPU for an event of the many, and its ratio to that of the few. Linux only. Each stream takes
two descriptors in the program and one each in the load and in the upstream. The exit status is 1 if a stream
lost or broke anything.

What it must show: every stream whole, and about the CPU per event of the few.
"""

import argparse
import resource
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.bench.load import Slice, Streams
from tests.support.many_streams import Workers, workers

_FEW = 200
_RATE = 4000.0  # events a second, of a group
_SECONDS = 3.0
_BUSY = 3.0  # seconds: a median event that takes longer was not the program's fault alone


async def _slice(here: Workers, streams: Streams, number: int) -> Slice:
    """A time in which the group moves."""
    return await streams.move(number / _RATE, warm=1.0, seconds=_SECONDS, meter=here.meter)


async def compare(number: int, rounds: int) -> bool:
    """Run and print them; return whether nothing broke."""
    with tempfile.TemporaryDirectory(prefix="streams-") as folder:
        async with workers(Path(folder)) as here:
            few, many = here.streams("few"), here.streams("many")
            await few.open(_FEW)
            before = here.meter.memory()
            await many.open(number)
            memory = (here.meter.memory() - before) / number
            slices = [
                (await _slice(here, few, _FEW), await _slice(here, many, number)) for _ in range(rounds)
            ]
            moved = sum(events > 1 for events in many.received)
            for group in (few, many):
                group.leave()
    errors = sum((one.errors for pair in slices for one in pair), start=slices[0][0].errors)
    ratios = [after.cpu / ahead.cpu for ahead, after in slices]
    delay = statistics.median(pair[1].delay for pair in slices)
    sys.stdout.write(
        f"{number} streams, of which {moved} moved, {memory / 1000:.0f} kB each,"
        f" {dict(errors) or 'none broke'}\n"
        f"{statistics.median(pair[1].cpu for pair in slices) * 1e6:.0f} µs of CPU for an event,"
        f" {statistics.median(ratios):.2f} times that of {_FEW} streams"
        f" ({min(ratios):.2f} to {max(ratios):.2f}); an event takes {delay * 1000:.1f} ms\n"
        + ("the machine was too busy to trust the figures\n" if delay > _BUSY else "")
    )
    return not errors and moved == number


def main() -> int:
    """Run as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.streams",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < options.streams * 1.2 + 500:  # workers share them, though not in equal parts
        parser.error(f"{most} descriptors for a process are too few (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return 0 if uvloop.run(compare(options.streams, options.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
