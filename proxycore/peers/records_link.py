"""Queries of the request log, the events and the usage, from a worker to the hub, which has the state file.

A query and the rows of its answer are JSON in a message of `worker_link`. Rows are encoded and decoded one by
one in a thread: thousands at once would hold up the event loop.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import astuple, fields
from operator import attrgetter
from typing import Any, TypeVar

from proxycore.http.access_record import RequestOutcome
from proxycore.peers.link_messages import Answer, Fault
from proxycore.peers.update import parse_json
from proxycore.peers.worker_link import WorkerLink
from proxycore.stats.figures import FiguresError
from proxycore.stats.history import Ending, Slot
from proxycore.storage.records import MOST_ROWS, RecordsSource, StateFileOffError
from proxycore.storage.rows import (
    SLOT,
    AttemptRow,
    EventFilter,
    EventKind,
    EventPage,
    EventRow,
    NoStateFileError,
    QueryError,
    RequestFilter,
    RequestPage,
    RequestRow,
    SlotQuery,
    SlotRange,
    UsageBy,
    UsageQuery,
    UsageRow,
)
from proxycore.storage.status import StateFileStatus, StateFileUse

_LARGEST = 32 * 1024 * 1024  # characters of an answer

T = TypeVar("T")


_usage_values = attrgetter(*(field.name for field in fields(UsageRow)))
_attempt_values = attrgetter(*(field.name for field in fields(AttemptRow)))
_request_values = attrgetter(*(field.name for field in fields(RequestRow)))
_event_values = attrgetter(*(field.name for field in fields(EventRow)))


class RecordsLink:
    """Asks the hub through a worker's link. Implements `RecordsSource`.

    Raises FiguresError when the hub does not reply in time.
    """

    def __init__(self, link: WorkerLink) -> None:
        self._link = link

    async def requests(
        self, wanted: RequestFilter, *, before: int | None = None, limit: int = 100
    ) -> RequestPage:
        """Return a page of the request log, before a cursor. Raises NoStateFileError."""
        return await self._ask(["requests", astuple(wanted), before, limit], _page)

    async def events(self, wanted: EventFilter, *, before: int | None = None, limit: int = 100) -> EventPage:
        """Return a page of the events, before a cursor. Raises NoStateFileError."""
        return await self._ask(["events", astuple(wanted), before, limit], _event_page)

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Return sums over requests. Raises NoStateFileError, and QueryError if there would be too many."""
        return await self._ask(["usage", query.since, query.until, sorted(query.by)], _usage_rows)

    async def status(self) -> StateFileStatus:
        """Return whether the state file is in use."""
        return await self._ask(["status"], _status)

    async def slots(self, query: SlotQuery) -> SlotRange:
        """Return what became of requests, by slots of time. Raises NoStateFileError."""
        return await self._ask(["slots", *astuple(query)], _slot_range)

    async def _ask(self, query: list[Any], read: Callable[[str], T]) -> T:
        answer = await self._link.query(json.dumps(query))
        match answer.fault:
            case Fault.OFF:
                raise StateFileOffError
            case Fault.UNUSABLE:
                raise NoStateFileError(answer.text)
            case Fault.TOO_MUCH:
                raise QueryError(answer.text)
        try:
            return await asyncio.to_thread(read, answer.text)
        except (ValueError, TypeError) as error:  # another version of this program
            raise FiguresError("The process with the state file answered in another format.") from error


async def answer_query(records: RecordsSource, number: int, text: str) -> Answer | None:
    """Return the answer to a worker's query; None if it can't be read."""
    try:
        query = _query(records, parse_json(text.encode()))
    except (ValueError, TypeError):
        return None
    try:
        answer = await query()
    except StateFileOffError:
        return Answer(number, "", Fault.OFF)
    except NoStateFileError as error:
        return Answer(number, str(error), Fault.UNUSABLE)
    except QueryError as error:
        return Answer(number, str(error), Fault.TOO_MUCH)
    if len(answer) > _LARGEST:
        too_large = f"more than {_LARGEST >> 20} MB: ask for a shorter time, for less, or tell less apart"
        return Answer(number, too_large, Fault.TOO_MUCH)
    return Answer(number, answer)


