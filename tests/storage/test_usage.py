"""Usage in the state file: sums over requests, counted once, by whatever they are told apart."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.storage import usage
from proxycore.storage.pending import Pending
from proxycore.storage.rows import QueryError, RequestRow, UsageBy, UsageQuery, UsageRow
from tests.support.clocks import TurnedClock
from tests.support.storing import DAY, NOW, request, storage

HOUR = 3600.0
DAY_BEGINS = NOW - 12 * HOUR
PARTS: dict[UsageBy, Callable[[RequestRow], Any]] = {
    UsageBy.CLIENT: lambda row: row.client,
    UsageBy.KEY: lambda row: row.key,
    UsageBy.MODEL: lambda row: row.model,
    UsageBy.OUTCOME: lambda row: row.outcome,
}
ROWS = [
    request(
        number,
        time=NOW + (number % 5 - 2) * 9 * HOUR + number,
        client=f"client-{number % 3}",
        key=f"key-{number % 7}",
        model=f"model-{number % 2}",
        outcome=RequestOutcome.FAILED if number % 11 == 0 else RequestOutcome.SERVED,
        input_tokens=number,
        output_tokens=2 * number,
        cached_tokens=3,
        thinking_tokens=4,
        tool_tokens=5,
        unread=number % 13 == 0,
        received_bytes=1_000_000_000 + number,
        sent_bytes=2_000_000_000 + number,
        seconds=0.25 + number,
    )
    for number in range(500)
]
EVERYTHING = (NOW - 5 * DAY // DAY * DAY, NOW + 5 * DAY)


def expected(rows: list[RequestRow], by: frozenset[UsageBy]) -> list[UsageRow]:
    """The sums as one would add them up by hand."""
    unit = HOUR if UsageBy.HOUR in by else DAY if UsageBy.DAY in by else None
    groups: dict[tuple[Any, Any, Any, Any, Any], list[RequestRow]] = {}
    for row in rows:
        when = row.time // unit * unit if unit else None
        client, key, model, outcome = (value(row) if part in by else None for part, value in PARTS.items())
        groups.setdefault((when, client, key, model, outcome), []).append(row)
    return [
        UsageRow(
            *group,
            requests=len(some),
            input_tokens=sum(row.input_tokens for row in some),
            output_tokens=sum(row.output_tokens for row in some),
            cached_tokens=sum(row.cached_tokens for row in some),
            thinking_tokens=sum(row.thinking_tokens for row in some),
            tool_tokens=sum(row.tool_tokens for row in some),
            unread=sum(row.unread for row in some),
            received_bytes=sum(row.received_bytes for row in some),
            sent_bytes=sum(row.sent_bytes for row in some),
            seconds=sum(row.seconds for row in some),
        )
        for group, some in groups.items()
    ]


def in_order(rows: list[UsageRow]) -> list[UsageRow]:
    return sorted(rows, key=lambda row: (row.time or 0, str((row.client, row.key, row.model, row.outcome))))


BY = [
    frozenset(by)
    for by in (
        [],
        [UsageBy.HOUR],
        [UsageBy.DAY],
        [UsageBy.CLIENT],
        [UsageBy.KEY],
        [UsageBy.DAY, UsageBy.OUTCOME],
        [UsageBy.HOUR, UsageBy.KEY],
        [UsageBy.DAY, UsageBy.KEY, UsageBy.MODEL],
        [UsageBy.DAY, UsageBy.CLIENT, UsageBy.KEY, UsageBy.MODEL, UsageBy.OUTCOME],
    )
]


@pytest.mark.parametrize("by", BY, ids=lambda by: "-".join(sorted(by)) or "all")
async def test_sums_are_those_of_the_requests_and_outlive_a_restart(
    tmp_path: Path, by: frozenset[UsageBy]
) -> None:
    query = UsageQuery(*EVERYTHING, by)
    async with storage(tmp_path / "state.db") as kept:
        for row in ROWS[:200]:
            kept.put_request(row)
        assert in_order(await kept.usage(query)) == in_order(expected(ROWS[:200], by))
        for row in ROWS[200:]:
            kept.put_request(row)
    async with storage(tmp_path / "state.db") as kept:
        assert in_order(await kept.usage(query)) == in_order(expected(ROWS, by))
        assert in_order(await kept.usage(query)) == in_order(expected(ROWS, by))


async def test_hours_of_clients_and_keys_come_from_the_log_for_a_week(tmp_path: Path) -> None:
    by = frozenset({UsageBy.HOUR, UsageBy.CLIENT, UsageBy.KEY})
    async with storage(tmp_path / "state.db") as kept:
        for row in ROWS:
            kept.put_request(row)
        first, end = NOW - 2 * DAY, NOW + DAY
        some = [row for row in ROWS if first <= row.time < end]
        assert in_order(await kept.usage(UsageQuery(first, end, by))) == in_order(expected(some, by))
        with pytest.raises(QueryError, match="a week at most"):
            await kept.usage(UsageQuery(NOW - 8 * DAY, NOW, by))


async def test_only_whole_hours_or_days_of_the_time_asked_for_count(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for hour in range(48):
            kept.put_request(request(hour, time=DAY_BEGINS + hour * HOUR + 1))
        hours = await kept.usage(UsageQuery(NOW + 60, NOW + HOUR + 60, frozenset({UsageBy.HOUR})))
        assert [(row.time, row.requests) for row in hours] == [(NOW, 1), (NOW + HOUR, 1)]
        days = await kept.usage(UsageQuery(NOW, NOW + 60, frozenset({UsageBy.KEY})))
        assert [row.requests for row in days] == [24]
        assert await kept.usage(UsageQuery(NOW + 9 * DAY, NOW + 10 * DAY)) == []


async def test_more_rows_than_anyone_reads_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_MOST_ROWS", 5)
    async with storage(tmp_path / "state.db") as kept:
        for number in range(6):
            kept.put_request(request(number, client=str(number)))
        with pytest.raises(QueryError, match="more than 5 rows"):
            await kept.usage(UsageQuery(*EVERYTHING, frozenset({UsageBy.CLIENT})))
        assert (await kept.usage(UsageQuery(*EVERYTHING)))[0].requests == 6


async def test_requests_that_the_log_has_no_room_for_are_counted(tmp_path: Path) -> None:
    by = frozenset({UsageBy.DAY, UsageBy.CLIENT, UsageBy.KEY, UsageBy.MODEL, UsageBy.OUTCOME})
    async with storage(tmp_path / "state.db") as kept:
        kept._pending._most = 100
        for row in ROWS:
            kept.put_request(row)
        assert in_order(await kept.usage(UsageQuery(*EVERYTHING, by))) == in_order(expected(ROWS, by))
        assert kept.dropped == 400


def test_what_is_put_back_is_bounded_as_well_and_goes_first() -> None:
    pending = Pending(most=3)
    for number in range(3):
        pending.request(request(number))
    pending.put_back(pending.take())
    pending.request(request(3))
    batch = pending.take()
    assert [row.id for row in batch.requests] == ["id-1", "id-2", "id-3"]
    assert [sums[0] for _, sums in batch.sums.items()] == [1]
    assert pending.dropped == 1


async def test_sums_are_kept_as_long_as_requests(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)
    async with storage(tmp_path / "state.db", clock, keep=2 * DAY) as kept:
        kept.put_request(request(1))
        assert len(await kept.usage(UsageQuery(*EVERYTHING))) == 1
        clock.turn(1.9 * DAY)
        await kept.flush()
        assert len(await kept.usage(UsageQuery(*EVERYTHING))) == 1
        clock.turn(2 * DAY)
        await kept.flush()
        assert await kept.usage(UsageQuery(*EVERYTHING)) == []
    with sqlite3.connect(tmp_path / "state.db") as connection:
        for table in ("requests", "usage_days", "usage_clients", "usage_keys", "present", "blocks"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - a table
