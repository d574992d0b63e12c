"""The pictures of the documents: the status page after an hour of real requests to the demo's keys.

    python -m tests.pictures [folder] [minutes]

writes `status.png` and `status.zh-CN.png` (default: docs, after 61 minutes). The proxy and the mock run on
one clock, which is turned minute by minute, so that an hour takes seconds. Needs Chromium and a Chinese font.
"""

import asyncio
import math
import random
import sys
import time
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from proxycore.demo import Health, MockServer, demo_keys
from tests.support.browser import chromium_path
from tests.support.clocks import TurnedClock
from tests.support.process import ROOT
from tests.support.proxy import proxy
from tests.support.wire import ask

_ADMIN = "the-admin-key-of-pictures"
_CLIENTS = {"ALICE": "a-key-for-alice-only", "BOB": "a-key-for-bob-alone", "CI": "a-key-for-the-builds"}
_MODELS = ("gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-2.5-pro")
_BODY = b'{"contents": [{"parts": [{"text": "Write a short story"}]}]}'
_DYING = 3  # minutes before the end from which on two keys are dead: enough to be sure of it
_BUSIEST = 40  # requests a minute
_SIZE = {"width": 1280, "height": 1010}
_LANGUAGES = {"en": "status.png", "zh-CN": "status.zh-CN.png"}


async def _send_minute(port: int, minute: int, source: random.Random) -> None:
    """Send the requests of one minute: more around each half hour."""
    count = 5 + int(_BUSIEST * (0.5 + 0.5 * math.cos(minute / 30 * 2 * math.pi)))
    for _ in range(count):
        action = "streamGenerateContent?alt=sse" if source.random() < 0.6 else "generateContent"
        target = f"/v1beta/models/{source.choice(_MODELS)}:{action}"
        credential = ("x-goog-api-key", source.choice([*_CLIENTS.values()]))
        await ask(port, "POST", target, credential, body=_BODY)


async def _take(browser: Browser, url: str, folder: Path) -> None:
    for locale, name in _LANGUAGES.items():
        page = await browser.new_page(locale=locale, viewport=_SIZE)  # type: ignore[arg-type] # a dict is fine
        await page.goto(f"{url}/#admin-key={_ADMIN}")
        await page.locator("#keys tbody tr").first.wait_for()
        await page.screenshot(path=folder / name, full_page=False)
        await page.close()


async def main(folder: Path, minutes: int = 61) -> None:
    """Send requests to the demo's keys for so many minutes, and take the pictures into this folder."""
    clock = TurnedClock(float(int(time.time() // 60 - minutes) * 60))
    # Keys that die at the end are shown with the time until they are probed again.
    end = clock.now + (minutes - _DYING) * 60
    keys = demo_keys()
    for name in ("INVALID", "SUSPENDED"):
        secret, health = keys[name]
        keys[name] = secret, Health.until(end, Health.healthy(), health)
    mock = MockServer(dict(keys.values()), clock=clock)
    variables = {f"GOOGLE_API_KEY_{name}": secret for name, (secret, _) in keys.items()}
    clients = {f"OUTPUT_API_KEY_{name}": key for name, key in _CLIENTS.items()}
    source = random.Random(7)  # noqa: S311 - a load
    async with (
        proxy(mock.listen(), variables, clock, ADMIN_API_KEY=_ADMIN, **clients) as here,
        async_playwright() as playwright,
    ):
        for minute in range(minutes):
            await _send_minute(here.port, minute, source)
            clock.turn(60.0 if minute < minutes - 1 else 20.0)
        browser = await playwright.chromium.launch(executable_path=chromium_path())
        await _take(browser, here.url, folder)
        await browser.close()
    await mock.stop()


if __name__ == "__main__":
    folder, minutes, *_ = [*sys.argv[1:], *("docs", "61")[len(sys.argv[1:]) :]]
    asyncio.run(main(ROOT / folder, int(minutes)))
