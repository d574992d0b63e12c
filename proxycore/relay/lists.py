"""Lists of the resources of all projects, merged from the lists of one key after another.

A page has the items of as many keys as fit; its token names where the next page begins. If a key can't be
used, its items are missing, and the response names it in `X-Incomplete-Keys`.
"""

import asyncio
import json
import math
from collections.abc import Generator, Sequence
from typing import Any

from proxycore.gemini.list_pages import Page, PageStart, page_for, page_start, query_at
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.response_scanner import ResponseScanner, scanner_for
from proxycore.gemini.verdict import Reaction
from proxycore.http.credentials import credential
from proxycore.http.fields import without
from proxycore.relay.exchange import Exchange
from proxycore.relay.handler import RelayHandler
from proxycore.relay.outcome import AttemptResult
from proxycore.relay.retry_policy import FEW
from proxycore.rotation.key import Key
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.fetch import fetch_whole
from proxycore.transport.messages import Outgoing, UpstreamError, malformed

_NOT_ASKED = frozenset({"accept-encoding"})  # pages are read here
_AT_ONCE = 8  # keys that are fetched together, so that hundreds don't take a minute
_PAUSE = 0.1  # seconds before a key's page is fetched again, after a server error
_LARGEST_PAGE = 8 * 1024 * 1024  # bytes of one key's page
_MOST_VALUES = 200_000  # in one key's page: parsing takes 100 ns for each, and blocks the event loop
_PIECE = 64 * 1024  # bytes that are searched for names in one go


class ListHandler(RelayHandler):
    """Relays the methods of a collection; a list of it is merged over all keys."""

    async def serve(self) -> None:
        """Serve a list with all keys, and other methods as any request."""
        if self.request.method != "GET" or self.token:
            await super().serve()
            return
        place, keys = page_start(self.request.query), self.pool.rotator.keys
        start = next((n for n, key in enumerate(keys) if place and key.name == place.key), None)
        if place is None or (place.key and start is None):
            self.refuse(400, "The page token is not valid. Start again with the first page.")
        else:
            await self._list(keys[start or 0 :], place)

    async def _list(self, keys: Sequence[Key], place: PageStart) -> None:
        page = page_for(self.path, self.request.query)
        missing: list[str] = []
        token, exchange = place.token, None
        # The page begins with one key, which may well be enough.
        for group in (keys[:1], *_groups(keys[1:])):
            for key, exchange in zip(group, await self._fetch_all(group, token), strict=True):
                await asyncio.sleep(0)  # others are served between two responses that have to be parsed
                body = _page_in(exchange.last) if exchange else b""
                document = _document_of(body)
                if document is not None:
                    if not page.add(key.name, document, len(body)):
                        self._send_page(page, missing)
                        return
                elif exchange and (refusal := self._refusal_in(exchange)):
                    self.send_buffered(refusal)  # it is about the request, so that every key would get it
                    return
                else:
                    missing.append(key.name)
            token = ""
        if len(missing) < len(keys):
            self._send_page(page, missing)
        elif exchange := exchange or self.exchange(RequestScope("")):
            self.conclude(exchange)

    async def _fetch_all(self, keys: Sequence[Key], token: str) -> list[Exchange | None]:
        return await asyncio.gather(*(self._fetch(key, token) for key in keys))

    async def _fetch(self, key: Key, token: str) -> Exchange | None:
        """Fetch one key's page; it is the returned exchange's last response. None if the key is benched."""
        if key.ready_at("") > self.pool.clock():
            return None
        outgoing = self.outgoing(self.body)
        query = query_at(outgoing.target.partition("?")[2], token)
        fields = without(outgoing.fields, _NOT_ASKED)
        outgoing = outgoing._replace(target=self.path + (f"?{query}" if query else ""), fields=fields)
        for _ in range(FEW):
            exchange = Exchange(
                self.pool, RequestScope(""), self.record, repeatable=True, spends=False, once=True, first=key
            )
            with exchange:
                while call := await exchange.next_call():
                    exchange.settle(await self._response_to(outgoing, call.key, fresh=exchange.fresh))
            if exchange.verdict.then is not Reaction.RETRY:
                break
            await asyncio.sleep(_PAUSE)
        return exchange

    async def _response_to(self, outgoing: Outgoing, key: Key, *, fresh: bool) -> AttemptResult:
        field = credential(key.secret, outgoing.target)
        try:
            page = await fetch_whole(
                self.pool.upstream, outgoing, field, _LARGEST_PAGE, proxy=key.proxy, fresh=fresh
            )
        except UpstreamError as error:
            return error.with_traceback(None)
        if page.head.status == 200 and page.body and (scanner := scanner_for(self.path, page.head.fields)):
            await self.pool.turns.run(self._learn(scanner, page.body, key))
        return page

    def _learn(self, scanner: ResponseScanner, body: bytes, key: Key) -> Generator[None, None, None]:
        for start in range(0, len(body), _PIECE):
            self.pool.affinity.learn_mentioned(scanner.scan(body[start : start + _PIECE]), key)
            yield

    def _refusal_in(self, exchange: Exchange) -> BufferedResponse | None:
        """The refusal of a page if every key would get the same."""
        last, verdict = exchange.last, exchange.verdict
        if not isinstance(last, BufferedResponse) or last.head.status < 300:
            return None
        is_of_this_way = verdict.way and self.pool.rotator.ways.several
        return last if verdict.then is Reaction.RELAY and not is_of_this_way else None

    def _send_page(self, page: Page, missing: list[str]) -> None:
        try:
            body = page.body()
        except RecursionError:
            fault = malformed("a list is nested too deeply")
            self.refuse(500, str(fault), status="UNAVAILABLE")
            return
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Content-Length", len(body))
        if missing:
            names = ", ".join(missing).encode("ascii", "backslashreplace")  # they may be in any alphabet
            self.set_header("X-Incomplete-Keys", names)
        self.record.sent_bytes += len(body)
        self.note_first_byte()
        self.write(body)
        self.end_response()


def _groups(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]


def _page_in(result: AttemptResult | None) -> bytes:
    return (result.body or b"") if isinstance(result, BufferedResponse) and result.head.status == 200 else b""


def _document_of(body: bytes) -> dict[str, Any] | None:
    if sum(map(body.count, (b",", b"{", b"["))) > _MOST_VALUES:
        return None
    try:
        document = json.loads(body, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _finite(text: str) -> float:
    """The number, if it can be written as JSON again; raise ValueError for others, like NaN and 1e999."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
