"""The program in several workers, between the load and the upstream of the benchmark."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.contenders import CLIENT_KEY
from tests.bench.load import Streams
from tests.bench.machine import Meter, free_port
from tests.bench.upstream import KEYS
from tests.support.process import ROOT
from tests.support.raw_socket import running
from tests.support.servers import server

_ENVIRONMENT = {f"GOOGLE_API_KEY_{number}": key for number, key in enumerate(KEYS, 1)}


@dataclass(frozen=True)
class Workers:
    """The program; `meter` measures all its processes."""

    port: int
    upstream_port: int
    meter: Meter

    def streams(self, group: str) -> Streams:
        """Streams that move together."""
        return Streams(self.port, self.upstream_port, group)

    @property
    def sockets(self) -> list[int]:
        """How many descriptors each process has open."""
        return sorted(len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in self.meter.processes)


@contextlib.asynccontextmanager
async def workers(folder: Path, count: int = 2) -> AsyncIterator[Workers]:
    """The program in so many workers."""
    port = free_port()
    command = (sys.executable, str(ROOT / "tests" / "bench" / "upstream.py"), "--port", str(port))
    with server(*command, port=port, folder=folder):
        settings = _ENVIRONMENT | {"WORKERS": str(count), "OUTPUT_API_KEY": CLIENT_KEY}
        async with running(folder, f"http://127.0.0.1:{port}", **settings) as here:
            core = min(os.sched_getaffinity(0))
            yield Workers(here.port, port, Meter.of(here.process.pid, core))
            await asyncio.sleep(0.01)  # what was aborted is closed in the loop's next turn
