"""The panel of open streams in a browser: which are shown, and how one is ended."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from proxycore.demo import Health
from tests.support.browser import needs_chromium
from tests.support.request_view import log, recorded, shown, streaming, streams
from tests.support.status_page import MODEL, check, entered, pool

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def test_without_a_state_file_it_is_said_so_and_open_streams_are_shown() -> None:
    async with pool({"one": Health.healthy()}) as (here, mock), streaming(here, mock, 1):
        async with entered(here.url, view="requests") as there:
            page = there.page
            await expect(page.get_by_text("STATE_FILE is off, so no requests are recorded.")).to_be_visible()
            await expect(streams(page)).to_have_count(1)
            await check(page)
            await page.get_by_role("button", name="中文").click()
            await expect(page.get_by_text("STATE_FILE 为 off")).to_be_visible()


async def test_the_oldest_open_streams_are_shown_and_the_others_on_demand(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (here, _, mock), streaming(here, mock, 5) as running:
        async with shown(here) as page:
            await expect(streams(page)).to_have_count(3)
            first = streams(page).first
            for text in ("stream", f"{MODEL} streamGenerateContent", "APP", "one", "End…"):
                await expect(first).to_contain_text(text)
            await page.get_by_role("button", name="Show 2 more").click()
            await expect(streams(page)).to_have_count(5)
            await check(page)
            await page.get_by_role("button", name="Show fewer").click()
            await expect(streams(page)).to_have_count(3)
            running[0].cancel()
            running[1].cancel()
            await expect(page.get_by_role("button", name="Show 2 more")).to_be_hidden()
            await expect(streams(page)).to_have_count(3)
            running[2].cancel()
            await expect(streams(page).and_(page.locator(":visible"))).to_have_count(2)


async def test_a_stream_that_the_reader_is_at_keeps_its_row_when_it_ends(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (here, _, mock), streaming(here, mock, 2) as running:
        async with shown(here) as page:
            await expect(streams(page)).to_have_count(2)
            await streams(page).nth(1).get_by_role("button").focus()
            running[0].cancel()
            await expect(streams(page).first).to_contain_text("ended")
            await expect(streams(page)).to_have_count(2)
            await expect(streams(page).nth(1).get_by_role("button")).to_be_focused()
            await page.get_by_label("Search").focus()
            await expect(streams(page)).to_have_count(1)


async def test_a_stream_is_ended_once_that_is_confirmed_and_the_result_is_shown_there(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (here, _, mock), streaming(here, mock, 1) as (running,):
        async with shown(here) as page:
            button = page.get_by_role("button", name="End the request of APP")
            await button.click()
            dialog = page.get_by_role("dialog", name="End this request?")
            await expect(dialog).to_contain_text(f"stream of {MODEL}, client APP, key one")
            await dialog.get_by_role("button", name="Cancel").click()
            await expect(button).to_be_focused()
            assert not running.done()
            await button.press("Enter")
            await dialog.get_by_role("button", name="End request").press("Enter")
            told = page.get_by_role("region", name="Open now").get_by_role("status")
            await expect(told).to_have_text(re.compile(r"Request \S+ is ended\."))
            await expect(streams(page)).to_contain_text("ended")
            await expect(log(page).first).to_contain_text("200 cut off")
            await asyncio.wait([running])
