"""Pages in the system's own Chromium, without a screen. Playwright drives it, and downloads no browser."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler

from tests.support.waiting import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on PATH; on Debian: apt-get install chromium"
)

# What of Chromium's own doings asks hosts elsewhere, beyond what Playwright turns off already.
_ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
expect.set_options(timeout=1000 * PATIENCE)

_FLAGS = ["--disable-gpu", "--disable-quic", "--disable-sync", _ONLY_HERE]


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
    """A page in a browser of its own, which has no history and leaves none.

    `options` are those of Playwright's contexts: viewport, locale, color_scheme, ...
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            here = Visit(await browser.new_page(**options))
            here.page.set_default_timeout(1000 * PATIENCE)
            await here.page.goto(url)
            yield here
        finally:
            await browser.close()


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
