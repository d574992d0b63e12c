"""Workers answer queries of the state file, which only the hub has open, as a single process does."""

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.peers import records_link, worker_link
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.hub import Hub
from proxycore.peers.link_messages import Answer, Fault, Query, Report, decode, encode
from proxycore.peers.records_link import RecordsLink, answer_query
from proxycore.peers.store import Store
from proxycore.peers.worker_link import WorkerLink
from proxycore.stats.figures import FiguresError
from proxycore.stats.meter import Meter
from proxycore.storage.records import NoRecords, StateFileOffError
from proxycore.storage.rows import (
    AttemptRow,
    EventFilter,
    EventKind,
    EventRow,
    NoStateFileError,
    QueryError,
    RequestFilter,
    SlotQuery,
    UsageBy,
    UsageQuery,
)
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import KEYS
from tests.support.storing import DAY, NOW, request, storage
from tests.support.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
ADMIN = ("x-goog-api-key", "the-admin")
MONTH = UsageQuery(NOW - 30 * DAY, NOW + DAY, frozenset({UsageBy.DAY, UsageBy.CLIENT, UsageBy.OUTCOME}))
SLOTS = SlotQuery(int(NOW - DAY), int(NOW + DAY), 3600)


@contextlib.asynccontextmanager
async def linked(path: Path, file: Path | None) -> AsyncIterator[tuple[RecordsLink, Storage]]:
    """A worker's link to a hub that has this state file, and the hub's storage."""
    clock = TurnedClock(NOW)
    kept = Storage(file or Path("unused"), 30 * DAY, clock, str, interval=600.0)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    hub = Hub(lambda _: None, clock, lambda store: DiskLink(kept, store, clock) if file else None)
    await hub.start(listener)
    link = WorkerLink(path, Store(clock), Meter(clock))
    await link.start()
    try:
        yield RecordsLink(link), kept
    finally:
        await link.close()
        await hub.close()


@contextlib.asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


async def test_a_worker_gets_the_rows_that_the_file_has() -> None:
    async with folder() as path, linked(path / "hub", path / "state.db") as (link, kept):
        attempts = (
            AttemptRow("1", 429, "quota", 'a "reason"\nof two lines', 0.25, 0.5),
            AttemptRow("2", 0, "", "", 1, 2),
        )
        for number in range(30):
            kept.put_request(request(number, attempts=attempts, first_byte=None if number else 0.5))
        kept.put_request(request(30, client="bob", status=503, outcome=RequestOutcome.FAILED, unread=True))
        kept.put_request(request(31, why="no key\nat all", waited=1.5))
        every, bobs = RequestFilter(), RequestFilter(client="bob", outcome=RequestOutcome.FAILED, status=503)
        page = await link.requests(every, limit=10)
        assert page == await kept.requests(every, limit=10)
        assert page.cursor is not None
        rest = await link.requests(every, before=page.cursor, limit=100)
        assert rest == await kept.requests(every, before=page.cursor, limit=100)
        assert len(page.rows) + len(rest.rows) == 32
        assert (page.rows[0].why, page.rows[0].waited) == ("no key\nat all", 1.5)
        assert [row.id for row in (await link.requests(bobs)).rows] == ["id-30"]
        assert (await link.requests(RequestFilter(since=NOW + 1))).rows == []
        for number in range(5):
            kept.put_event(
                EventRow(NOW + number, EventKind.BENCHED, f"{number % 2}", "m", "w", "id-1", NOW + 9.5)
            )
        kept.put_event(EventRow(NOW + 5, EventKind.RELOADED))
        events = await link.events(EventFilter(), limit=4)
        assert events == await kept.events(EventFilter(), limit=4)
        left = await link.events(EventFilter(), before=events.cursor)
        assert (len(left.rows), left.cursor) == (2, None)
        wanted = EventFilter("0", EventKind.BENCHED, NOW + 1)
        assert [row.time for row in (await link.events(wanted)).rows] == [NOW + 4, NOW + 2]
        usage = await link.usage(MONTH)
        assert usage == await kept.usage(MONTH)
        assert sum(row.requests for row in usage) == 32
        slots = await link.slots(SLOTS)
        assert slots == await kept.slots(SLOTS)
        assert (slots.first, [slot.ended.total() for slot in slots.slots]) == (NOW, [32])


async def test_what_the_hub_cannot_answer_is_raised_as_by_the_storage() -> None:
    async with folder() as path:
        async with linked(path / "off", None) as (link, _):
            with pytest.raises(StateFileOffError, match="STATE_FILE is off"):
                await link.requests(RequestFilter())
            with pytest.raises(StateFileOffError, match="STATE_FILE is off"):
                await link.events(EventFilter())
            with pytest.raises(StateFileOffError, match="STATE_FILE is off"):
                await link.slots(SLOTS)
        async with linked(path / "unusable", path) as (link, _):
            with pytest.raises(NoStateFileError, match="directory"):
                await link.usage(MONTH)
        async with linked(path / "hub", path / "state.db") as (link, _):
            hours = frozenset({UsageBy.HOUR, UsageBy.CLIENT, UsageBy.KEY})
            with pytest.raises(QueryError, match="a week at most"):
                await link.usage(UsageQuery(NOW - 30 * DAY, NOW, hours))


