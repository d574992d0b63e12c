"""The view of requests in a browser: a proxy whose request log a test fills, and the parts of the view."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, expect

from proxycore.demo import Health, MockServer
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow, RequestRow
from proxycore.storage.storage import Storage
from tests.support.clocks import CLOCK
from tests.support.proxy import Proxy
from tests.support.status_page import BODY, CLIENT, STREAM, entered, pool
from tests.support.storing import request as row
from tests.support.storing import storage
from tests.support.wire import ask

PRO = "gemini-2.5-pro"
OVERLOADED = (
    AttemptRow("12", 429, "failover", "daily quota exhausted", 0.2, 0.1),
    AttemptRow("28", 503, "retry", "upstream error", 1.9, 0.4),
    AttemptRow("5", 503, "retry", "upstream error", 4.4, 5.2),
)


def failed(number: int, **fields: Any) -> RequestRow:  # noqa: ANN401 - any field
    """A request that failed at its third attempt."""
    usual = {"status": 503, "outcome": RequestOutcome.FAILED, "attempts": OVERLOADED, "seconds": 9.6}
    return ended(number, **(usual | {"model": PRO, "key": "5"} | fields))


def ended(number: int, **fields: Any) -> RequestRow:  # noqa: ANN401 - any field
    """A request that has ended now; served at the first attempt if `fields` say nothing else."""
    attempts = (AttemptRow("first", 200, "served", "", 0.2, 0.0),)
    usual = {
        "time": CLOCK.wall() - 60 + number / 100,
        "attempts": attempts,
        "seconds": 0.5,
        "first_byte": 0.2,
    }
    return row(number, **(usual | fields))


@contextlib.asynccontextmanager
async def recorded(
    folder: Path, rows: Iterable[RequestRow] = (), healths: dict[str, Health] | None = None
) -> AsyncIterator[tuple[Proxy, Storage, MockServer]]:
    """A proxy before a mock, with a state file that has these requests, and gets those that come."""
    async with storage(folder / "state.db", CLOCK) as kept:
        for one in rows:
            kept.put_request(one)
        async with pool(healths or {"one": Health.healthy()}, CLOCK, kept) as (here, mock):
            yield here, kept, mock


@contextlib.asynccontextmanager
async def shown(here: Proxy, query: str = "", **options: Any) -> AsyncIterator[Page]:  # noqa: ANN401 - Playwright's
    """The view, logged in."""
    async with entered(here.url, view=f"requests{query}", **options) as there:
        yield there.page


def log(page: Page) -> Locator:
    """The rows of the log."""
    return page.get_by_role("table", name=re.compile("Request log|请求日志")).locator("> tbody > tr.row")


def sheet(page: Page) -> Locator:
    return page.locator("tr.sheet")


async def stay(page: Page) -> None:
    """Waits until the page has asked for new requests twice, and so has shown what the first time brought."""
    for _ in range(2):
        async with page.expect_response("**/requests.json?*"):
            pass


async def ids(page: Page) -> list[str]:
    """The ids of the requests of the log that are in the document, from top to bottom."""
    labels = "all => all.map(one => one.ariaLabel.replace('Details of ', ''))"
    found: list[str] = await log(page).get_by_role("button").evaluate_all(labels)
    return found


async def until_ids(page: Page, wanted: list[str]) -> None:
    await expect(log(page)).to_have_count(len(wanted))
    await expect(log(page).first.get_by_role("button")).to_have_accessible_name(f"Details of {wanted[0]}")
    assert await ids(page) == wanted


def streams(page: Page) -> Locator:
    return page.get_by_role("table", name="Open streams and Live sessions").locator("> tbody > tr.row")


@contextlib.asynccontextmanager
async def streaming(here: Proxy, mock: MockServer, count: int) -> AsyncIterator[list[asyncio.Future[Any]]]:
    """Streams that are open until they are cancelled."""
    mock.pace = 30
    running: list[asyncio.Future[Any]] = []
    for _ in range(count):
        running.append(asyncio.ensure_future(ask(here.port, "POST", STREAM, CLIENT, body=BODY)))
        await asyncio.sleep(0.02)
    yield running
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)
