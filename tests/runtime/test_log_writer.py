"""The thread that writes the log: a slow reader never blocks the program; dropped lines are counted."""

import asyncio
import contextlib
import fcntl
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pytest

from proxycore.runtime.log_writer import LogWriter
from tests.support.process import ROOT
from tests.support.wire import ask, connect

LINE = "x" * 999
PATIENT = 20.0  # seconds that a busy machine may take
READY = re.compile(r"ready: http://\S+:(\d+)")


@dataclass
class Pipe:
    """The smallest pipe, with a writer at one end; the test reads the other when it wants to."""

    writer: LogWriter
    stream: TextIO
    reader: int
    text: bytearray = field(default_factory=bytearray)

    def read_to(self, last: str) -> list[str]:
        """All lines until one ends with this."""
        while not self.text.endswith(f"{last}\n".encode()):
            data = os.read(self.reader, 65536)
            assert data, self.text[-200:]
            self.text += data
        return self.text.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    stream = os.fdopen(end, "w", encoding="utf-8")
    made = Pipe(LogWriter(stream, lambda count: f"{count} dropped"), stream, reader)
    yield made
    with contextlib.suppress(OSError):
        os.close(reader)
    made.writer.flush(PATIENT)
    stream.close()


def fill(pipe: Pipe) -> int:
    """Writes lines until one is dropped; returns how many were not."""
    count = 0
    while not pipe.writer.dropped:
        pipe.writer.write(f"{count:06d} {LINE}")
        count += 1
    return count - 1


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    for number in range(500):
        pipe.writer.write(f"line {number}")
    assert pipe.read_to("line 499") == [f"line {number}" for number in range(500)]


def test_a_stalled_reader_gets_what_was_queued_and_then_the_number_of_dropped_lines(pipe: Pipe) -> None:
    queued = fill(pipe)
    assert 900 < queued < 1200
    for _ in range(136):
        pipe.writer.write("lost")
    lines = pipe.read_to("137 dropped")
    assert [int(line[:6]) for line in lines[:-1]] == list(range(queued))
    pipe.writer.write("and so on")
    assert pipe.read_to("and so on")[-1] == "and so on"
    assert pipe.writer.dropped == 137


def test_writing_never_waits_and_flushing_not_for_long(pipe: Pipe) -> None:
    fill(pipe)  # which would never end
    assert not pipe.writer.flush(0.05)
    pipe.writer.end()  # as before a fork


def test_a_reader_that_has_closed_the_pipe_causes_no_failure(pipe: Pipe) -> None:
    os.close(pipe.reader)
    for number in range(10):
        pipe.writer.write(f"line {number}")
        assert pipe.writer.flush(PATIENT)
    assert pipe.writer.dropped == 10


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    for number in range(100):
        pipe.writer.write(f"{number} {LINE}")
    pipe.writer.write("end")
    assert len(pipe.read_to("end")) == 101
    assert pipe.writer.dropped == 0


def test_lines_go_into_a_pipe_whole_so_that_those_of_other_processes_stand_between_them(pipe: Pipe) -> None:
    other = LogWriter(pipe.stream, str)
    for number in range(200):
        pipe.writer.write(f"a {number:03d} {LINE}")
        other.write(f"b {number:03d} {LINE}")
    seen: list[str] = []
    while len(seen) < 400:
        pipe.text += os.read(pipe.reader, 65536)
        seen = pipe.text.decode().splitlines() if pipe.text.endswith(b"\n") else seen
    for name in "ab":
        assert [line for line in seen if line[0] == name] == [
            f"{name} {number:03d} {LINE}" for number in range(200)
        ]


