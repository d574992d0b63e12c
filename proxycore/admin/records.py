"""The request log, the events and the usage, as their paths serve them: from a URL's query to a text.

Texts are made in a thread, row by row: thousands of rows at once would hold up the event loop.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from proxycore.admin.parameters import ParameterError, Parameters
from proxycore.admin.prices import Price
from proxycore.admin.usage_report import UsageReport
from proxycore.clock import Clock
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.records import MOST_ROWS, RecordsSource
from proxycore.storage.rows import (
    EventFilter,
    EventKind,
    EventRow,
    RequestFilter,
    RequestRow,
    UsageBy,
    UsageQuery,
)

Json = dict[str, Any]

_HOUR, _DAY = 3600, 86400
_USUAL_TIME = 30 * _DAY
_USUAL_LIMIT = 100
_BY = {one.value: one for one in UsageBy if one is not UsageBy.OUTCOME}
_FILTERS = ("id", "client", "key", "model", "outcome", "status", "since")
_MOST_STATUS, _MOST_CURSOR = 999, 2**62


class Records:
    """Serves what `source` has. `redact` removes secrets of the latest settings, `prices` returns theirs.

    All methods take a URL's query, and whether a `key` in it is a credential and none of the parameters. They
    raise ParameterError, NoStateFileError and QueryError.
    """

    def __init__(
        self,
        source: RecordsSource,
        clock: Clock,
        redact: Callable[[str], str],
        prices: Callable[[], Sequence[Price]],
    ) -> None:
        self._source = source
        self._clock = clock
        self._redact = redact
        self._prices = prices

    async def requests(self, query: str, is_credential: Callable[[str], bool]) -> str:
        """Return a page of the request log as JSON."""
        parameters = Parameters(query, (*_FILTERS, "limit", "cursor"), is_credential)
        page = await self._source.requests(
            _filter(parameters),
            before=parameters.whole("cursor", 0, _MOST_CURSOR),
            limit=parameters.whole("limit", 1, MOST_ROWS) or _USUAL_LIMIT,
        )
        return await asyncio.to_thread(_page, "requests", map(self._request, page.rows), page.cursor)

    async def events(self, query: str, is_credential: Callable[[str], bool]) -> str:
        """Return a page of the events as JSON."""
        parameters = Parameters(query, ("key", "kind", "since", "limit", "cursor"), is_credential)
        kind = parameters.choice("kind", list(EventKind))
        page = await self._source.events(
            EventFilter(
                key=parameters.text("key"),
                kind=None if kind is None else EventKind(kind),
                since=parameters.time("since"),
            ),
            before=parameters.whole("cursor", 0, _MOST_CURSOR),
            limit=parameters.whole("limit", 1, MOST_ROWS) or _USUAL_LIMIT,
        )
        return await asyncio.to_thread(_page, "events", map(self._event, page.rows), page.cursor)

    async def usage_json(self, query: str, is_credential: Callable[[str], bool]) -> str:
        """Return usage as JSON."""
        asked = self._usage_query(query, is_credential)
        report = await self._report(asked)
        by = [name for name, one in _BY.items() if one in asked.by]
        head = {"from": asked.since, "to": asked.until, "by": by}
        return await asyncio.to_thread(report.json, head)

    async def usage_csv(self, query: str, is_credential: Callable[[str], bool]) -> str:
        """Return usage as CSV."""
        report = await self._report(self._usage_query(query, is_credential))
        return await asyncio.to_thread(report.csv)

    async def _report(self, asked: UsageQuery) -> UsageReport:
        prices = self._prices()
        more = {UsageBy.OUTCOME} | ({UsageBy.MODEL} if prices else set())
        rows = await self._source.usage(UsageQuery(asked.since, asked.until, asked.by | more))
        report = UsageReport(asked.by, prices, self._redact)
        await asyncio.to_thread(report.add, rows)
        return report

    def _usage_query(self, query: str, is_credential: Callable[[str], bool]) -> UsageQuery:
        """The query, in the whole hours or days that usage is counted in."""
        parameters = Parameters(query, ("from", "to", "by"), is_credential)
        by = _by(parameters.all("by") or ["day"])
        unit = _DAY if UsageBy.HOUR not in by and {UsageBy.DAY, UsageBy.KEY} & by else _HOUR
        until, since = parameters.time("to"), parameters.time("from")
        until = self._clock.wall() // unit * unit + unit if until is None else until
        since = max(0.0, until - _USUAL_TIME) if since is None else since
        if since >= until:
            raise ParameterError("from is not before to. Send an earlier from, or a later to.")
        return UsageQuery(since // unit * unit, -(-until // unit) * unit, by)

    def _request(self, row: RequestRow) -> Json:
        shown = asdict(row)
        for name in ("id", "path", "model", "why"):  # what clients choose
            shown[name] = self._redact(shown[name])
        for attempt in shown["attempts"]:
            attempt["why"] = self._redact(attempt["why"])
        return shown

    def _event(self, row: EventRow) -> Json:
        shown = asdict(row)
        for name in ("about", "why", "request"):  # what clients and the upstream choose
            shown[name] = self._redact(shown[name])
        return shown


def _page(name: str, rows: Iterable[Json], cursor: int | None) -> str:
    lines = ",\n".join(map(json.dumps, rows))
    return f'{{"{name}": [\n{lines}\n], "cursor": {json.dumps(cursor)}}}'


def _by(names: Sequence[str]) -> frozenset[UsageBy]:
    for name in names:
        if name not in _BY:
            raise ParameterError(f"by: {name[:100]!r} is not one of {', '.join(_BY)}.")
    by = frozenset(_BY[name] for name in names)
    if {UsageBy.DAY, UsageBy.HOUR} <= by:
        raise ParameterError("by: has both day and hour. Send one of them.")
    return by


def _filter(parameters: Parameters) -> RequestFilter:
    outcome = parameters.choice("outcome", list(RequestOutcome))
    return RequestFilter(
        id=parameters.text("id"),
        client=parameters.text("client"),
        key=parameters.text("key"),
        model=parameters.text("model"),
        outcome=None if outcome is None else RequestOutcome(outcome),
        status=parameters.whole("status", 0, _MOST_STATUS),
        since=parameters.time("since"),
    )
