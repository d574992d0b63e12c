"""`/events.json`: what has happened to the keys and the pool, by page, with the requests that caused it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from proxycore.runtime.app import make_app
from proxycore.storage.rows import EventKind, EventRow
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.documents import API, blocks
from tests.support.proxy import KEYS, Proxy, served, settings
from tests.support.storing import NOW, read_page, storage
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
NOBODY = "http://127.0.0.1:9"
ADMIN = ("x-goog-api-key", "the-admin")
JSON = ("Content-Type", "application/json")
NAMED = {"GOOGLE_API_KEY_one": "AQ.first", "GOOGLE_API_KEY_two": "AQ.second"}
BENCHED = EventRow(NOW, EventKind.BENCHED, "first", "gemini-2.5-pro", "quota exhausted", "id-1", NOW + 60.5)
OUTAGE = EventRow(NOW + 1, EventKind.OUTAGE_BEGAN, about="gemini-2.5-pro", why="overloaded", request="id-2")


@asynccontextmanager
async def recorded(
    path: Path, upstream: str = NOBODY, keys: dict[str, str] = KEYS, **variables: str
) -> AsyncIterator[tuple[Proxy, Storage]]:
    """A proxy that records in a state file."""
    clock = TurnedClock(NOW)
    async with storage(path, clock) as kept:
        app = make_app(settings(upstream, keys, **variables), clock, records=kept)
        app.record_in(kept)
        async with served(app) as here:
            yield here, kept


async def get(here: Proxy, **parameters: object) -> dict[str, Any]:
    return await read_page(here, "/events.json", parameters)


async def shown(here: Proxy, **parameters: object) -> list[tuple[str, str]]:
    return [(one["kind"], one["key"]) for one in (await get(here, **parameters))["events"]]


async def act(here: Proxy, **asked: object) -> str:
    """Ask for an action; return the id of the request."""
    got = await ask(here.port, "POST", "/status.json", HOME, JSON, body=json.dumps(asked).encode())
    assert got.status == 200, got.body
    return got.one("X-Request-Id")


def shape(content: dict[str, Any]) -> list[list[str]]:
    """The names of all members, in their order."""
    return [list(content), *map(list, content["events"])]


async def test_an_event_is_shown_with_all_that_is_recorded_of_it(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_event(BENCHED)
        kept.put_event(OUTAGE)
        content = await get(here)
        assert content == {
            "events": [
                {
                    "time": NOW + 1,
                    "kind": "outage began",
                    "key": "",
                    "about": "gemini-2.5-pro",
                    "why": "overloaded",
                    "request": "id-2",
                    "until": None,
                },
                {
                    "time": NOW,
                    "kind": "benched",
                    "key": "first",
                    "about": "gemini-2.5-pro",
                    "why": "quota exhausted",
                    "request": "id-1",
                    "until": NOW + 60.5,
                },
            ],
            "cursor": None,
        }
    documented = [json.loads(block.code) for block in blocks(API) if '{"events": [' in block.code]
    assert [shape(one) for one in documented] == [shape(content)]


async def test_filters_leave_the_events_that_match_all_of_them(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_event(BENCHED)
        kept.put_event(OUTAGE)
        kept.put_event(EventRow(NOW + 2, EventKind.RECOVERED, "first"))
        kept.put_event(EventRow(NOW + 3, EventKind.BENCHED, "second"))
        kept.put_event(EventRow(NOW + 4, EventKind.RELOADED))
        assert len(await shown(here)) == 5
        assert len(await shown(here, key="", kind="", since="")) == 5
        assert await shown(here, key="first") == [("recovered", "first"), ("benched", "first")]
        assert await shown(here, key="nobody") == []
        assert await shown(here, kind="outage began") == [("outage began", "")]
        assert await shown(here, kind="retired") == []
        assert await shown(here, since=NOW + 3) == [("reloaded", ""), ("benched", "second")]
        assert await shown(here, key="first", kind="benched") == [("benched", "first")]
        assert await shown(here, key="first", kind="benched", since=NOW + 1) == []


async def test_pages_follow_each_other_by_cursor_while_events_are_added(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number in range(25):
            kept.put_event(EventRow(NOW + number, EventKind.BENCHED, "first"))
        seen: list[float] = []
        cursor: int | None = None
        while True:
            page = await get(here, key="first", limit=10, cursor="" if cursor is None else cursor)
            kept.put_event(EventRow(NOW + 100, EventKind.BENCHED, "first"))
            seen += [one["time"] for one in page["events"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert seen == [NOW + number for number in reversed(range(25))]


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("client=alice", "Unknown parameter 'client'. Known are: key, kind, since, limit, cursor."),
        ("kind=rested", "kind: 'rested' is not one of benched, retired, recovered, outage began,"),
        ("limit=1001", "limit: '1001' is not a whole number from 1 to 1000."),
        ("cursor=x", "cursor: 'x' is not a whole number"),
        ("since=yesterday", "since: 'yesterday' is not a time."),
    ],
)
async def test_a_wrong_parameter_is_refused_with_what_to_send(tmp_path: Path, query: str, hint: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        got = await ask(here.port, "GET", f"/events.json?{query}", HOME)
        assert (got.status, hint in json.loads(got.body)["error"]["message"]) == (400, True), got.body


async def test_the_admin_key_in_the_query_is_not_the_name_of_a_key(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db", ADMIN_API_KEY=ADMIN[1]) as (here, kept):
        kept.put_event(BENCHED)
        kept.put_event(OUTAGE)
        for parameters, found in ((f"key={ADMIN[1]}", 2), (f"key={ADMIN[1]}&key=first", 1)):
            got = await ask(here.port, "GET", f"/events.json?{parameters}", HOME)
            assert len(json.loads(got.body)["events"]) == found
        assert (await ask(here.port, "GET", "/events.json?key=first", HOME)).status == 401


async def test_secrets_of_later_settings_are_not_shown(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        secret = KEYS["GOOGLE_API_KEY_1"]
        kept.put_event(EventRow(NOW, EventKind.BENCHED, "first", secret, f"said {secret}", f"id-{secret}"))
        got = await ask(here.port, "GET", "/events.json", HOME)
        assert secret.encode() not in got.body
        assert got.body.count(b"key 1") == 3


async def test_what_an_action_does_to_a_key_has_the_id_of_the_request_that_asked_for_it(
    tmp_path: Path,
) -> None:
    mock = MockServer({"AQ.first": Health.suspended(), "AQ.second": Health.healthy()})
    async with recorded(tmp_path / "state.db", mock.listen(), NAMED) as (here, _):
        tried = await act(here, action="try", key="one")
        mock.keys["AQ.first"] = Health.healthy()
        again = await act(here, action="try", key="one")
        rested = await act(here, action="rest", key="one", seconds=60)
        released = await act(here, action="release", key="one")
        events = (await get(here, key="one"))["events"]
        assert [(one["kind"], one["request"]) for one in reversed(events)] == [
            ("benched", tried),
            ("action", tried),
            ("recovered", again),
            ("action", again),
            ("benched", rested),
            ("action", rested),
            ("action", released),
        ]
        assert events[0]["why"] == "Key one is released."
        assert await shown(here, key="two") == []
    await mock.stop()
