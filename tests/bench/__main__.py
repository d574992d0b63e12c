"""Measure the proxy beside nginx, Caddy, aiohttp and a proxy of the usual kind, and print it as Markdown.

    python -m tests.bench                       all parts, in a few minutes
    python -m tests.bench --quick plain events  two parts of it, less exact
    python -m tests.bench --against ../other    beside another checkout, too

All proxies share one core, on which they take turns; the load and the upstream have another. The exit status
is 1 when our proxy or nginx lost or broke anything, else 0.
"""

import argparse
import gc
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import uvloop

from tests.bench.contenders import AGAINST, ALL, NGINX, OURS, Contender, Origin, checkout
from tests.bench.machine import ServerError, free_port, pinned, running
from tests.bench.parts import PARTS, QUICK, SMOKE, Bench, Plan
from tests.bench.report import Report
from tests.support.process import certify

_UPSTREAM = Path(__file__).resolve().parent / "upstream.py"
_RUN = "the run"
_MANY, _MANY_STREAMS = "many", "tests.bench.streams"  # 10,000 streams in two workers: a program of its own


def main() -> int:
    """Run the parts that the command line names, print their report, and return the exit status."""
    options = _parser().parse_args()
    if sys.platform != "linux":
        sys.stderr.write("The benchmark reads /proc and pins processes to cores: it needs Linux.\n")
        return 2
    _raise_file_limit()
    began, cores = time.monotonic(), sorted(os.sched_getaffinity(0))
    chosen = _contenders(options)
    contenders = [contender for contender in chosen if not contender.missing]
    report = Report([contender.name for contender in contenders])
    for contender in chosen:
        if contender.missing:
            report.note(f"{contender.name} is not installed")
    if len(cores) == 1:
        report.note("one core only: the load competes with what it measures; no number is worth much")
    gc.disable()  # the load makes few cycles, and a collection would be seen as delay
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            _measure(report, Path(folder), contenders, options)
        except ServerError as error:
            report.failed(_RUN, error)  # the upstream, or a proxy that ended while nobody looked
    sys.stdout.write(f"Python {platform.python_version()}, {_processor()}, {len(cores)} cores; ")
    sys.stdout.write(f"it took {time.monotonic() - began:.0f} s.\n\n{report}")
    sys.stdout.flush()
    if _MANY in options.parts and find_spec(_MANY_STREAMS):
        subprocess.run([sys.executable, "-m", _MANY_STREAMS], check=False)
    return 1 if report.broken & {OURS, NGINX, _RUN} else 0


def _measure(report: Report, folder: Path, contenders: list[Contender], options: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))
    certify(folder, "localhost")
    bare, tls = Origin(free_port()), Origin(free_port(), folder / "ca.pem")
    command = [sys.executable, str(_UPSTREAM), "--port", str(bare.port)]
    command += ["--tls-port", str(tls.port), "--certificates", str(folder)]
    with running(command, {}, folder / "upstream", bare.port, cores[-1]), ExitStack() as stack:
        bench = Bench(options.plan, report, folder, bare, tls, cores[0], contenders, stack)
        stack.enter_context(pinned(cores[-1]))
        for name, part in PARTS.items():
            if name in options.parts:
                uvloop.run(part(bench))


def _contenders(options: argparse.Namespace) -> list[Contender]:
    chosen = [contender for name, contender in ALL.items() if name in options.only]
    if options.against:
        chosen.insert(1, checkout(AGAINST, options.against))
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*PARTS, _MANY]
    parser.add_argument(
        "parts", nargs="*", type=_one_of(names), default=names, metavar="PART", help=", ".join(names)
    )
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument(
        "--quick", dest="plan", action="store_const", const=QUICK, default=Plan(), help="less exact"
    )
    plan.add_argument(
        "--smoke",
        dest="plan",
        action="store_const",
        const=SMOKE,
        help="whether it runs: no number is worth much",
    )
    parser.add_argument(
        "--only",
        type=lambda chosen: list(map(_one_of(list(ALL)), chosen.split(","))),
        default=list(ALL),
        metavar="NAME,NAME",
        help=f"some of the proxies: {','.join(ALL)}",
    )
    parser.add_argument("--against", type=_folder, metavar="FOLDER", help="another checkout, to compare with")
    return parser


def _one_of(names: list[str]) -> Callable[[str], str]:
    def chosen(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(names)}")
        return name

    return chosen


def _folder(name: str) -> Path:
    folder = Path(name).resolve()
    if not (folder / "server.py").is_file():
        raise argparse.ArgumentTypeError(f"there is no {folder / 'server.py'}")
    return folder


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


if __name__ == "__main__":
    sys.exit(main())
