"""A program that is killed while it writes: the file opens again, and has all that was written."""

import asyncio
import signal
import sys
from pathlib import Path

from proxycore.storage.rows import Fact
from tests.storage.test_state_file import numbers
from tests.support.process import ROOT
from tests.support.storing import storage

_LOAD = """
import asyncio, sys
from pathlib import Path
from tests.support.storing import fact, put_facts, request, storage

async def main():
    async with storage(Path(sys.argv[1])) as kept:
        number = int(sys.argv[2])
        while True:
            for _ in range(7):
                number += 1
                kept.put_request(request(number))
            put_facts(kept, [fact(stamp=float(number), line=str(number).encode())])
            await kept.flush()
            print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_written_outlives_kill_9_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    last = 0
    for round_ in range(4):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LOAD, str(path), str(last), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout
        for _ in range(1 + 13 * round_):
            last = int(await child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        said = [last, *map(int, (await child.stdout.read()).split())]
        await child.wait()
        opened: list[Fact] = []
        async with storage(path, facts=opened) as kept:
            found = await numbers(kept)
        assert found == list(range(1, found[-1] + 1))  # whole batches, each once
        assert found[-1] >= said[-1]
        assert int(opened[0].line) >= said[-1]
        last = found[-1]