def test_a_forked_process_writes_its_own_lines_and_not_its_parents() -> None:
    script = """if True:
        import logging, os, sys
        from proxycore.http.redaction import Redactor
        from proxycore.runtime import logs
        logger = logging.getLogger("proxycore")
        logs.configure("info", "text", Redactor({}))
        for number in range(50):
            logger.info("parent %d", number)
        children = []
        for name in ("one", "two"):
            pid = os.fork()
            if pid == 0:
                for number in range(50):
                    logger.info("child %s %d", name, number)
                logs.flush()
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        logger.info("parent is last")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = [line.split("INFO    ")[1] for line in done.stderr.splitlines()]
    assert sorted(said) == sorted(
        [f"parent {n}" for n in range(50)]
        + [f"child {name} {n}" for name in ("one", "two") for n in range(50)]
        + ["parent is last"]
    )
    for name in ("parent", "child one", "child two"):
        numbers = [line.rsplit(" ", 1)[1] for line in said if line.startswith(name) and line[-1].isdigit()]
        assert numbers == list(map(str, range(50)))
    assert said[-1] == "parent is last"


def test_without_standard_error_nothing_fails() -> None:
    writer = LogWriter(None, str)
    writer.write("to nobody")
    assert writer.flush(PATIENT)


def test_a_stream_without_a_file_descriptor_is_written_to_directly() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream, str)
    writer.write("caf\u00e9")
    assert writer.flush(PATIENT)
    assert stream.getvalue() == "caf\u00e9\n"


# The program, with a blocked log output.


@dataclass
class Stalled:
    """The program with a pipe as its standard error, which holds one page and which the test reads."""

    process: "subprocess.Popen[bytes]"
    log: str = ""

    def read_to(self, pattern: re.Pattern[str]) -> re.Match[str]:
        assert self.process.stderr
        while not (found := pattern.search(self.log)):
            data = os.read(self.process.stderr.fileno(), 65536)
            assert data, self.log[-2000:]
            self.log += data.decode()
        return found


@contextlib.contextmanager
def stalled(folder: Path, **environment: str) -> Iterator[Stalled]:
    reader, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py")],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **environment},
        stdout=subprocess.DEVNULL,
        stderr=end,
    )
    os.close(end)
    process.stderr = os.fdopen(reader, "rb", buffering=0)
    try:
        yield Stalled(process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.usefixtures("io_loop")
@pytest.mark.timeout(seconds=60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_requests_are_served_while_the_log_output_is_blocked(tmp_path: Path, workers: str) -> None:
    with stalled(tmp_path, WORKERS=workers) as running:
        port = int((await asyncio.to_thread(running.read_to, READY))[1])
        for number in range(100):  # which make four times what the pipe holds, in each of two workers
            got = await ask(port, "GET", f"/nowhere/{number}/{'x' * 200}")
            assert got.status == 404
        for number in range(100):  # the lines of two workers may come in another order
            await asyncio.to_thread(running.read_to, re.compile(f"/nowhere/{number}/"))


@pytest.mark.usefixtures("io_loop")
@pytest.mark.timeout(seconds=60)
async def test_dropped_lines_are_counted_in_the_metrics_and_the_log(tmp_path: Path) -> None:
    with stalled(tmp_path) as running:
        port = int((await asyncio.to_thread(running.read_to, READY))[1])
        dropped = 0.0
        async with connect(port) as client:
            while not dropped:
                for _ in range(400):
                    client.send("GET", f"/v1beta/models/{'x' * 600}")
                    assert (await client.got()).status == 401
                client.send("GET", "/metrics", ("Host", "localhost"))
                text = (await client.got()).body.decode()
                (value,) = re.findall(r"^gemini_proxy_dropped_log_lines_total (\S+)$", text, re.MULTILINE)
                dropped = float(value)
        said = await asyncio.to_thread(running.read_to, re.compile(r"WARNING (\d+) log lines? w\w+ dropped"))
        assert int(said[1]) == dropped


@pytest.mark.usefixtures("io_loop")
@pytest.mark.timeout(seconds=60)
async def test_a_program_with_a_blocked_log_output_can_be_stopped(tmp_path: Path) -> None:
    with stalled(tmp_path) as running:
        port = int((await asyncio.to_thread(running.read_to, READY))[1])
        for number in range(50):
            await ask(port, "GET", f"/nowhere/{number}/{'x' * 200}")
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 30) == 0


@pytest.mark.usefixtures("io_loop")
@pytest.mark.timeout(seconds=60)
async def test_a_program_whose_standard_error_is_closed_serves(tmp_path: Path) -> None:
    with stalled(tmp_path) as running:
        port = int((await asyncio.to_thread(running.read_to, READY))[1])
        assert running.process.stderr
        running.process.stderr.close()
        for _ in range(3):
            assert (await ask(port, "GET", "/nowhere")).status == 404
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 30) == 0
