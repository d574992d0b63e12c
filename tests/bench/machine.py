"""The machine under a benchmark: processes on cores of their own, and what they have used of it.

Linux only: what a process used comes from its CPU clock and `/proc`, and pinning from `sched_setaffinity`.
"""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_STEAL = 7  # the field of a core's line in /proc/stat: time that other virtual machines took
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: the scheduler's own count of nanoseconds, not the timer's ticks


class ServerError(Exception):
    """A server did not start, or did not stay up."""


@dataclass(frozen=True)
class Sample:
    """What had been used up at one moment, in seconds; only the difference of two samples means anything.

    `at` is the clock's, `cpu` what the measured processes used, `others` what anything else used of their
    core, other virtual machines included.
    """

    at: float
    cpu: float
    others: float

    def __sub__(self, earlier: "Sample") -> "Sample":
        """What was used up between two moments."""
        return Sample(self.at - earlier.at, self.cpu - earlier.cpu, self.others - earlier.others)


@dataclass(frozen=True)
class Meter:
    """Reads what the processes of one server use; called at both ends of a measured time."""

    processes: tuple[int, ...]
    core: int

    @classmethod
    def of(cls, root: int, core: int) -> Self:
        """Measure a process and all the descendants that it has now, such as nginx's worker."""
        return cls(tuple(family(root)), core)

    def __call__(self) -> Sample:
        """Sample now. Raises ServerError when one of the processes is gone."""
        try:
            cpu = sum(map(_cpu, self.processes))
        except OSError:
            raise ServerError("it ended while it was measured") from None
        return Sample(time.monotonic(), cpu, _used_of(self.core) - cpu)

    def memory(self) -> int:
        """Bytes that the processes take; what they share with others counts in part (Pss)."""
        try:
            rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.processes]
        except OSError:
            raise ServerError("it ended while it was measured") from None
        lines = (line.split() for rollup in rollups for line in rollup.splitlines())
        return sum(int(line[1]) * 1024 for line in lines if line[0] == "Pss:")


def _cpu(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) names: of all threads, those that have ended included.
    return time.clock_gettime(~pid << 3 | _CPU_CLOCK)


def _used_of(core: int) -> float:
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    fields = next([int(ticks) for ticks in line[1:]] for line in lines if line[0] == f"cpu{core}")
    user, nice, system, _idle, _iowait, irq, softirq = fields[:_STEAL]
    return (user + nice + system + irq + softirq + fields[_STEAL]) / _TICKS_PER_SECOND


def family(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            # The name, in brackets, may hold blanks: read on after it. The parent is the second field then.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = [root]
    for pid in found:  # grows while it is read: that is the walk down the tree
        found += children.get(pid, [])
    return found


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and every process that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    port: int,
    core: int,
    *,
    patience: float = 5,
) -> Iterator[int]:
    """Start a server on one core, yield its process id once `/healthz` answers 200, and end it.

    It has `patience` seconds to end by itself.

    It runs in `folder` and sees none of our environment: no `.env` and no real key gets into the numbers.
    What it writes goes to `folder/output.log`, as an operator would have it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    with log.open("ab") as output, pinned(core):
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group that is ours to end, with workers that outlived their master
        )
    try:
        _wait_until_healthy(process, port, log)
        try:
            yield process.pid
        except ServerError as error:
            raise ServerError(f"{error}: {_last_words(log)}") from None
        if process.poll() is not None:
            raise ServerError(f"ended with status {process.returncode}: {_last_words(log)}")
    finally:
        _end(process, patience)


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"did not start, status {process.returncode}: {_last_words(log)}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.05)
    raise ServerError(f"did not answer /healthz within {seconds:.0f} s: {_last_words(log)}")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it wrote nothing"


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):  # as a rule nothing is left
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
