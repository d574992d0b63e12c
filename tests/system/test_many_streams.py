"""Many open streams in two workers, all moving: each event arrives, whole and in order, for a little memory.

`python -m tests.bench.streams` does it with 10,000.
"""

from pathlib import Path

import pytest

from tests.support.many_streams import workers
from tests.support.waiting import until

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

STREAMS = 400
MOST_MEMORY = 150_000  # bytes for a stream, with what a process takes for good while it grows


async def test_400_streams_in_two_workers_all_move(tmp_path: Path) -> None:
    async with workers(tmp_path) as here:
        first = here.streams("first")
        await first.open(50)
        assert not (await first.move(0.1, warm=0.2, seconds=0.3, meter=here.meter)).errors
        before = here.meter.memory()
        streams = here.streams("many")
        await streams.open(STREAMS)
        moved = await streams.move(0.5, warm=0.5, seconds=1.5, meter=here.meter)
        assert not moved.errors
        assert min(streams.received) >= 2
        assert len([each for each in here.sockets if each > STREAMS / 4]) == 2
        assert (here.meter.memory() - before) / STREAMS < MOST_MEMORY
        streams.leave()
        first.leave()
        await until(lambda: max(here.sockets) < STREAMS / 4)
