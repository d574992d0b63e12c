"""Measure the proxy against a bare nginx and against a proxy of the usual kind, side by side in one run.

    python -m tests.bench            about two and a half minutes, from the top folder
    python -m tests.bench --quick    under 45 seconds, for a first look

Every proxy runs alone on one core; the load and the upstream that it relays to share another. Three loads:
plain requests as fast as they are answered, many busy event streams, and many open streams that hardly move.
The exit status is 1 when our proxy or nginx lost or broke anything, else 0, the targets met or not.
"""

import argparse
import gc
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.bench.client import Target
from tests.bench.load import hold, plain, streams
from tests.bench.machine import Meter, ServerError, free_port, running
from tests.bench.proxies import NAMES, Proxy
from tests.bench.report import DIRECT, Report

HERE = Path(__file__).resolve().parent
CONNECTIONS = 32
STREAM_COUNT, STREAM_GAP = 200, 0.04
HELD_COUNT = 1000


@dataclass(frozen=True)
class Plan:
    """How long everything takes, in seconds. `held_gap`: between the events of a stream that is held open.

    Requests and busy streams are measured in several rounds, the contenders in turn, so that a machine that
    gets slower or busier on the way does so for all of them. Memory does not depend on such things.
    """

    rounds: int = 3
    warm: float = 0.8
    plain: float = 2.5
    ramp: float = 0.7
    streams: float = 4.0
    held_gap: float = 3.0
    held: float = 7.0


QUICK = Plan(rounds=1, warm=0.4, plain=1.5, ramp=0.5, streams=2.5, held_gap=1.0, held=1.5)


@dataclass(frozen=True)
class Bench:
    """One run: its plan, its findings, a folder for logs, the upstream's port, and the cores."""

    plan: Plan
    report: Report
    folder: Path
    upstream_port: int
    proxy_core: int
    load_core: int

    def measure(self, contenders: list[Proxy | None]) -> None:
        """Put every contender through every phase, each time started anew; None is the upstream itself."""
        present = [proxy for proxy in contenders if not proxy or proxy.name not in self.report.missing]
        for phase, run in {"plain requests": self._plain, "streams": self._streams}.items():
            for _ in range(self.plan.rounds):
                for proxy in present:
                    self._try(proxy, phase, run)
        for proxy in filter(None, present):  # the upstream itself has no memory to speak of
            self._try(proxy, "held streams", self._held)

    def _try(self, proxy: Proxy | None, phase: str, run: Callable[[str, Target, Meter], None]) -> None:
        name = proxy.name if proxy else DIRECT
        _say(f"{phase}: {name}")
        try:
            with self._contender(proxy) as (target, meter):
                run(name, target, meter)
        except ServerError as error:
            self.report.failed(name, phase, error)

    @contextmanager
    def _contender(self, proxy: Proxy | None) -> Iterator[tuple[Target, Meter]]:
        if proxy is None:
            yield Target(self.upstream_port, direct=True), Meter(None, self.proxy_core, self.load_core)
            return
        with proxy.running(self.upstream_port, self.folder / proxy.name, self.proxy_core) as (pid, port):
            yield Target(port), Meter(pid, self.proxy_core, self.load_core)

    def _plain(self, name: str, target: Target, meter: Meter) -> None:
        plan = self.plan
        result = uvloop.run(plain(target, CONNECTIONS, warm=plan.warm, seconds=plan.plain, meter=meter))
        self.report.plain(name, result)

    def _streams(self, name: str, target: Target, meter: Meter) -> None:
        work = streams(
            target,
            STREAM_COUNT,
            gap=STREAM_GAP,
            ramp=self.plan.ramp,
            warm=self.plan.warm,
            seconds=self.plan.streams,
            meter=meter,
        )
        self.report.streams(name, uvloop.run(work), STREAM_COUNT / STREAM_GAP)

    def _held(self, name: str, target: Target, meter: Meter) -> None:
        # Warmed up: what is loaded and cached once is not the memory of a thousand streams.
        uvloop.run(plain(target, CONNECTIONS // 2, warm=0, seconds=self.plan.warm, meter=meter))
        uvloop.run(hold(target, CONNECTIONS // 2, gap=0.05, ramp=0.1, seconds=0.3, meter=meter))
        work = hold(
            target,
            HELD_COUNT,
            gap=self.plan.held_gap,
            ramp=2 * self.plan.warm,
            seconds=self.plan.held,
            meter=meter,
        )
        self.report.held(name, uvloop.run(work))


def main() -> int:
    """Run the benchmark as the command line says and print its report; return the exit status."""
    parser = _parser()
    options = parser.parse_args()
    if "ours" in options.only and not options.server.is_file():
        parser.error(f"there is no {options.server}")
    if sys.platform != "linux":
        sys.stderr.write("The benchmark reads /proc and pins processes to cores: it needs Linux.\n")
        return 2
    _raise_file_limit()
    cores = sorted(os.sched_getaffinity(0))
    proxy_core, load_core = cores[0], cores[-1]
    names = [name for name in NAMES if name in options.only]
    proxies = [Proxy(name, options.server) for name in names]
    missing = {proxy.name: proxy.missing for proxy in proxies if proxy.missing}
    report = Report([DIRECT, *names], missing=missing)
    if proxy_core == load_core:
        report.notes.append("one core only: the load competes with what it measures; no number is worth much")

    port = free_port()
    upstream = [sys.executable, str(HERE / "upstream.py"), "--port", str(port)]
    os.sched_setaffinity(0, {load_core})
    gc.disable()  # the load makes few cycles, and a collection would be seen as delay
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        plan = QUICK if options.quick else Plan()
        try:
            with running(upstream, {}, folder / "upstream", port, load_core):
                Bench(plan, report, folder, port, proxy_core, load_core).measure([None, *proxies])
        except ServerError as error:
            report.failed(DIRECT, "the upstream", error)

    machine = f"Python {platform.python_version()}, {_processor()}, {len(cores)} cores"
    if options.json:
        sys.stdout.write(json.dumps({"machine": machine, **report.as_dict()}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{machine}\n\n{report.as_text(_titles())}")
    # The proxy of the usual kind may well fall over: that is a finding, not a fault of the run.
    return 1 if report.broken - {"flask"} else 0


def _titles() -> tuple[str, str, str]:
    return (
        f"Plain requests: POST generateContent, {CONNECTIONS} connections kept alive",
        f"Busy streams: {STREAM_COUNT} at once, {1 / STREAM_GAP:.0f} events a second each",
        f"Open streams: {HELD_COUNT:,} at once, an event now and then",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a short run: less exact")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"some of: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--server",
        type=lambda path: Path(path).resolve(),
        default=HERE.parent.parent / "server.py",
        metavar="PATH",
        help="the server.py to measure, such as that of another checkout (default: this one's)",
    )
    return parser


def _raise_file_limit() -> None:
    """A thousand streams are two thousand connections in a proxy; those that we start inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _say(progress: str) -> None:
    sys.stderr.write(f"{progress} ...\n")


if __name__ == "__main__":
    sys.exit(main())
