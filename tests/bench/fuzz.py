"""Fuzz both ends of the program for as long as it is given.

    python -m tests.bench.fuzz --minutes 60 [--seed 1]

Each batch of mutated requests and responses has a seed of its own. The first that is misread, or that makes
the program fail, ends the run with the bytes that did it, and its seed; the exit status is 1 then.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fuzz import Fuzzer, requests, responses
from tests.support.raw_socket import Recorder, running

_BATCH = 500


async def fuzz(seconds: float, seed: int) -> list[str]:
    """What was wrong in the first batch that was not right."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with Recorder() as upstream, running(Path(folder), upstream.url) as here:
            fuzzer = Fuzzer(upstream, here.port)
            while time.monotonic() < end:
                wrong = await fuzzer.requests(requests(seed, _BATCH))
                wrong += await fuzzer.responses(responses(seed, _BATCH))
                alive = here.process.poll() is None and "Traceback" not in here.log
                if wrong or not alive:
                    return [f"seed {seed}", *wrong, here.log[-4000:]]
                seed += 1
                sys.stderr.write(f"\r{seed} ")
    return []


def main() -> int:
    """Fuzz as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first batch")
    options = parser.parse_args()
    wrong = asyncio.run(fuzz(60 * options.minutes, options.seed))
    sys.stdout.write("\n".join(wrong) + "\n" if wrong else "nothing was misread\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
