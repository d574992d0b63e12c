"""A proxy that keeps its requests and events in a state file, and a view of its page."""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route

from proxycore.clock import Clock
from proxycore.demo import Health
from proxycore.storage.storage import Storage
from tests.support.browser import Visit
from tests.support.clocks import CLOCK
from tests.support.proxy import Proxy
from tests.support.status_page import entered, pool
from tests.support.storing import storage

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def kept_pool(
    folder: Path,
    healths: Mapping[str, Health],
    variables: Mapping[str, str] | None = None,
    clock: Clock = CLOCK,
) -> AsyncIterator[tuple[Proxy, Storage]]:
    """A proxy before a mock, with a key of each health under this name, and its storage.

    What happened is written when the storage is told to flush.
    """
    async with storage(folder / "state.db", clock) as kept:
        async with pool(healths, clock, kept, **({"MAX_WAIT": "0"} | dict(variables or {}))) as (here, _):
            yield here, kept


@contextlib.asynccontextmanager
async def shown(
    url: str,
    view: str,
    answers: Mapping[str, Json] | None = None,
    **options: Any,  # noqa: ANN401 - Playwright's
) -> AsyncIterator[Visit]:
    """A view of the page, logged in.

    `answers` are the responses to requests whose address contains these regular expressions.
    """
    async with entered(url, view="overview", **options) as there:
        for pattern, content in (answers or {}).items():
            await there.page.route(re.compile(pattern), _fulfilling(content))
        await there.page.evaluate("view => { location.hash = view; }", f"#/{view}")
        yield there


def _fulfilling(content: Json) -> Callable[[Route], Awaitable[None]]:
    async def fulfill(route: Route) -> None:
        await route.fulfill(json=content)

    return fulfill


async def does_not_scroll_sideways(page: Page) -> bool:
    return bool(await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"))
