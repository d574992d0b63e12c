"""The status page in a browser: what its tests share."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from proxycore.admin import event_stream as updates
from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.rotation.key import Key
from tests.support.browser import Visit, visit
from tests.support.clocks import CLOCK
from tests.support.proxy import Proxy, proxy
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
    healths: Mapping[str, Health], clock: Clock = CLOCK, **variables: str
) -> AsyncIterator[tuple[Proxy, MockServer]]:
    """A proxy before a mock, with a key of each health under this name.

    Its updates are sent ten times as often as in production.
    """
    mock = MockServer({f"AQ.{name}": health for name, health in healths.items()})
    keys = {f"GOOGLE_API_KEY_{name}": f"AQ.{name}" for name in healths}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "_EVERY", 0.1)
        async with proxy(mock.listen(), keys, clock, **(SETTINGS | variables)) as here:
            yield here, mock
    await mock.stop()


@contextlib.asynccontextmanager
async def entered(url: str, key: str = ADMIN, **options: Any) -> AsyncIterator[Visit]:  # noqa: ANN401 - Playwright's
    """The page, logged in. It must not complain, nor ask any other host, nor put the key into an address."""
    async with visit(f"{url}/", **options) as there:
        addresses: list[str] = []
        there.page.on("request", lambda request: addresses.append(request.url))
        await enter(there.page, key)
        yield there
        assert there.complaints == []
        assert there.hosts == {urlsplit(url).netloc}
        assert not any(key in address for address in addresses)


async def enter(page: Page, key: str) -> None:
    await page.locator("#admin-key").fill(key)
    await page.locator("#admin-key").press("Enter")
    await expect(page.locator("#keys tbody tr").first).to_be_visible()


async def check(page: Page) -> None:
    """What axe-core finds wrong with the page as it is: nothing."""
    results = (await Axe().run(page)).response
    wrong = {one["id"]: [node["html"][:200] for node in one["nodes"]] for one in results["violations"]}
    assert wrong == {}


def row(page: Page, name: str) -> Any:  # noqa: ANN401 - a locator
    return page.locator("#keys > tbody > tr:not(.details)").filter(
        has=page.get_by_role("button", name=f"key {name}")
    )


async def generate(here: Proxy, count: int = 1) -> None:
    for _ in range(count):
        await ask(here.port, "POST", GENERATE, CLIENT, body=BODY)


async def generate_until(here: Proxy, some: Callable[[Key], object]) -> None:
    """Generates until the condition holds for a key."""
    while not any(map(some, here.app.rotator.keys)):
        await generate(here)
