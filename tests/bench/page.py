"""What the status page costs a browser: paints, long tasks and layout shifts, and CPU while it is watched.

    python -m tests.bench.page [keys] [streams]     (500 and 150 if nothing is said)

A proxy before a mock has so many keys, of which some rest, and open streams; a request comes in twice a
second. Each view is loaded, then watched, in Chromium without a GPU: a browser of a desktop needs less. The
proxy and the mock have one core, the browser the other.
"""

import asyncio
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from proxycore.demo import Health, MockServer
from tests.bench.machine import Meter, family, free_port, pinned, running
from tests.support.browser import chromium_path
from tests.support.wire import ask

_SERVER = Path(__file__).resolve().parents[2] / "server.py"
_ADMIN, _CLIENT = "bench-admin-key", ("x-goog-api-key", "bench-client-key")
_GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
_STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
_BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
_VIEWS = ("overview", "keys", "requests", "clients", "history")
_SECONDS = 15.0  # that each view is watched
_PAUSE = 0.5  # seconds between two requests
_OBSERVE = """
window.seen = { long: [], shift: 0 };
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) seen.long.push(Math.round(one.duration));
}).observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) seen.shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_SCROLL = """async () => {
  seen.long = [];
  const times = [];
  for (let n = 0, last = performance.now(); n < 120; n += 1) {
    scrollBy(0, 240);
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  times.sort((one, other) => one - other);
  return { median: times[60], slowest: times.at(-1), long: seen.long };
}"""


def _health(number: int) -> Health:
    if number % 10 == 3:
        return Health.day_spent()
    if number % 40 == 7:
        return Health.service_disabled()
    return Health.quota(5 if number % 10 == 4 else 50)


@contextlib.asynccontextmanager
async def _traffic(port: int, keys: int, streams: int, mock: MockServer) -> AsyncIterator[None]:
    """What most keys have served once, open streams, and a request now and then."""

    async def send(target: str) -> None:
        with contextlib.suppress(OSError):
            await ask(port, "POST", target, _CLIENT, body=_BODY)

    async def stream() -> None:
        while True:
            await send(_STREAM)

    async def requests() -> None:
        while True:
            await send(_GENERATE)
            await asyncio.sleep(_PAUSE)

    for _ in range(keys // 10):
        await asyncio.gather(*(send(_GENERATE) for _ in range(20)))
    mock.pace = 2.0
    tasks = [asyncio.ensure_future(stream()) for _ in range(streams)] + [asyncio.ensure_future(requests())]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _measure(page: Page, view: str, meter: Meter) -> None:
    await page.evaluate("view => { location.hash = view; }", f"#/{view}")
    await page.reload()
    await page.locator(f"#{view} .row, #{view} .figures").first.wait_for()
    await page.wait_for_timeout(3000)
    paint, loading = await page.evaluate(_PAINT), await page.evaluate("seen")
    await page.evaluate("seen.long = []")
    before = meter()
    await page.wait_for_timeout(1000 * _SECONDS)
    used, watching = meter() - before, await page.evaluate("seen")
    _tell(
        view,
        f"first paint {paint:.0f} ms, long tasks while loading {_tasks(loading)}, while watching"
        f" {_tasks(watching)}, layout shift {watching['shift']:.5f}, CPU {100 * used.cpu / used.at:.1f} %",
    )
    if view == "keys":
        await page.get_by_role("button", name=re.compile("^Ready")).first.click()
        await page.wait_for_timeout(1000)
        found = await page.evaluate(_SCROLL)
        frames = f"a frame takes {found['median']:.0f} ms (median), {found['slowest']:.0f} ms at most"
        _tell("", f"scrolling: {frames}, long tasks {_tasks(found)}")


def _tell(view: str, text: str) -> None:
    sys.stdout.write(f"{view:10} {text}\n")
    sys.stdout.flush()


def _tasks(seen: dict[str, Any]) -> str:
    return f"{len(seen['long'])} (longest {max(seen['long'])} ms)" if seen["long"] else "none"


async def main(keys: int, streams: int) -> None:
    """Measure all views."""
    mock = MockServer({f"AQ.key-{n}": _health(n) for n in range(keys)})
    url = mock.listen()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "keys.txt").write_text("".join(f"AQ.key-{n} {n} project-{n}\n" for n in range(keys)))
        environment = {
            "UPSTREAM_URL": url,
            "KEYS_FILE": str(folder / "keys.txt"),
            "STATE_FILE": str(folder / "state.db"),
            "OUTPUT_API_KEY": _CLIENT[1],
            "ADMIN_API_KEY": _ADMIN,
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        with running([sys.executable, str(_SERVER)], environment, folder / "run", port, 0):
            async with _traffic(port, keys, streams, mock), async_playwright() as playwright:
                before = set(family(os.getpid()))
                with pinned(1):
                    browser = await playwright.chromium.launch(executable_path=chromium_path())
                    page = await browser.new_page(viewport={"width": 1440, "height": 900})
                await page.add_init_script(_OBSERVE)
                await page.goto(f"http://127.0.0.1:{port}/#admin-key={_ADMIN}")
                await page.locator("#tabs").wait_for()
                meter = Meter(tuple(set(family(os.getpid())) - before), 1)
                for view in _VIEWS:
                    await _measure(page, view, meter)
                await browser.close()
    await mock.stop()


if __name__ == "__main__":
    logging.disable()  # of the mock, whose streams are cut off at the end
    keys, streams, *_ = [*map(int, sys.argv[1:]), *(500, 150)[len(sys.argv[1:]) :]]
    asyncio.run(main(keys, streams))
