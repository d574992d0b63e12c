"""What became of requests in the state file, by slots of time: counted once, in the slot of their arrival."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from proxycore.http.access_record import RequestOutcome, failed_over
from proxycore.stats.counters import quantile_in
from proxycore.stats.history import FIRST_BYTE_BOUNDS, Ending, Slot
from proxycore.storage.rows import SLOT, AttemptRow, RequestRow, SlotQuery, SlotRange, UsageBy, UsageQuery
from tests.support.clocks import TurnedClock
from tests.support.storing import DAY, NOW, request, storage

REFUSED = AttemptRow("first", 429, "failover", "a ],[ of the upstream's own", 0.25)
SERVED = AttemptRow("second", 200, "served", "", 1.0)
LATE = AttemptRow("first", 0, "abandoned", "", 1.0)
ATTEMPTS: list[tuple[AttemptRow, ...]] = [
    (),
    (SERVED,),
    (REFUSED, SERVED),
    (REFUSED, REFUSED, SERVED),
    (LATE, SERVED),
    (SERVED, LATE),
    (AttemptRow("second", 503, "retry", "overloaded", 0.25), SERVED),
]
STATUSES = {RequestOutcome.SERVED: 200, RequestOutcome.LEFT: 499, RequestOutcome.REFUSED: 429}
ROWS = [
    request(
        number,
        time=NOW + (number % 50 - 25) * 3000 + number / 7,
        key="second",
        outcome=outcome,
        status=STATUSES.get(outcome, 500 + number % 3),
        first_byte=None if number % 9 == 0 else 0.0017 * 1.01**number,
        attempts=ATTEMPTS[number % len(ATTEMPTS)],
    )
    for number in range(1500)
    for outcome in (list(RequestOutcome)[number % 13 % 6],)
]
RELAYED = {RequestOutcome.SERVED, RequestOutcome.LEFT, RequestOutcome.CUT}
TWO_DAYS = int(NOW - 2 * DAY), int(NOW + 2 * DAY)


def expected(rows: list[RequestRow], step: int) -> SlotRange:
    """The slots as one would count them by hand."""
    slots: dict[int, Slot] = {}
    for row in rows:
        time = int(row.time // step) * step
        slot = slots.setdefault(time, Slot(time))
        slot.ended[Ending(row.outcome, row.status, failed_over(row.outcome, row.key, row.attempts))] += 1
        if row.first_byte is not None and row.outcome in RELAYED:
            seconds = round(row.first_byte, 3)  # as the log has it
            bucket = sum(seconds > bound for bound in FIRST_BYTE_BOUNDS)
            slot.first_bytes[bucket] += 1
    first = min(int(row.time // SLOT) * SLOT for row in rows)
    return SlotRange(first, [slots[time] for time in sorted(slots)])


@pytest.mark.parametrize("step", [600, 3600, 21600])
async def test_slots_are_those_of_the_requests_and_outlive_a_restart(tmp_path: Path, step: int) -> None:
    query = SlotQuery(*TWO_DAYS, step)
    async with storage(tmp_path / "state.db") as kept:
        for row in ROWS[:700]:
            kept.put_request(row)
        assert await kept.slots(query) == expected(ROWS[:700], step)
        for row in ROWS[700:]:
            kept.put_request(row)
    async with storage(tmp_path / "state.db") as kept:
        assert await kept.slots(query) == expected(ROWS, step)
        assert await kept.slots(query) == expected(ROWS, step)


async def test_the_sums_are_those_of_the_usage(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for row in ROWS:
            kept.put_request(row)
        usage = await kept.usage(UsageQuery(*TWO_DAYS, frozenset({UsageBy.HOUR, UsageBy.OUTCOME})))
        slots = (await kept.slots(SlotQuery(*TWO_DAYS, 3600))).slots
    by_outcome: Counter[tuple[float, str]] = Counter()
    for slot in slots:
        for ending, n in slot.ended.items():
            by_outcome[slot.time, ending.outcome] += n
    assert by_outcome == {(row.time, row.outcome): row.requests for row in usage}


async def test_only_the_time_that_is_asked_for_counts(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for second in (-1, 0, 599, 600, 1199, 1200):
            kept.put_request(request(second, time=NOW + second))
        found = await kept.slots(SlotQuery(int(NOW), int(NOW) + 1200, SLOT))
        assert [(slot.time, slot.ended.total()) for slot in found.slots] == [(NOW, 2), (NOW + 600, 2)]
        assert found.first == NOW - 600
        nothing = await kept.slots(SlotQuery(int(NOW + DAY), int(NOW + 2 * DAY), SLOT))
        assert nothing == SlotRange(found.first, [])


async def test_an_empty_file_has_no_first_slot(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        assert await kept.slots(SlotQuery(*TWO_DAYS, SLOT)) == SlotRange(None, [])


async def test_quantiles_are_near_the_true_ones(tmp_path: Path) -> None:
    seconds = [0.1 + 0.002 * number for number in range(1000)]
    async with storage(tmp_path / "state.db") as kept:
        for number, first_byte in enumerate(seconds):
            kept.put_request(request(number, time=NOW + number, first_byte=first_byte))
        (slot,) = (await kept.slots(SlotQuery(*TWO_DAYS, 3600))).slots
    for share in (0.5, 0.95):
        true = sorted(seconds)[int(share * len(seconds))]
        assert quantile_in(FIRST_BYTE_BOUNDS, slot.first_bytes, share) == pytest.approx(true, rel=0.02)


async def test_requests_that_the_log_has_no_room_for_are_counted(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept._pending._most = 100
        for row in ROWS:
            kept.put_request(row)
        assert await kept.slots(SlotQuery(*TWO_DAYS, 3600)) == expected(ROWS, 3600)
        assert kept.dropped == 1400


async def test_slots_are_kept_as_long_as_usage(tmp_path: Path) -> None:
    clock, query = TurnedClock(NOW), SlotQuery(int(NOW - DAY), int(NOW + DAY), SLOT)
    async with storage(tmp_path / "state.db", clock, keep=2 * DAY) as kept:
        kept.put_request(request(1, first_byte=0.4))
        await kept.flush()
        clock.turn(1.9 * DAY)
        await kept.flush()
        assert len((await kept.slots(query)).slots) == 1
        clock.turn(2 * DAY)
        await kept.flush()
        assert await kept.slots(query) == SlotRange(None, [])
    with sqlite3.connect(tmp_path / "state.db") as connection:
        for table in ("slots_ended", "slots_first_byte"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - a table
