"""The status page in a browser: what its tests share."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from proxycore.admin import event_stream as updates
from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.rotation.key import Key
from proxycore.runtime.app import make_app
from proxycore.storage.storage import Storage
from tests.support.browser import Visit, visit
from tests.support.clocks import CLOCK
from tests.support.proxy import Proxy, served, settings
from tests.support.wire import ask

MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
CLIENT = ("x-goog-api-key", "the-client-key")
ADMIN = "the-admin-key"
SETTINGS = {"OUTPUT_API_KEY_APP": CLIENT[1], "ADMIN_API_KEY": ADMIN}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@contextlib.asynccontextmanager
async def pool(
    healths: Mapping[str, Health], clock: Clock = CLOCK, records: Storage | None = None, **variables: str
) -> AsyncIterator[tuple[Proxy, MockServer]]:
    """A proxy before a mock, with a key of each health under this name.

    It records in a state file, or in none. Its updates are sent ten times as often as in production.
    """
    mock = MockServer({f"AQ.{name}": health for name, health in healths.items()})
    keys = {f"GOOGLE_API_KEY_{name}": f"AQ.{name}" for name in healths}
    made = settings(mock.listen(), {"MAX_WAIT": "1", **keys}, **(SETTINGS | variables))
    app = make_app(made, clock, records=records)
    if records:
        app.record_in(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "_EVERY", 0.1)
        async with served(app) as here:
            yield here, mock
    await mock.stop()


@contextlib.asynccontextmanager
async def entered(
    url: str,
    key: str = ADMIN,
    view: str = "keys",
    **options: Any,  # noqa: ANN401 - Playwright's
) -> AsyncIterator[Visit]:
    """A view of the page, logged in.

    It must not complain, nor ask any other host, nor put the key into an address.
    """
    async with visit(f"{url}/#/{view}", **options) as there:
        addresses: list[str] = []
        there.page.on("request", lambda request: addresses.append(request.url))
        await enter(there.page, key)
        yield there
        assert there.complaints == []
        assert there.hosts == {urlsplit(url).netloc}
        assert not any(key in address for address in addresses)


async def enter(page: Page, key: str) -> None:
    """Logs in, and waits until the view that the address names is shown."""
    await page.locator("#admin-key").fill(key)
    await page.locator("#admin-key").press("Enter")
    await expect(page.locator("#tabs")).to_be_visible()


async def check(page: Page) -> None:
    """What axe-core finds wrong with the page as it is: nothing."""
    results = (await Axe().run(page)).response
    wrong = {one["id"]: [node["html"][:200] for node in one["nodes"]] for one in results["violations"]}
    assert not wrong, wrong


def row(page: Page, name: str) -> Locator:
    """The row of the key of this name."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))


def sheet(page: Page, name: str) -> Locator:
    """What the key of this name has opened into."""
    return page.get_by_role("region", name=re.compile(rf"(key|密钥) {re.escape(name)}( |$)"))


async def open_key(page: Page, name: str) -> Locator:
    """Opens a key, whose row is listed, and returns its sheet."""
    await row(page, name).get_by_role("button", expanded=False).click()
    await expect(sheet(page, name)).to_be_visible()
    return sheet(page, name)


async def generate(here: Proxy, count: int = 1) -> None:
    for _ in range(count):
        await ask(here.port, "POST", GENERATE, CLIENT, body=BODY)


async def generate_until(here: Proxy, some: Callable[[Key], object]) -> None:
    """Generates until the condition holds for a key."""
    while not any(map(some, here.app.rotator.keys)):
        await generate(here)
