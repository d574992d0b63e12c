"""A thousand reloads under load, with keys that come and go: what failed, and what a reload takes.

    python -m tests.bench.reloads            a single process, then four workers
    python -m tests.bench.reloads --count 50

Twenty connections, kept alive, ask as fast as they are answered, and ten streams are open at any time, while
`.env` is written anew with other keys, good and bad ones, other names of keys and another client key, and
SIGHUP is sent.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from proxycore.demo import Health, StandIn
from tests.bench.faults import GENERATE, QUESTION, SERVER, STREAM
from tests.bench.machine import free_port, running
from tests.wire import HOME, ask, connect

_HEALTHY = 8  # keys; four more are refused in one way or another
_CLIENT = "the-client-key-that-stays"
_CREDENTIAL = ("x-goog-api-key", _CLIENT)


@dataclass
class Load:
    """What became of requests and streams."""

    port: int
    over: bool = False
    requests: int = 0
    streams: int = 0
    failed: list[str] = field(default_factory=list)

    async def ask(self) -> None:
        """One connection that is kept alive."""
        async with connect(self.port) as client:
            while not self.over:
                client.send("POST", GENERATE, _CREDENTIAL, body=QUESTION)
                got = await client.got()
                self._note(got.status == 200 and got.whole, f"request: {got.status} {got.body[:200]!r}")
                self.requests += 1

    async def stream(self) -> None:
        """One stream after the other."""
        while not self.over:
            got = await ask(self.port, "POST", STREAM, _CREDENTIAL, body=QUESTION)
            self._note(got.status == 200 and got.whole and b"STOP" in got.body, f"stream: {got.status}")
            self.streams += 1

    def _note(self, fine: bool, what: str) -> None:
        if not fine:
            self.failed.append(what)


def write(path: Path, url: str, secrets: list[str], source: random.Random, number: int) -> None:
    """Another `.env`: some of the keys, under other names."""
    kept = source.sample(secrets[:_HEALTHY], source.randint(2, _HEALTHY))
    kept += source.sample(secrets[_HEALTHY:], source.randint(0, len(secrets) - _HEALTHY))
    lines = [f"GOOGLE_API_KEY_{source.randint(0, 9)}{n}={secret}" for n, secret in enumerate(kept)]
    lines += [
        f"UPSTREAM_URL={url}",
        f"OUTPUT_API_KEY_STAYS={_CLIENT}",
        f"OUTPUT_API_KEY_{number}=comes-{number}",
    ]
    lines += [f"MAX_WAIT={source.randint(5, 20)}", f"ADMIN_API_KEY=admin-{number}"]
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(path)


async def reloads(count: int, workers: int) -> str:
    """So many reloads of so many workers."""
    healths = [Health.healthy()] * _HEALTHY + [
        Health.quota(3, window=2.0),
        Health.service_disabled(),
        Health.suspended(),
        Health.bare_429(),
    ]
    standin = StandIn({f"AQ.key-{n}": health for n, health in enumerate(healths)}, pace=0.02)
    source = random.Random(1)  # noqa: S311 - the same files every time
    url, port = standin.listen(), free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, file = Path(name) / "run", Path(name) / "run" / ".env"
        folder.mkdir()
        write(file, url, list(standin.keys), source, 0)
        environment = {"HOST": "127.0.0.1", "LOG_LEVEL": "warning", "WORKERS": str(workers)}
        environment |= {"WATCH_ENV_FILE": "off"}
        command = [sys.executable, str(SERVER), "--port", str(port)]
        with running(command, environment, folder, port, 0) as pid:
            load = Load(port)
            tasks = [asyncio.create_task(load.ask()) for _ in range(20)]
            tasks += [asyncio.create_task(load.stream()) for _ in range(10)]
            began = time.monotonic()
            for number in range(1, count + 1):
                write(file, url, list(standin.keys), source, number)
                os.kill(pid, signal.SIGHUP)
                await taken(port, number)
            took = time.monotonic() - began
            load.over = True
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            load.failed += [repr(one) for one in ended if isinstance(one, BaseException)]
        log = (folder / "output.log").read_text()
    await standin.stop()
    kind = f"{workers} workers" if workers > 1 else "a single process"
    for what in dict.fromkeys(load.failed[:5]):
        sys.stderr.write(f"{what}\n")
    return (
        f"{kind}: {count} reloads in {took:.0f} s, {load.requests} requests and {load.streams} streams,"
        f" {len(load.failed)} failed; {log.count('Traceback')} tracebacks"
    )


async def taken(port: int, number: int) -> None:
    """Waits until the settings are gone by, in one process at least."""
    while (await ask(port, "GET", "/readyz", HOME)).status != 200:
        pass
    while (await ask(port, "GET", "/metrics", ("x-goog-api-key", f"admin-{number}"))).status != 200:
        pass


def main() -> int:
    """Prints what was found; returns 1 when anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    fine = True
    for workers in (1, 4):
        told = asyncio.run(reloads(options.count, workers))
        sys.stdout.write(f"{told}\n")
        fine &= " 0 failed" in told
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
