"""`.env` rewritten in every manner, with SIGHUPs between, under load: who got in, and who was kept out.

    python -m tests.bench.reloads            a single process, then two workers; about ten minutes
    python -m tests.bench.reloads --count 20

Twenty connections, kept alive, ask with a key that is right in every version of the file; ten ask without
any, or with a wrong one; and ten streams are open at any time. Keys for Google are in the environment too, so
that a file that is lost would let everybody in.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proxycore.demo import Health, MockServer
from proxycore.http.fields import Field
from tests.bench.faults import GENERATE, QUESTION, SERVER, STREAM
from tests.bench.machine import free_port, running
from tests.support.rewrites import MANNERS, strangers
from tests.support.wire import ask, connect

_HEALTHY = 8  # keys; four more are refused in one way or another
_CLIENT = "the-client-key-that-stays"
_CREDENTIAL = ("x-goog-api-key", _CLIENT)
_LONGEST_PAUSE = 1.5  # seconds within a rewrite
_PATIENCE = 30.0  # seconds for a file to be taken


@dataclass
class Load:
    """What became of requests and streams."""

    port: int
    over: bool = False
    addresses: Iterator[str] = field(default_factory=strangers)
    seen: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    async def ask(self) -> None:
        """One connection that is kept alive, with the right key."""
        async with connect(self.port) as client:
            while not self.over:
                client.send("POST", GENERATE, _CREDENTIAL, body=QUESTION)
                got = await client.got()
                self._note("right key", got.status == 200 and got.whole, f"{got.status} {got.body[:200]!r}")
                await asyncio.sleep(0.02)

    async def intrude(self, kind: str, *credential: Field) -> None:
        """Requests that nobody should answer but with 401, each from another address."""
        while not self.over:
            address = next(self.addresses)
            got = await ask(self.port, "POST", GENERATE, *credential, body=QUESTION, address=address)
            self._note(kind, got.status == 401 and got.whole, f"{got.status} {got.body[:200]!r}")
            await asyncio.sleep(0.05)

    async def stream(self) -> None:
        """One stream after the other."""
        while not self.over:
            got = await ask(self.port, "POST", STREAM, _CREDENTIAL, body=QUESTION)
            self._note("stream", got.status == 200 and got.whole and b"STOP" in got.body, f"{got.status}")

    def _note(self, kind: str, fine: bool, what: str) -> None:
        self.seen[kind] += 1
        if not fine:
            self.failed.append(f"{kind}: {what}")

    def tasks(self) -> list[asyncio.Task[None]]:
        """All that ask, at work."""
        work = [self.ask() for _ in range(20)] + [self.stream() for _ in range(10)]
        work += [self.intrude("no key") for _ in range(5)]
        work += [self.intrude("wrong key", ("x-goog-api-key", "the-client-")) for _ in range(5)]
        return [asyncio.create_task(one) for one in work]


@dataclass
class Writer:
    """Rewrites the file of a program, and sends it SIGHUPs meanwhile."""

    path: Path
    url: str
    secrets: list[str]
    source: random.Random
    pid: int = 0

    def text(self, number: int) -> str:
        """Another version: some of the keys, under other names; the clients' keys come last."""
        kept = self.source.sample(self.secrets[:_HEALTHY], self.source.randint(2, _HEALTHY))
        kept += self.source.sample(self.secrets[_HEALTHY:], self.source.randint(0, 4))
        lines = [f"GOOGLE_API_KEY_{self.source.randint(2, 9)}{n}={secret}" for n, secret in enumerate(kept)]
        lines += [f"UPSTREAM_URL={self.url}", f"MAX_WAIT={self.source.randint(10, 20)}"]
        lines += [f"ADMIN_API_KEY=admin-{number}-secret", f"OUTPUT_API_KEY_STAYS={_CLIENT}"]
        return "\n".join(lines) + "\n"

    async def rewrite(self, number: int) -> None:
        """Once, in the manner whose turn it is."""
        manner = MANNERS[number % len(MANNERS)]
        for _ in manner(self.path, self.text(number)):
            await self._pause()
        if self.source.random() < 0.5:
            self._hang_up()

    async def _pause(self) -> None:
        """Mostly short, long enough for an unfinished file to be looked at now and then."""
        if self.source.random() < 0.3:
            self._hang_up()
        long = self.source.random() < 0.1
        await asyncio.sleep(self.source.uniform(0.5, _LONGEST_PAUSE) if long else 0.02)

    def _hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)


async def rewrites(count: int, workers: int) -> tuple[str, bool]:
    """So many rewrites under so many workers: what is told of them, and whether all was well."""
    healths = [Health.healthy()] * _HEALTHY
    healths += [Health.quota(3, window=2.0), Health.service_disabled(), Health.suspended(), Health.bare_429()]
    mock = MockServer({f"AQ.key-{n}": health for n, health in enumerate(healths)}, pace=0.02)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name) / "run"
        folder.mkdir()
        source = random.Random(1)  # noqa: S311 - the same files every time
        writer = Writer(folder / ".env", mock.listen(), list(mock.keys), source)
        writer.path.write_text(writer.text(0))
        environment = {"HOST": "127.0.0.1", "LOG_LEVEL": "info", "WORKERS": str(workers)}
        environment |= {"UPSTREAM_URL": writer.url, "GOOGLE_API_KEY_1": writer.secrets[0]}
        command = [sys.executable, str(SERVER), "--port", str(port)]
        server = running(command, environment, folder, port, 0)
        with server as writer.pid:
            load, began = Load(port), time.monotonic()
            tasks = load.tasks()
            for number in range(1, count + 1):
                await writer.rewrite(number)
                if number % 2 == 0 and not await taken(port, number):
                    load.failed.append(f"the file of rewrite {number} was never taken")
            took = time.monotonic() - began
            load.over = True
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            load.failed += [repr(one) for one in ended if isinstance(one, BaseException)]
        log = (folder / "output.log").read_text()
    await mock.stop()
    for what in dict.fromkeys(load.failed[:5]):
        sys.stderr.write(f"{what}\n")
    seen = ", ".join(f"{number} with {kind}" for kind, number in sorted(load.seen.items()))
    told = (
        f"{f'{workers} workers' if workers > 1 else 'a single process'}: {count} rewrites in {took:.0f} s,"
        f" {log.count('reloaded: ')} reloads, {log.count('reload rejected')} refused; requests: {seen};"
        f" {len(load.failed)} wrong answers, {log.count('Traceback')} tracebacks"
    )
    return told, not load.failed and "Traceback" not in log


async def taken(port: int, number: int) -> bool:
    """Whether the settings of a rewrite are gone by in time, in one process at least."""
    deadline = time.monotonic() + _PATIENCE
    credential, addresses = ("x-goog-api-key", f"admin-{number}-secret"), strangers()
    while time.monotonic() < deadline:
        got = await ask(port, "GET", "/metrics", credential, address=next(addresses))
        if got.status == 200:
            return True
        await asyncio.sleep(0.1)
    return False


def main() -> int:
    """Prints what was found; returns 1 when anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    fine = True
    for workers in (1, 2):
        told, well = asyncio.run(rewrites(options.count, workers))
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()
        fine &= well
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