def _query(records: RecordsSource, query: object) -> Callable[[], Coroutine[Any, Any, str]]:
    """Return what gets the answer as a text. Raises ValueError or TypeError if there is no such query."""
    match query:
        case ["requests", [*wanted], int() | None as before, int(limit)] if 0 < limit <= MOST_ROWS:
            asked = _filter(wanted)
            return lambda: _requests_text(records, asked, before, limit)
        case ["events", [*wanted], int() | None as before, int(limit)] if 0 < limit <= MOST_ROWS:
            events = _event_filter(wanted)
            return lambda: _events_text(records, events, before, limit)
        case ["usage", int() | float() as since, int() | float() as until, [*by]]:
            usage = UsageQuery(since, until, frozenset(UsageBy(str(one)) for one in by))
            return lambda: _usage_text(records, usage)
        case ["status"]:
            return lambda: _status_text(records)
        case ["slots", int(since), int(until), int(step)] if step > 0 and step % SLOT == 0:
            slots = SlotQuery(since, until, step)
            return lambda: _slots_text(records, slots)
    raise ValueError("not a query")


def _filter(wanted: list[object]) -> RequestFilter:
    match wanted:
        case [
            str() | None as name,
            str() | None as client,
            str() | None as key,
            str() | None as model,
            str() | None as outcome,
            int() | None as status,
            int() | float() | None as since,
        ]:
            known = None if outcome is None else RequestOutcome(outcome)
            return RequestFilter(name, client, key, model, known, status, since)
    raise ValueError("not a filter")


def _event_filter(wanted: list[object]) -> EventFilter:
    match wanted:
        case [str() | None as key, str() | None as kind, int() | float() | None as since]:
            return EventFilter(key, None if kind is None else EventKind(kind), since)
    raise ValueError("not a filter")


async def _requests_text(
    records: RecordsSource, wanted: RequestFilter, before: int | None, limit: int
) -> str:
    page = await records.requests(wanted, before=before, limit=limit)
    rows = ((*_request_values(row)[:-1], [_attempt_values(one) for one in row.attempts]) for row in page.rows)
    return await asyncio.to_thread(_lines, [[page.cursor]], rows)


async def _events_text(records: RecordsSource, wanted: EventFilter, before: int | None, limit: int) -> str:
    page = await records.events(wanted, before=before, limit=limit)
    return await asyncio.to_thread(_lines, [[page.cursor]], map(_event_values, page.rows))


async def _usage_text(records: RecordsSource, query: UsageQuery) -> str:
    found = await records.usage(query)
    return await asyncio.to_thread(_lines, [], map(_usage_values, found))


async def _status_text(records: RecordsSource) -> str:
    return json.dumps(astuple(await records.status()))


def _status(text: str) -> StateFileStatus:
    use, *members = json.loads(text)
    return StateFileStatus(StateFileUse(use), *members)


async def _slots_text(records: RecordsSource, query: SlotQuery) -> str:
    found = await records.slots(query)
    rows = ((slot.time, list(slot.ended.items()), slot.first_bytes) for slot in found.slots)
    return await asyncio.to_thread(_lines, [[found.first]], rows)


def _lines(head: list[list[int | None]], rows: Iterable[tuple[Any, ...]]) -> str:
    encode = json.JSONEncoder(separators=(",", ":")).encode
    return "\n".join([*map(encode, head), *map(encode, rows)])


def _page(text: str) -> RequestPage:
    head, *lines = text.split("\n")
    (cursor,) = parse_json(head.encode())
    return RequestPage([_request(json.loads(line)) for line in lines], cursor)


def _request(values: list[Any]) -> RequestRow:
    values[-1] = tuple(AttemptRow(*one) for one in values[-1])
    row = RequestRow(*values)
    row.outcome = RequestOutcome(row.outcome)
    return row


def _event_page(text: str) -> EventPage:
    head, *lines = text.split("\n")
    (cursor,) = parse_json(head.encode())
    return EventPage([_event(*json.loads(line)) for line in lines], cursor)


def _event(time: float, kind: str, *values: Any) -> EventRow:  # noqa: ANN401 - JSON
    return EventRow(time, EventKind(kind), *values)


def _slot_range(text: str) -> SlotRange:
    head, *lines = text.split("\n")
    (first,) = parse_json(head.encode())
    return SlotRange(first, [_slot(*json.loads(line)) for line in lines])


def _slot(time: int, ended: list[tuple[list[Any], int]], first_bytes: list[int]) -> Slot:
    return Slot(time, Counter({Ending(*ending): n for ending, n in ended}), first_bytes)


def _usage_rows(text: str) -> list[UsageRow]:
    rows = [UsageRow(*json.loads(line)) for line in text.split("\n") if line]
    for row in rows:
        row.outcome = None if row.outcome is None else RequestOutcome(row.outcome)
    return rows