async def test_an_answer_that_is_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_link, "_LARGEST", 2**20)
    async with folder() as path, linked(path / "hub", path / "state.db") as (link, kept):
        for number in range(1000):
            kept.put_request(request(number, address="x" * 500, path="y" * 500, method="z" * 500))
        with pytest.raises(QueryError, match="more than 1 MB"):
            await link.requests(RequestFilter(), limit=1000)
        assert len((await link.requests(RequestFilter(), limit=10)).rows) == 10


async def test_a_hub_that_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "QUERY_TIMEOUT", 0.1)
    async with folder() as path, linked(path / "hub", path / "state.db") as (link, kept):
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        blocking = asyncio.ensure_future(
            kept._do(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
        )
        with pytest.raises(FiguresError, match="does not respond now"):
            await link.usage(MONTH)
        release.set()
        await blocking
        monkeypatch.setattr(worker_link, "QUERY_TIMEOUT", 30.0)
        assert await link.usage(MONTH) == []  # the late answer is not taken for this one's


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 10_000,
        '["requests", [], null, 10]',
        '["requests", [null, null, null, null, "fine", null, null], null, 10]',
        '["requests", [null, null, null, null, null, "200", null], null, 10]',
        '["requests", [null, null, null, null, null, null, null], null, 100000]',
        '["events", [null, null], null, 10]',
        '["events", [null, "rested", null], null, 10]',
        '["events", [null, null, null], null, 0]',
        '["usage", 0, 1, ["week"]]',
        '["usage", 0, "1", []]',
        '["slots", 0, 3600, 60]',
        '["slots", 0, 3600, 0]',
        '["slots", 0.5, 3600, 600]',
    ],
)
async def test_what_is_no_query_is_not_answered(text: str) -> None:
    assert await answer_query(NoRecords(), 1, text) is None


@pytest.mark.parametrize("text", ["", "{}", "[1]\n[1]", "[", "[1, 2]"])
async def test_what_is_no_answer_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with folder() as path, linked(path / "hub", None) as (link, _):

        async def query(_: str) -> Answer:
            return Answer(1, text)

        monkeypatch.setattr(link._link, "query", query)
        with pytest.raises(FiguresError):
            await link.requests(RequestFilter())
        with pytest.raises(FiguresError):
            await link.events(EventFilter())
        with pytest.raises(FiguresError):
            await link.slots(SLOTS)


def test_queries_and_answers_are_read_as_they_were_written() -> None:
    for message in (Query(7, '["usage"]\n'), Answer(7, "ü\n"), Answer(8, "why", Fault.TOO_MUCH)):
        assert decode(encode(message)) == message
        assert b"\n" not in encode(message)
    for line in (b'{"query": "1", "text": ""}', b'{"answer": 1, "text": "", "fault": "else"}'):
        with pytest.raises(ValueError, match="not a"):
            decode(line)
    assert isinstance(decode(encode(Report([], [], 1))), Report)


async def filled(path: Path) -> None:
    """A state file with 300 requests."""
    async with storage(path) as kept:
        for number in range(300):
            kept.put_request(request(number, client=f"client-{number % 3}", input_tokens=1_000))
            kept.put_event(EventRow(NOW + number, EventKind.BENCHED, f"{number % 3}"))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_program_serves_what_is_in_its_state_file(tmp_path: Path, workers: str) -> None:
    await filled(tmp_path / "state.db")
    (tmp_path / "prices.csv").write_text("gemini-*,2,1,1\n")
    environment = {
        **KEYS,
        "UPSTREAM_URL": "http://127.0.0.1:9",
        "ADMIN_API_KEY": ADMIN[1],
        "STATE_FILE": "state.db",
        "KEEP_DAYS": "100000",
        "PRICES_FILE": "prices.csv",
        "WORKERS": workers,
    }
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)

        async def get(target: str) -> Any:  # noqa: ANN401 - JSON
            got = await ask(port, "GET", target, ADMIN)
            assert got.status == 200, got.body
            return json.loads(got.body)

        for _ in range(4):  # whichever process answers
            page = await get("/requests.json?client=client-1&limit=60")
            assert [row["id"] for row in page["requests"]] == [f"id-{n}" for n in range(298, 120, -3)]
            page = await get(f"/requests.json?client=client-1&limit=60&cursor={page['cursor']}")
            assert (len(page["requests"]), page["cursor"]) == (40, None)
            page = await get("/events.json?key=1&limit=60")
            assert [row["time"] for row in page["events"]] == [NOW + n for n in range(298, 120, -3)]
            page = await get(f"/events.json?key=1&limit=60&cursor={page['cursor']}")
            assert (len(page["events"]), page["cursor"]) == (40, None)
            usage = await get("/usage.json?by=client&from=2027-01-01&to=2027-02-01")
            assert {(row["client"], row["requests"], row["cost"]) for row in usage["rows"]} == {
                ("client-0", 100, 0.2),
                ("client-1", 100, 0.2),
                ("client-2", 100, 0.2),
            }
            csv = await ask(port, "GET", "/usage.csv?by=day&from=2027-01-01&to=2027-02-01", ADMIN)
            assert csv.body.splitlines()[1].startswith(b"2027-01-15,300,300,")
            assert (await ask(port, "GET", "/usage.json?by=all", ADMIN)).status == 400
