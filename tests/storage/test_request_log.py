"""The request log in the state file: what was put is found again, by page and by filter."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.storage import words
from proxycore.storage.rows import AttemptRow, QueryError, RequestFilter, RequestRow
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.storing import DAY, NOW, request, storage

FULL = RequestRow(
    id="0123456789abcdef",
    time=NOW + 0.125,
    client="bob",
    address="2001:db8::1",
    method="GET",
    path="/v1beta/files/x",
    model="gemini-2.5-pro",
    key="second",
    status=503,
    outcome=RequestOutcome.FAILED,
    input_tokens=1,
    output_tokens=2,
    cached_tokens=3,
    thinking_tokens=4,
    tool_tokens=5,
    unread=True,
    received_bytes=6,
    sent_bytes=7_000_000_000,
    first_byte=0.25,
    seconds=3600.5,
    why="No key is available",
    waited=7.5,
    attempts=(
        AttemptRow("first", 429, "quota exhausted", "requests per day", 0.5, 0.002),
        AttemptRow("second", 0, "timed out", "", 60.0, 8.125),
    ),
)


async def ids(kept: Storage, wanted: RequestFilter, limit: int = 100) -> list[str]:
    """The ids of all requests that match, page after page."""
    found: list[str] = []
    page = await kept.requests(wanted, limit=limit)
    while True:
        assert len(page.rows) <= limit
        found += [row.id for row in page.rows]
        if page.cursor is None:
            return found
        page = await kept.requests(wanted, before=page.cursor, limit=limit)


async def test_a_request_comes_back_as_it_was_put_also_after_a_restart(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(FULL)
        assert (await kept.requests(RequestFilter())).rows == [FULL]
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(1))
        assert (await kept.requests(RequestFilter())).rows == [request(1), FULL]


async def test_pages_have_every_request_once_the_last_to_end_first(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for number in range(1000):
            kept.put_request(request(number))
            if number % 300 == 0:
                await kept.flush()
        assert await ids(kept, RequestFilter(), 77) == [f"id-{number}" for number in reversed(range(1000))]
        assert await ids(kept, RequestFilter(), 500) == [f"id-{number}" for number in reversed(range(1000))]


async def test_a_page_is_not_disturbed_by_requests_that_come_meanwhile(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for number in range(10):
            kept.put_request(request(number))
        first = await kept.requests(RequestFilter(), limit=5)
        kept.put_request(request(10))
        second = await kept.requests(RequestFilter(), before=first.cursor, limit=5)
        assert [row.id for row in second.rows] == [f"id-{number}" for number in (4, 3, 2, 1, 0)]
        assert second.cursor is None


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        (RequestFilter(id="id-5"), {5}),
        (RequestFilter(id="id-5000"), set()),
        (RequestFilter(client="bob"), {n for n in range(600) if n % 50 == 0}),
        (RequestFilter(client="nobody"), set()),
        (RequestFilter(model="gemini-2.5-pro"), {n for n in range(600) if n % 3 == 0}),
        (RequestFilter(outcome=RequestOutcome.FAILED), {77}),
        (RequestFilter(outcome=RequestOutcome.LEFT), set()),
        (RequestFilter(status=503), {77}),
        (RequestFilter(since=NOW + 590), set(range(590, 600))),
        (RequestFilter(since=NOW + 590, client="bob"), set()),
        (RequestFilter(client="bob", model="gemini-2.5-pro"), {n for n in range(600) if n % 150 == 0}),
        (RequestFilter(client="bob", status=503), set()),
        (RequestFilter(key="second"), {n for n in range(600) if n % 100 == 1}),
        (RequestFilter(key="second", outcome=RequestOutcome.SERVED, id="id-101"), {101}),
    ],
)
async def test_a_filter_finds_what_matches_in_all(
    tmp_path: Path, wanted: RequestFilter, match: set[int]
) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for number in range(600):
            row = request(number, time=NOW + number)
            if number % 50 == 0:
                row.client = "bob"
            if number % 3 == 0:
                row.model = "gemini-2.5-pro"
            if number == 77:
                row.outcome, row.status = RequestOutcome.FAILED, 503
            if number % 100 == 1:
                row.attempts = (
                    AttemptRow("second", 429, "quota", "", 0.1),
                    AttemptRow("first", 200, "", "", 1.0),
                )
            kept.put_request(row)
        assert await ids(kept, wanted, 7) == [f"id-{number}" for number in sorted(match, reverse=True)]


async def test_a_page_looks_only_so_far_and_says_where_to_go_on(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(0, client="bob", model="other"))
        for number in range(1, 50_001):  # each block has both, but no request has
            kept.put_request(request(number, **({"client": "bob"} if number % 2 else {"model": "other"})))
            if number % 10_000 == 0:
                await kept.flush()
        wanted = RequestFilter(client="bob", model="other")
        page = await kept.requests(wanted)
        assert not page.rows
        assert page.cursor
        assert await ids(kept, wanted) == ["id-0"]


async def test_a_path_has_no_query_and_no_text_a_secret(tmp_path: Path) -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "[key]")

    async with storage(tmp_path / "state.db", redact=redact) as kept:
        for field in ("client", "address", "method", "path", "model", "key"):
            kept.put_request(request(1, **{field: f"x-hunter2-{field}"}))
        kept.put_request(request(2, path="/v1beta/models?key=secret-in-query"))
        kept.put_request(
            request(
                3, attempts=(AttemptRow("hunter2", 400, "hunter2!", "is hunter2", 0.1),), why="not hunter2"
            )
        )
        page = await kept.requests(RequestFilter())
        assert page.rows[1].path == "/v1beta/models"
        assert page.rows[0].why == "not [key]"
        assert page.rows[0].attempts == (AttemptRow("[key]", 400, "[key]!", "is [key]", 0.1),)
        assert await ids(kept, RequestFilter(client="x-hunter2-client")) == ["id-1"]
    contents = (tmp_path / "state.db").read_bytes()
    assert b"x-[key]-client" in contents
    assert b"hunter2" not in contents
    assert b"secret-in-query" not in contents


async def test_odd_texts_are_kept_as_far_as_they_can_be(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(1, path="/\udcff", model="a\0b", client="é" * 10_000))
        (row,) = (await kept.requests(RequestFilter())).rows
        assert (row.path, row.model, row.client) == ("/?", "a\0b", "é" * 500)


async def test_a_value_that_no_file_can_hold_costs_its_batch_and_no_more(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(1, input_tokens=1 << 80))
        await kept.flush()
        kept.put_request(request(2))
        assert await ids(kept, RequestFilter()) == ["id-2"]


async def test_a_cursor_or_a_status_that_is_no_number_of_a_file_is_refused(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(1))
        for wanted, before in (
            (RequestFilter(), 1 << 80),
            (RequestFilter(since=1e30), None),
        ):
            with pytest.raises(QueryError):
                await kept.requests(wanted, before=before)
        for none in (
            RequestFilter(status=1 << 80),
            RequestFilter(id="\udcff"),
            RequestFilter(client="\udcff"),
        ):
            assert await ids(kept, none) == []
        assert await ids(kept, RequestFilter()) == ["id-1"]
        assert kept.trouble is None


async def test_too_many_texts_of_a_kind_are_kept_where_they_occur(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_MOST", 5)
    async with storage(tmp_path / "state.db") as kept:
        rows = [
            request(number, path=f"/{number}", client=f"client-{number}", why=f"why {number}")
            for number in range(20)
        ]
        for row in rows:
            kept.put_request(row)
        found = (await kept.requests(RequestFilter())).rows[::-1]
        assert [(row.path, row.why) for row in found] == [(row.path, row.why) for row in rows]
        assert [row.client for row in found] == [*(row.client for row in rows[:5]), *[words.OTHER] * 15]
        assert await ids(kept, RequestFilter(client="client-2")) == ["id-2"]
    with sqlite3.connect(tmp_path / "state.db") as connection:
        counts = dict(connection.execute("SELECT kind, count(*) FROM words GROUP BY kind"))
        assert max(counts.values()) <= 6


async def test_what_is_older_than_it_is_kept_is_deleted_and_the_rest_stays(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)
    async with storage(tmp_path / "state.db", clock, keep=2 * DAY) as kept:
        for number in range(3000):
            kept.put_request(request(number, client=f"old-{number % 7}"))
        await kept.flush()
        clock.turn(DAY)
        for number in range(3000, 3600):
            kept.put_request(replace(request(number), time=clock.wall()))
        await kept.flush()
        clock.turn(1.5 * DAY)
        for _ in range(20):
            await kept.flush()
        left = await ids(kept, RequestFilter())
        assert len(left) < 600 + 256
        assert left[:600] == [f"id-{number}" for number in reversed(range(3000, 3600))]
        clock.turn(2 * DAY)
        for _ in range(20):
            await kept.flush()
        assert await ids(kept, RequestFilter()) == []
        clock.turn(DAY)
        kept.put_request(replace(request(1), time=clock.wall()))
        assert await ids(kept, RequestFilter(client="alice")) == ["id-1"]
        assert await ids(kept, RequestFilter(client="old-1")) == []
