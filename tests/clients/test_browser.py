"""Google's JavaScript SDK in a page of another origin than the proxy's, in a real browser."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.common import CLIENT_KEY, JAVASCRIPT, MODEL, NODE, PROMPT, SPREAD, Pool, pool, run
from tests.support.browser import Visit, context, needs_chromium, visit

pytestmark = [
    needs_chromium,
    pytest.mark.visits,
    pytest.mark.usefixtures("io_loop", "npm_packages"),
]

ESBUILD = JAVASCRIPT / "node_modules" / "esbuild" / "bin" / "esbuild"
# Without an icon of its own, a browser may ask for one that is not there.
PAGE = '<!doctype html><title>A page</title><link rel="icon" href="data:,"><script src="page.js"></script>'


@pytest.fixture(autouse=True)
def no_generators() -> None:
    """No task is left over in this process; the browser's loop continues."""


@contextlib.asynccontextmanager
async def page_of(here: Pool, folder: Path) -> AsyncIterator[Visit]:
    """The page with its client connected to the proxy; it must not complain, nor ask any other host."""
    (folder / "index.html").write_text(PAGE)
    bundled = ["--bundle", "--global-name=client", "--log-level=warning", f"--outfile={folder / 'page.js'}"]
    await run(NODE, ESBUILD, JAVASCRIPT / "page.mjs", *bundled)
    async with context(folder) as origin, visit(origin) as there:
        await there.page.evaluate("([url, key]) => client.connect(url, key)", [here.url, CLIENT_KEY])
        yield there
        assert there.complaints == []
        assert there.hosts == {urlsplit(url).netloc for url in (origin, here.url)}


async def test_a_page_generates_and_streams(tmp_path: Path) -> None:
    async with pool() as here, page_of(here, tmp_path) as there:
        for _ in range(20):
            text = await there.page.evaluate("asked => client.generate(...asked)", [MODEL, PROMPT])
            assert PROMPT in text
        for _ in range(10):
            pieces = await there.page.evaluate("asked => client.stream(...asked)", [MODEL, PROMPT])
            assert len(pieces) > 1
            assert PROMPT in "".join(pieces)


async def test_a_page_uploads_in_one_chunk_and_in_several(tmp_path: Path) -> None:
    async with pool(SPREAD) as here, page_of(here, tmp_path) as there:
        for size in (1000, 20 * 2**20) * 3:
            assert await there.page.evaluate("size => client.upload(size)", size) == size
        assert len([call for call in here.mock.calls if "upload_id=" in call.target]) == (1 + 3) * 3
        # The browser asked first whether it may, and that is nothing for Google.
        assert {call.headers["Sec-Fetch-Mode"] for call in here.mock.calls} == {"cors"}
        assert {call.method for call in here.mock.calls} == {"POST", "GET", "DELETE"}
