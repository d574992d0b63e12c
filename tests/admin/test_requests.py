"""`/requests.json`: the request log by page, only for the admin."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.runtime.app import make_app
from proxycore.storage.rows import AttemptRow
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.documents import API, blocks
from tests.support.proxy import KEYS, Proxy, proxy, served, settings
from tests.support.storing import NOW, read_page, request, storage
from tests.support.wire import HOME, Got, ask

pytestmark = pytest.mark.usefixtures("io_loop")
NOBODY = "http://127.0.0.1:9"
ADMIN = ("x-goog-api-key", "the-admin")


@asynccontextmanager
async def recorded(path: Path, **variables: str) -> AsyncIterator[tuple[Proxy, Storage]]:
    """A proxy with a state file."""
    clock = TurnedClock(NOW)
    async with storage(path, clock) as kept:
        async with served(make_app(settings(NOBODY, KEYS, **variables), clock, records=kept)) as here:
            yield here, kept


async def get(here: Proxy, **parameters: object) -> dict[str, Any]:
    return await read_page(here, "/requests.json", parameters)


async def ids(here: Proxy, **parameters: object) -> list[str]:
    return [one["id"] for one in (await get(here, **parameters))["requests"]]


def message(got: Got) -> str:
    error = json.loads(got.body)["error"]
    assert error["code"] == got.status
    return str(error["message"])


def shape(content: dict[str, Any]) -> list[object]:
    """The names of all members, in their order."""
    (request,) = content["requests"]
    return [list(content), list(request), *map(list, request["attempts"])]


async def test_a_request_is_shown_with_all_that_is_recorded_of_it(tmp_path: Path) -> None:
    attempts = (
        AttemptRow("first", 429, "quota", "quota exceeded for requests per minute", 0.25, 0.001),
        AttemptRow("second", 200, "healthy", "", 1.5, 2.252),
    )
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(
            request(
                1,
                key="second",
                input_tokens=10,
                output_tokens=20,
                cached_tokens=3,
                thinking_tokens=4,
                tool_tokens=5,
                received_bytes=100,
                sent_bytes=200,
                first_byte=0.5,
                seconds=3.75,
                why="Client alice has reached its limit",
                waited=2.0,
                attempts=attempts,
            )
        )
        shown = await get(here)
    documented = [json.loads(block.code) for block in blocks(API) if '{"requests": [' in block.code]
    assert [shape(one) for one in documented] == [shape(shown)]
    assert shown == {
        "requests": [
            {
                "id": "id-1",
                "time": NOW,
                "client": "alice",
                "address": "192.0.2.1",
                "method": "POST",
                "path": "/v1beta/models/gemini-2.5-flash:generateContent",
                "model": "gemini-2.5-flash",
                "key": "second",
                "status": 200,
                "outcome": "served",
                "input_tokens": 10,
                "output_tokens": 20,
                "cached_tokens": 3,
                "thinking_tokens": 4,
                "tool_tokens": 5,
                "unread": False,
                "received_bytes": 100,
                "sent_bytes": 200,
                "first_byte": 0.5,
                "seconds": 3.75,
                "why": "Client alice has reached its limit",
                "waited": 2.0,
                "attempts": [
                    {
                        "key": "first",
                        "status": 429,
                        "verdict": "quota",
                        "why": "quota exceeded for requests per minute",
                        "seconds": 0.25,
                        "at": 0.001,
                    },
                    {
                        "key": "second",
                        "status": 200,
                        "verdict": "healthy",
                        "why": "",
                        "seconds": 1.5,
                        "at": 2.252,
                    },
                ],
            }
        ],
        "cursor": None,
    }


async def test_filters_leave_the_requests_that_match_all_of_them(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1, time=NOW - 7200))
        kept.put_request(request(2, client="bob", model="gemini-2.5-pro"))
        failed = AttemptRow("third", 500, "upstream failure", "", 0.1)
        kept.put_request(request(3, status=503, outcome=RequestOutcome.FAILED, attempts=(failed,)))
        assert await ids(here) == ["id-3", "id-2", "id-1"]
        assert await ids(here, id="id-1") == ["id-1"]
        assert await ids(here, client="bob") == ["id-2"]
        assert await ids(here, model="gemini-2.5-pro") == ["id-2"]
        assert await ids(here, key="third") == ["id-3"]
        assert await ids(here, outcome="failed") == ["id-3"]
        assert await ids(here, status=503) == ["id-3"]
        assert await ids(here, since=NOW) == ["id-3", "id-2"]
        assert await ids(here, client="alice", since=NOW) == ["id-3"]
        assert await ids(here, client="alice", model="gemini-2.5-pro") == []
        assert await ids(here, client="nobody", id="") == []


async def test_pages_follow_each_other_by_cursor_while_requests_are_added(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        for number in range(25):
            kept.put_request(request(number))
        seen, cursor = [], None
        while True:
            page = await get(here, limit=10, cursor="" if cursor is None else cursor)
            kept.put_request(request(100))
            seen += [one["id"] for one in page["requests"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert seen == [f"id-{number}" for number in reversed(range(25))]


@pytest.mark.parametrize("path", ["/requests.json", "/events.json", "/usage.json", "/usage.csv"])
async def test_records_need_the_admin_key_and_respond_to_get_and_head_only(tmp_path: Path, path: str) -> None:
    variables = {"ADMIN_API_KEY": ADMIN[1], "OUTPUT_API_KEY": "the-client"}
    async with recorded(tmp_path / "state.db", **variables) as (here, _):
        assert (await ask(here.port, "GET", path, HOME)).status == 401
        assert (await ask(here.port, "GET", path, ("x-goog-api-key", "the-client"))).status == 401
        assert (await ask(here.port, "GET", path, ADMIN)).status == 200
        assert (await ask(here.port, "HEAD", path, ADMIN)).body == b""
        assert (await ask(here.port, "POST", path, ADMIN, body=b"{}")).status == 405


async def test_the_admin_key_in_the_query_is_no_filter_and_the_name_of_a_key_no_credential(
    tmp_path: Path,
) -> None:
    async with recorded(tmp_path / "state.db", ADMIN_API_KEY=ADMIN[1]) as (here, kept):
        kept.put_request(request(1))
        kept.put_request(request(2, key="second"))
        for path, found in (
            (f"/requests.json?key={ADMIN[1]}", 2),
            (f"/requests.json?key={ADMIN[1]}&key=second", 1),
        ):
            got = await ask(here.port, "GET", path, HOME)
            assert len(json.loads(got.body)["requests"]) == found
        assert (await ask(here.port, "GET", "/requests.json?key=second", HOME)).status == 401
        got = await ask(here.port, "GET", f"/usage.json?key={ADMIN[1]}", HOME)
        assert json.loads(got.body)["rows"][0]["requests"] == 2


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("clinet=alice", "Unknown parameter 'clinet'. Known are: id, client, key, model"),
        ("outcome=fine", "outcome: 'fine' is not one of served, client_error, refused, failed, left, cut."),
        ("status=2xx", "status: '2xx' is not a whole number from 0 to 999."),
        ("status=%C2%B2", "is not a whole number"),
        ("limit=0", "limit: '0' is not a whole number from 1 to 1000."),
        ("limit=100000", "limit: '100000' is not a whole number from 1 to 1000."),
        ("cursor=-1", "cursor: '-1' is not a whole number"),
        ("cursor=" + "9" * 30, "is not a whole number"),
        ("since=yesterday", "since: 'yesterday' is not a time. Send a date like 2026-11-27,"),
        ("since=nan", "since: 'nan' is not a time."),
        ("since=" + "9" * 400, "is not a time."),
        ("since=1969-12-31", "is not a time."),
        ("client=a&client=b", "client: sent 2 times. Send it once."),
        ("&".join(["client=a"] * 200), "There are more than 100 parameters."),
    ],
)
async def test_a_wrong_parameter_is_refused_with_what_to_send(tmp_path: Path, query: str, hint: str) -> None:
    async with recorded(tmp_path / "state.db") as (here, _):
        got = await ask(here.port, "GET", f"/requests.json?{query}", HOME)
        assert (got.status, hint in message(got)) == (400, True), got.body


@pytest.mark.parametrize("path", ["/requests.json", "/events.json", "/usage.json", "/usage.csv"])
async def test_without_a_state_file_the_error_says_which_setting_to_set(path: str) -> None:
    async with proxy(NOBODY) as here:
        got = await ask(here.port, "GET", path, HOME)
        assert got.status == 404
        assert message(got).startswith("STATE_FILE is off, so nothing is recorded.")


async def test_a_state_file_that_cannot_be_used_is_told_with_the_reason(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (here, _):  # a folder
        got = await ask(here.port, "GET", "/requests.json", HOME)
        assert got.status == 503
        assert "is a directory" in message(got)


async def test_a_slow_query_holds_up_no_other_request(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        kept.put_request(request(1))
        await kept.flush()
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> None:  # as a disk that does not respond
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

        blocking = asyncio.ensure_future(kept._do(slow))
        asked = asyncio.ensure_future(get(here))
        assert (await ask(here.port, "GET", "/healthz", HOME)).status == 200
        assert not asked.done()
        release.set()
        await blocking
        assert len((await asked)["requests"]) == 1


async def test_secrets_of_later_settings_are_not_shown(tmp_path: Path) -> None:
    async with recorded(tmp_path / "state.db") as (here, kept):
        secret = KEYS["GOOGLE_API_KEY_1"]
        kept.put_request(request(1, id=f"id-{secret}", model=secret, path=f"/v1beta/{secret}", why=secret))
        for path in ("/requests.json", "/usage.json?by=model", "/usage.csv?by=model"):
            got = await ask(here.port, "GET", path, HOME)
            assert secret.encode() not in got.body
            assert b"key 1" in got.body
