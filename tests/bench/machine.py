"""The machine under a benchmark: processes on cores of their own, and what they have used of it.

Linux only: what a process used comes from `/proc`, and pinning from `sched_setaffinity`.
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

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class ServerError(Exception):
    """A server did not start, or did not stay up."""


@dataclass(frozen=True)
class Sample:
    """What had been used up at one moment; only the difference of two samples means anything.

    In seconds: `at` of the clock, `cpu` of the proxy's processes, `proxy_core` and `load_core` of all that
    ran on these cores, `stolen` by other virtual machines from either. In bytes: `memory`, resident in the
    proxy's processes.
    """

    at: float
    cpu: float
    memory: int
    proxy_core: float
    load_core: float
    stolen: float

    def __sub__(self, earlier: "Sample") -> "Sample":
        """What was used up between two moments."""
        return Sample(
            at=self.at - earlier.at,
            cpu=self.cpu - earlier.cpu,
            memory=self.memory - earlier.memory,
            proxy_core=self.proxy_core - earlier.proxy_core,
            load_core=self.load_core - earlier.load_core,
            stolen=self.stolen - earlier.stolen,
        )


@dataclass(frozen=True)
class Meter:
    """Reads what a proxy uses; called at both ends of a measured window. `root` None: there is no proxy."""

    root: int | None
    proxy_core: int
    load_core: int

    def __call__(self) -> Sample:
        """Sample now. Raises ServerError when the proxy is gone."""
        cores = {fields[0]: [int(ticks) for ticks in fields[1:]] for fields in _lines(Path("/proc/stat"))}
        try:
            processes = self.processes()
            cpu = sum(_ticks(pid) for pid in processes) / _TICKS_PER_SECOND
            memory = sum(_resident(pid) for pid in processes)
        except OSError:
            raise ServerError("it ended while it was measured") from None
        proxy, load = cores[f"cpu{self.proxy_core}"], cores[f"cpu{self.load_core}"]
        return Sample(
            at=time.monotonic(),
            cpu=cpu,
            memory=memory,
            proxy_core=_busy(proxy) / _TICKS_PER_SECOND,
            load_core=_busy(load) / _TICKS_PER_SECOND,
            stolen=(proxy[7] + load[7]) / _TICKS_PER_SECOND,
        )

    def processes(self) -> list[int]:
        """The proxy's first process and all its descendants, such as nginx's worker."""
        if self.root is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                children.setdefault(int(_stat(entry)[1]), []).append(int(entry.parent.name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
        found = [self.root]
        for pid in found:  # grows while it is read: that is the walk down the tree
            found += children.get(pid, [])
        return found


def _ticks(pid: int) -> int:
    user, system = _stat(Path(f"/proc/{pid}/stat"))[11:13]
    return int(user) + int(system)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_SIZE


def _stat(path: Path) -> list[str]:
    # The name, in brackets, may hold blanks: read on after it, so that index 0 is the state and 1 the parent.
    return path.read_text().rpartition(")")[2].split()


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if line.startswith("cpu")]


def _busy(core: list[int]) -> int:
    user, nice, system, _idle, _iowait, irq, softirq = core[:7]
    return user + nice + system + irq + softirq


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
    command: list[str], environment: dict[str, str], folder: Path, port: int, core: int
) -> Iterator[int]:
    """Start a server on one core, yield its process id once `/healthz` answers 200, and end it.

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
        _end(process)


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 15) -> None:
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


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
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
