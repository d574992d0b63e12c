"""The program is killed: the file has the requests that were written, and the events with their causes."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import EventFilter, EventKind, EventRow, RequestFilter, RequestRow
from proxycore.storage.storage import Storage
from tests.support.process import Program, program
from tests.support.waiting import PATIENCE
from tests.support.wire import ask

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
ADMIN = ("x-goog-api-key", "the-admin")
JSON = ("Content-Type", "application/json")
KEYS = {"GOOGLE_API_KEY_fine": "AQ.fine", "GOOGLE_API_KEY_spent": "AQ.spent", "ADMIN_API_KEY": ADMIN[1]}
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


async def kept(folder: Path) -> tuple[list[RequestRow], list[EventRow]]:
    """The latest requests and events in a copy of the file, which may be in use."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    for name in ("state.db", "state.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy)
    storage = Storage(copy / "state.db", 30 * 86400, Clock(), str, interval=600.0)
    await storage.start(lambda _: None)
    try:
        return (await storage.requests(RequestFilter())).rows, (await storage.events(EventFilter())).rows
    finally:
        await storage.close()


def has_requests(wanted: set[str]) -> Callable[[list[RequestRow], list[EventRow]], bool]:
    return lambda requests, _: {row.id for row in requests} >= wanted


async def once(folder: Path, found: Callable[[list[RequestRow], list[EventRow]], bool]) -> None:
    """Wait until the file has what is to be found."""
    async with asyncio.timeout(PATIENCE):
        while not found(*await kept(folder)):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.2)


def children(started: Program) -> list[int]:
    pid = started.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def ids(started: Program, count: int) -> set[str]:
    """Send requests; return their ids."""
    port = await asyncio.to_thread(lambda: started.port)
    got = [await ask(port, "POST", GENERATE, JSON, body=BODY) for _ in range(count)]
    assert {one.status for one in got} == {200}
    return {one.one("X-Request-Id") for one in got}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_requests_that_were_written_outlive_kill_9(tmp_path: Path, workers: str) -> None:
    mock = MockServer({"AQ.fine": Health.healthy(), "AQ.spent": Health.day_quota(0)})
    environment = KEYS | {"UPSTREAM_URL": mock.listen(), "WORKERS": workers, "STATE_FILE": "state.db"}
    asked: set[str] = set()
    for _ in range(2):
        with program(folder=tmp_path, environment=environment) as started:
            asked |= await ids(started, 12)
            await once(tmp_path, has_requests(asked))
            for child in children(started):
                os.kill(child, signal.SIGKILL)
    requests, events = await kept(tmp_path)
    assert {row.id for row in requests} == asked
    assert len(requests) == len(asked)  # each once
    assert {(row.key, row.outcome) for row in requests} == {("fine", RequestOutcome.SERVED)}
    failed = [row for row in requests if len(row.attempts) > 1]
    benched = [event for event in events if event.kind is EventKind.BENCHED]
    # Another worker may be refused before it has heard of the bench.
    assert {event.request for event in benched} <= {row.id for row in failed}
    assert {(event.key, event.about) for event in benched} == {("spent", "gemini-2.5-flash")}
    await mock.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_reloads_and_actions_are_events(tmp_path: Path, workers: str) -> None:
    file = tmp_path / ".env"
    file.write_text("GOOGLE_API_KEY_one=AQ.fine\n")
    environment = {
        "ADMIN_API_KEY": ADMIN[1],
        "WORKERS": workers,
        "STATE_FILE": "state.db",
        "WATCH_ENV_FILE": "off",
    }
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)
        order = json.dumps({"action": "rest", "key": "one", "seconds": 60}).encode()
        got = await ask(port, "POST", "/status.json", ADMIN, JSON, body=order)
        assert got.status == 200
        file.write_text("GOOGLE_API_KEY_one=AQ.fine\nGOOGLE_API_KEY_two=AQ.other\n")
        started.signal(signal.SIGHUP)
        await once(tmp_path, lambda _, events: len(events) == 4)
    _, (added, *events) = await kept(tmp_path)
    assert (added.kind, added.key, added.why) == (EventKind.RELOADED, "two", "added")
    told = {event.kind: event for event in events}
    assert told[EventKind.ACTION].key == told[EventKind.BENCHED].key == "one"
    assert told[EventKind.ACTION].request == got.one("X-Request-Id")
    assert told[EventKind.BENCHED].request == told[EventKind.ACTION].request
    assert told[EventKind.BENCHED].until
    assert told[EventKind.RELOADED].why == "2 Gemini API keys, no client key required"
