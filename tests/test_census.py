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

from proxycore import census
from proxycore.census import CensusError, CensusHall, HostCensus
from proxycore.demo import Health, MockServer
from proxycore.key import Key
from proxycore.meter import Meter
from tests.conftest import KEYS, TurnedClock, until
from tests.process import Program, program
from tests.wire import ask

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
async def hall(path: Path) -> AsyncIterator[None]:
    """The hall's half of it, on this socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    counting = CensusHall(TurnedClock())
    await counting.serve(listener)
    yield
    await counting.close()


def told(count: int, **numbers: int) -> bytes:
    """A worker's message of so many attempts."""
    message = {"counts": [["attempts", ["1", "2xx"], count]], "now": None, **numbers}
    return json.dumps(message).encode() + b"\n"


def children(started: Program) -> list[int]:
    """The hall and the workers, the latest last."""
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
        path = Path(folder) / "census"
        async with hall(path):
            one, other = Meter(TurnedClock()), Meter(TurnedClock())
            ours, theirs = HostCensus(one, path), HostCensus(other, path)
            assert len((await ours.figures()).processes) >= 1
            one.attempted(Key("1", "secret"), 200)
            other.attempted(Key("1", "secret"), 429)
            await ours.close()
            while len((figures := await theirs.figures()).processes) != 1:
                pass
            assert dict(figures.tally.of("attempts")) == {("1", "2xx"): 1, ("1", "429"): 1}
            await theirs.close()


async def test_without_the_hall_there_is_no_sum_and_with_it_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(census, "_PATIENCE", 0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census"
        meter = Meter(TurnedClock())
        ours = HostCensus(meter, path)
        meter.attempted(Key("1", "secret"), 200)
        with pytest.raises(CensusError):
            await ours.figures()
        async with hall(path):
            figures = await ours.figures()
            assert (dict(figures.tally.of("attempts")), len(figures.processes)) == ({("1", "2xx"): 1}, 1)
            await ours.close()


async def test_a_worker_that_hangs_holds_up_the_sum_for_a_second_only() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census"
        async with hall(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(told(5))
            meter = Meter(TurnedClock())
            ours = HostCensus(meter, path)
            while (figures := await ours.figures()).tally.of("attempts") != {("1", "2xx"): 5}:
                pass
            assert len(figures.processes) == 1
            assert b"question" in await reader.readline()
            writer.close()
            await writer.wait_closed()
            await ours.close()


async def test_an_answer_that_is_under_way_already_is_not_taken_for_the_answer_to_a_later_question() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census"
        async with hall(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(told(1))
            ours = HostCensus(Meter(TurnedClock()), path)
            first = asyncio.create_task(ours.figures())
            questions = [json.loads(await reader.readline())["question"]]
            second = asyncio.create_task(ours.figures())
            questions.append(json.loads(await reader.readline())["question"])
            writer.write(told(10))  # as a worker does every few seconds
            writer.write(told(100, answer=questions[0]))
            assert (await first).tally.of("attempts") == {("1", "2xx"): 111}
            writer.write(told(1000, answer=questions[1]))
            assert (await second).tally.of("attempts") == {("1", "2xx"): 1111}
            writer.close()
            await writer.wait_closed()
            await ours.close()
