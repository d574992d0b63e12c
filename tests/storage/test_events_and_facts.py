"""Events and facts in the state file."""

from pathlib import Path

from proxycore.storage.rows import EventFilter, EventKind, EventPage, EventRow, Fact
from tests.support.clocks import TurnedClock
from tests.support.storing import DAY, NOW, fact, put_facts, storage

EVENTS = [
    EventRow(NOW, EventKind.BENCHED, "first", "gemini-2.5-pro", "quota exhausted", "id-1", NOW + 60.5),
    EventRow(NOW + 1, EventKind.OUTAGE_BEGAN, "", "gemini-2.5-pro", "overloaded"),
    EventRow(NOW + 2, EventKind.RETIRED, "second", "", "API key not valid", "id-2", NOW + 3600),
    EventRow(NOW + 3, EventKind.ACTION, "first", why="unbenched"),
    EventRow(NOW + 4, EventKind.RELOADED),
]


async def test_events_come_back_the_latest_first_for_the_pool_and_by_key(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        for event in EVENTS:
            kept.put_event(event)
    async with storage(tmp_path / "state.db") as kept:
        assert await kept.events(EventFilter()) == EventPage(EVENTS[::-1], None)
        assert (await kept.events(EventFilter("first"))).rows == [EVENTS[3], EVENTS[0]]
        assert (await kept.events(EventFilter("nobody"))).rows == []
        assert (await kept.events(EventFilter(kind=EventKind.RETIRED))).rows == [EVENTS[2]]
        assert (await kept.events(EventFilter(kind=EventKind.RECOVERED))).rows == []
        assert (await kept.events(EventFilter(since=NOW + 3))).rows == EVENTS[:2:-1]
        assert (await kept.events(EventFilter("first", EventKind.ACTION, NOW + 1))).rows == [EVENTS[3]]
        page = await kept.events(EventFilter(), limit=3)
        assert page.rows == EVENTS[:1:-1]
        assert await kept.events(EventFilter(), before=page.cursor, limit=3) == EventPage(EVENTS[1::-1], None)


async def test_events_have_no_secret_and_go_after_a_time(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)

    def redact(text: str) -> str:
        return text.replace("hunter2", "[key]")

    async with storage(tmp_path / "state.db", clock, keep=DAY, redact=redact) as kept:
        kept.put_event(EventRow(NOW, EventKind.BENCHED, "k", "hunter2", "said hunter2"))
        (event,) = (await kept.events(EventFilter())).rows
        assert (event.about, event.why) == ("[key]", "said [key]")
        clock.turn(DAY + 1)
        kept.put_event(EventRow(clock.wall(), EventKind.RELOADED))
        assert [event.kind for event in (await kept.events(EventFilter())).rows] == [EventKind.RELOADED]


async def test_facts_that_hold_are_handed_over_at_the_next_start_in_their_order(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)
    found: list[Fact] = []
    async with storage(tmp_path / "state.db", clock, facts=found) as kept:
        put_facts(kept, [fact("b", NOW + 2), fact("a", NOW + 1, NOW + 50), fact("c", NOW + 3)])
    assert found == []
    clock.turn(55)
    async with storage(tmp_path / "state.db", clock, facts=found):
        pass
    assert found == [fact("b", NOW + 2), fact("c", NOW + 3)]


async def test_of_the_facts_of_a_topic_the_newest_holds_whenever_it_comes(tmp_path: Path) -> None:
    found: list[Fact] = []
    async with storage(tmp_path / "state.db", TurnedClock(NOW + 5)) as kept:
        put_facts(kept, [fact(stamp=NOW, line=b"1"), fact(stamp=NOW + 5, line=b"2")])
        await kept.flush()
        put_facts(kept, [fact(stamp=NOW + 4, line=b"late")])
    async with storage(tmp_path / "state.db", facts=found):
        pass
    assert [one.line for one in found] == [b"2"]


async def test_facts_that_have_expired_leave_the_file(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)
    async with storage(tmp_path / "state.db", clock) as kept:
        put_facts(kept, [fact(line=b"expired-line", until=NOW + 10)])
        await kept.flush()
        clock.turn(700)
        await kept.flush()
        put_facts(kept, [fact(stamp=NOW - 5, until=NOW + 9000)])  # nothing newer is known
    found: list[Fact] = []
    async with storage(tmp_path / "state.db", clock, facts=found):
        pass
    assert len(found) == 1


async def test_a_fact_with_a_secret_in_it_is_not_kept(tmp_path: Path) -> None:
    path, opened = tmp_path / "state.db", list[Fact]()
    async with storage(path, redact=lambda text: text.replace("a-secret", "[key]")) as kept:
        put_facts(kept, [fact("one", line=b'["quota of a-secret"]'), fact("a-secret"), fact("two")])
        await kept.flush()
    async with storage(path, facts=opened):
        pass
    assert [one.topic for one in opened] == ["two"]
    assert b"a-secret" not in path.read_bytes()
