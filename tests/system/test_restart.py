"""The program is killed and started again: what it had learned of its keys holds, and no secret was kept."""

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxycore.demo import Health, MockServer
from tests.support.process import Program, program
from tests.support.waiting import PATIENCE
from tests.support.wire import ask

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "a-planted-question"}]}]}'
HOME = ("Host", "localhost")
SPENT = [f"AQ.spent-{n}-planted-secret" for n in range(60)]
FINE = [f"AQ.fine-{n}-planted-secret" for n in range(5)]


@asynccontextmanager
async def pool() -> AsyncIterator[tuple[MockServer, dict[str, str]]]:
    """An upstream where 60 of 65 keys have spent their day, and the settings for it."""
    mock = MockServer({key: Health.day_quota(0) for key in SPENT} | {key: Health.healthy() for key in FINE})
    keys = {f"GOOGLE_API_KEY_{n}": key for n, key in enumerate([*SPENT, *FINE])}
    yield mock, keys | {"UPSTREAM_URL": mock.listen(), "STATE_FILE": "state.db", "MAX_WAIT": "30"}
    await mock.stop()


async def generate(started: Program) -> int:
    port = await asyncio.to_thread(lambda: started.port)
    return (await ask(port, "POST", GENERATE, HOME, body=QUESTION)).status


def calls_to_spent(mock: MockServer) -> int:
    return sum(call.key in SPENT for call in mock.calls)


def benches_in(path: Path) -> int:
    """How many benches the file has, as it is on the disk."""
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        if (original := path.with_name(path.name + suffix)).exists():
            copy.with_name(copy.name + suffix).write_bytes(original.read_bytes())
    connection = sqlite3.connect(copy)
    try:
        (count,) = connection.execute("SELECT count(*) FROM facts WHERE topic LIKE '% model:%'").fetchone()
    except sqlite3.DatabaseError:  # it was copied while it was written
        return 0
    finally:
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    return int(count)


def bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def written(path: Path) -> None:
    """Wait until the benches of all keys are in the file."""
    while benches_in(path) < len(SPENT):
        time.sleep(0.2)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_keys_that_had_spent_their_day_are_not_asked_again(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "state.db"
    async with pool() as (mock, settings):
        environment = settings | {"WORKERS": workers}
        with program(folder=tmp_path, environment=environment) as started:
            async with asyncio.timeout(PATIENCE):
                while not {call.key for call in mock.calls}.issuperset(SPENT):
                    assert await generate(started) == 200
                await asyncio.to_thread(written, path)
        asked = calls_to_spent(mock)
        with program(folder=tmp_path, environment=environment) as started:
            assert [await generate(started) for _ in range(30)] == [200] * 30
            port = await asyncio.to_thread(lambda: started.port)
            shown = json.loads((await ask(port, "GET", "/status.json", HOME)).body)
            assert len(shown["keys"]) == len(SPENT + FINE)
            assert "STATE_FILE" not in started.log
        assert calls_to_spent(mock) - asked <= 5
    contents = bytes_in(tmp_path)
    assert b"model:" in contents
    assert b"planted" not in contents


async def test_a_state_file_that_cannot_be_used_is_said_and_requests_are_served(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    mock = MockServer({"AQ.fine": Health.healthy()})
    environment = {"UPSTREAM_URL": mock.listen(), "GOOGLE_API_KEY_1": "AQ.fine", "STATE_FILE": "state.db"}
    with program(folder=tmp_path, environment=environment) as started:
        assert await generate(started) == 200
        line = re.compile(r"STATE_FILE: state\.db can't be used: it is a directory; name a file")
        await asyncio.to_thread(started.wait_for, line)
        assert "Traceback" not in started.log
    await mock.stop()


async def test_without_a_state_file_nothing_is_written(tmp_path: Path) -> None:
    mock = MockServer({"AQ.fine": Health.healthy()})
    environment = {"UPSTREAM_URL": mock.listen(), "GOOGLE_API_KEY_1": "AQ.fine", "STATE_FILE": "off"}
    with program(folder=tmp_path, environment=environment) as started:
        assert await generate(started) == 200
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a local folder
    await mock.stop()
