"""The pictures of the documents: the status page after a day of real requests, see `tests.support.busy_pool`.

    python -m tests.pictures [folder] [minutes]     those of the documents (default: docs, after 1440 minutes)
    python -m tests.pictures folder minutes all     each view in both themes and languages, at five widths

Needs Chromium and a Chinese font.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.support.browser import chromium_path
from tests.support.busy_pool import ADMIN, FastLoop, busy_pool
from tests.support.process import ROOT

_VIEWS = {
    "overview": "/overview",
    "keys": "/keys/7",
    "requests": "/requests?outcome=failed",
    "clients": "/clients",
    "history": "/history?range=24h",
}
_WIDTHS = {360: 740, 768: 1024, 1280: 800, 1440: 900, 1920: 1080}


@dataclass(frozen=True)
class Picture:
    """A picture of a view, named without its suffix."""

    name: str
    view: str
    locale: str = "en-GB"
    theme: str = "light"
    width: int = 1280
    height: int = 1080
    full: bool = False  # the whole page, instead of its first screen


_DOCUMENTS = (
    Picture("status", "overview"),
    Picture("status.zh-CN", "overview", locale="zh-CN"),
    Picture("status-keys", "keys"),
    Picture("status-keys.zh-CN", "keys", locale="zh-CN"),
    Picture("status-requests", "requests"),
    Picture("status-requests.zh-CN", "requests", locale="zh-CN"),
)


def _all() -> Iterable[Picture]:
    for view in _VIEWS:
        for theme in ("light", "dark"):
            for locale in ("en-GB", "zh-CN"):
                for width, height in _WIDTHS.items():
                    name = f"{view}-{width}-{theme}-{locale[:2]}"
                    yield Picture(name, view, locale, theme, width, height, full=view != "requests")


async def _open_first(page: Page) -> None:
    """Open the latest request of the log, if it has any."""
    opener = page.locator("#requests .request-log .opener").first
    if await opener.count():
        await opener.click()


async def _take(browser: Browser, url: str, folder: Path, picture: Picture) -> None:
    page = await browser.new_page(
        locale=picture.locale,
        color_scheme="dark" if picture.theme == "dark" else "light",
        viewport={"width": picture.width, "height": picture.height},
    )
    await page.goto(f"{url}/#admin-key={ADMIN}")
    await page.locator("#tabs").wait_for()
    await page.evaluate("place => { location.hash = place; }", _VIEWS[picture.view])
    await page.locator(f"#{picture.view}").wait_for()
    await page.wait_for_timeout(1500)
    if picture.view == "requests":
        await _open_first(page)
        await page.wait_for_timeout(500)
    await page.screenshot(path=folder / f"{picture.name}.png", full_page=picture.full)
    await page.close()


async def main(folder: Path, minutes: int = 1440, pictures: Iterable[Picture] = _DOCUMENTS) -> None:
    """Let a pool work for so many minutes, and take the pictures into this folder."""
    with tempfile.TemporaryDirectory() as state:
        async with busy_pool(Path(state), minutes) as pool, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium_path())
            for picture in pictures:
                await _take(browser, pool.proxy.url, folder, picture)
            await browser.close()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folder, minutes = [*arguments[:2], *("docs", "1440")[len(arguments[:2]) :]]
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(main(ROOT / folder, int(minutes), _all() if "all" in arguments else _DOCUMENTS))
