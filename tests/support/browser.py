"""Pages in the system's own Chromium, without a screen. Playwright drives it, and downloads no browser."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler

from tests.support.waiting import PATIENCE

_PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    _PATH is None, reason="there is no Chromium on PATH; on Debian: apt-get install chromium"
)

# What of Chromium's own doings asks hosts elsewhere, beyond what Playwright turns off already.
_ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
expect.set_options(timeout=1000 * PATIENCE)

_FLAGS = ["--disable-gpu", "--disable-quic", "--disable-sync", _ONLY_HERE]


def chromium_path() -> str:
    """Where the system's Chromium is."""
    assert _PATH, "there is no Chromium on PATH"
    return _PATH


class Chromium:
    """The browser of this process, on a loop of its own that outlives tests: those marked `visits` run on it.

    The first visit starts it.
    """

    def __init__(self) -> None:
        self.loop: IOLoop | None = None
        self._stack = contextlib.AsyncExitStack()
        self._browser: Browser | None = None

    async def started(self) -> Browser:
        assert self.loop is IOLoop.current(), "only tests that are marked `visits` can visit pages"
        if not self._browser:
            playwright = await self._stack.enter_async_context(async_playwright())
            launched = await playwright.chromium.launch(executable_path=_PATH, args=_FLAGS)
            self._browser = await self._stack.enter_async_context(launched)
        return self._browser

    def on_its_loop(self) -> Iterator[IOLoop]:
        """What a fixture yields: the loop, which ends with the browser on it."""
        self.loop = IOLoop(make_current=False)
        yield self.loop
        self.loop.run_sync(self._stack.aclose)
        self.loop.close(all_fds=True)


CHROMIUM = Chromium()


@dataclass
class Visit:
    """A page that is open, what it complained of on its console, and the hosts that it asked, with ports."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@contextlib.asynccontextmanager
async def visit(url: str, **options: Any) -> AsyncIterator[Visit]:  # noqa: ANN401 - Playwright's own
    """A page in a browser context of its own, which has no history and leaves none.

    `options` are those of Playwright's contexts: viewport, locale, color_scheme, ...
    """
    browser = await CHROMIUM.started()
    async with await browser.new_context(**options) as own:
        here = Visit(await own.new_page())
        here.page.set_default_timeout(1000 * PATIENCE)
        await here.page.goto(url)
        yield here


@contextlib.asynccontextmanager
async def context(folder: Path) -> AsyncIterator[str]:
    """A static site of the files in a folder, on a port of its own, and so an origin of its own."""
    files = {"path": str(folder), "default_filename": "index.html"}
    routes = [(r"/(.*)", StaticFileHandler, files)]
    server = HTTPServer(Application(routes, log_function=lambda _handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()
