"""With several workers the figures are the sum over all, whichever answers, and nothing is lost with one."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxycore.demo import Health, MockServer
from proxycore.peers import worker_link
from proxycore.peers.hub import Hub
from proxycore.peers.link_messages import Question, Report, decode, encode
from proxycore.peers.store import Store
from proxycore.peers.worker_link import WorkerLink
from proxycore.rotation.key import Key
from proxycore.stats.figures import FiguresError
from proxycore.stats.meter import Meter
from tests.support.clocks import TurnedClock
from tests.support.process import Program, program
from tests.support.proxy import KEYS
from tests.support.waiting import until
from tests.support.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
ADMIN = ("x-goog-api-key", "the-admin")


async def figure(port: int, name: str) -> float:
    """The sum over all labels of a metric, as a worker tells it."""
    got = await ask(port, "GET", "/metrics", ADMIN)
    assert got.status == 200
    samples = re.findall(rf"^gemini_proxy_{name}(?:{{.*}})? (\S+)$", got.body.decode(), re.MULTILINE)
    return sum(map(float, samples))


@contextlib.asynccontextmanager
async def running_hub(path: Path) -> AsyncIterator[None]:
    """A hub on this socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    hub = Hub(lambda _: None, TurnedClock())
    await hub.start(listener)
    yield
    await hub.close()


@contextlib.asynccontextmanager
async def worker(path: Path, meter: Meter) -> AsyncIterator[WorkerLink]:
    """A worker's end of the link."""
    link = WorkerLink(path, Store(TurnedClock()), meter)
    await link.start()
    yield link
    await link.close()


def told(count: int, answers: int | None = None) -> bytes:
    """A worker's report of so many attempts."""
    return encode(Report([("attempts", ("1", "2xx"), count)], [], answers)) + b"\n"


async def question(reader: asyncio.StreamReader) -> int:
    """The number of the next question that the hub asks."""
    while True:
        message = decode(await reader.readline())
        if isinstance(message, Question):
            return message.number


def children(started: Program) -> list[int]:
    """The hub and the workers, the latest last."""
    pid = started.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_the_sum_is_exact_whichever_worker_answers_and_stays_when_one_is_killed(tmp_path: Path) -> None:
    mock = MockServer(dict.fromkeys(KEYS.values(), Health.healthy()), pace=0.0)
    environment = {**KEYS, "UPSTREAM_URL": mock.listen(), "WORKERS": "3", "ADMIN_API_KEY": ADMIN[1]}
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)
        await asyncio.gather(*(ask(port, "POST", GENERATE, body=BODY) for _ in range(60)))
        assert {await figure(port, "requests_total") for _ in range(12)} == {60}
        assert await figure(port, "workers") == 3
        mock.pace = 30
        running = [asyncio.ensure_future(ask(port, "POST", STREAM, body=BODY)) for _ in range(9)]
        await until(lambda: len(mock.calls) == 69)
        while await figure(port, "open_streams") < 9:
            pass
        shown = json.loads((await ask(port, "GET", "/status.json", ADMIN)).body)
        assert (shown["running"], len(shown["streams"]), shown["workers"]) == (9, 9, 3)
        before = children(started)
        os.kill(before[-1], signal.SIGKILL)
        await until(lambda: len({*children(started)} - {*before}) == 1)
        while await figure(port, "workers") < 3:
            pass
        assert await figure(port, "requests_total") == 60
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await mock.stop()


async def test_a_worker_that_ends_leaves_its_figures_to_the_others() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub"
        one, other = Meter(TurnedClock()), Meter(TurnedClock())
        async with running_hub(path), worker(path, other) as theirs:
            async with worker(path, one) as ours:
                assert len((await ours.read()).processes) >= 1
                one.attempted(Key("1", "secret"), 200)
                other.attempted(Key("1", "secret"), 429)
            while len((figures := await theirs.read()).processes) != 1:
                pass
            assert dict(figures.counters.of("attempts")) == {("1", "2xx"): 1, ("1", "429"): 1}


async def test_without_the_hub_there_is_no_sum_and_with_it_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_link, "PATIENCE", 0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub"
        meter = Meter(TurnedClock())
        async with worker(path, meter) as ours:
            meter.attempted(Key("1", "secret"), 200)
            with pytest.raises(FiguresError):
                await ours.read()
            async with running_hub(path):
                figures = await ours.read()
                assert (dict(figures.counters.of("attempts")), len(figures.processes)) == (
                    {("1", "2xx"): 1},
                    1,
                )


async def test_a_worker_that_hangs_holds_up_the_sum_for_a_second_only() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub"
        async with running_hub(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(told(5))
            async with worker(path, Meter(TurnedClock())) as ours:
                while (figures := await ours.read()).counters.of("attempts") != {("1", "2xx"): 5}:
                    pass
                assert len(figures.processes) == 1
                assert await question(reader)
                writer.close()
                await writer.wait_closed()


async def test_a_report_that_is_under_way_already_is_not_taken_for_the_reply_to_a_later_question() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub"
        async with running_hub(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(told(1))
            async with worker(path, Meter(TurnedClock())) as ours:
                first = asyncio.create_task(ours.read())
                questions = [await question(reader)]
                second = asyncio.create_task(ours.read())
                questions.append(await question(reader))
                writer.write(told(10))  # as a worker does every few seconds
                writer.write(told(100, answers=questions[0]))
                assert (await first).counters.of("attempts") == {("1", "2xx"): 111}
                writer.write(told(1000, answers=questions[1]))
                assert (await second).counters.of("attempts") == {("1", "2xx"): 1111}
                writer.close()
                await writer.wait_closed()
