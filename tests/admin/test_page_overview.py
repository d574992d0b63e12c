"""The view Overview in a real browser: what needs attention, the four figures, models, traffic, streams."""

import asyncio
import re
import time

import pytest
from playwright.async_api import Locator, Page, expect

from proxycore.demo import Health
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.browser import needs_chromium
from tests.support.status_page import BODY, CLIENT, MODEL, PHONE, STREAM, check, entered, generate, pool
from tests.support.wire import ask

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]
LEAKED = "suspended or leaked"


def dead(hours: float = 12.0) -> Bench:
    """What a dead key has."""
    return Bench(LEAKED, time.time() + 3600, strikes=4, since=time.time() - 3600 * hours)


def problems(page: Page) -> Locator:
    named = re.compile("What needs attention|需要处理的问题")
    return page.get_by_role("region", name=named).get_by_role("listitem")


async def test_a_dead_key_is_shown_with_why_since_when_and_what_to_do_until_it_is_released() -> None:
    async with pool({"one": Health.healthy(), "seven": Health.suspended()}) as (here, _):
        await generate(here)
        here.app.rotator.set_bench(here.app.rotator.keys[1], BenchPlace.RETIRED, dead())
        async with entered(here.url, view="overview") as there:
            page = there.page
            await expect(problems(page)).to_have_count(1)
            await expect(problems(page)).to_contain_text(re.compile(rf"seven.*{LEAKED}"))
            await expect(problems(page)).to_contain_text("Replace it in .env or KEYS_FILE")
            await expect(problems(page)).to_contain_text(re.compile(r"since .*\d\d:\d\d.*12 h"))
            await expect(page).to_have_title("(1) Gemini key proxy")
            await expect(page.get_by_role("link", name="1 problem")).to_be_visible()
            await check(page)
            await page.get_by_role("link", name="Open key seven").click()
            await expect(page.get_by_role("region", name=re.compile("key seven"))).to_be_visible()
            here.app.rotator.release(here.app.rotator.keys[1])
            await page.get_by_role("link", name="Overview").click()
            await expect(problems(page)).to_contain_text("Nothing needs attention")
            await expect(page).to_have_title("Gemini key proxy")
            await expect(page.get_by_role("link", name="Pool is healthy")).to_be_visible()
            await check(page)


async def test_a_test_answers_in_the_row_in_which_it_was_asked_for_and_moves_nothing() -> None:
    async with pool({"one": Health.healthy(), "seven": Health.suspended()}) as (here, _):
        here.app.rotator.set_bench(here.app.rotator.keys[1], BenchPlace.RETIRED, dead())
        async with entered(here.url, view="overview") as there:
            row = problems(there.page)
            before = await row.bounding_box()
            await row.get_by_role("button", name="Try now").press("Enter")
            await expect(row.get_by_role("status")).to_have_text(f"Key seven was tested: refused ({LEAKED}).")
            await expect(row.get_by_role("button", name="Try now")).to_be_focused()
            assert await row.bounding_box() == before


async def test_many_problems_are_folded_to_the_worst_until_all_are_asked_for() -> None:
    async with pool({f"n{n}": Health.healthy() for n in range(9)}) as (here, _):
        for n, key in enumerate(here.app.rotator.keys):
            reason = Bench(f"reason {n}", time.time() + 99, strikes=1, since=time.time() - n)
            here.app.rotator.set_bench(key, BenchPlace.WHOLE, reason)
        async with entered(here.url, view="overview") as there:
            page = there.page
            await expect(problems(page)).to_have_count(5)
            await expect(page).to_have_title("(9) Gemini key proxy")
            await page.get_by_role("button", name="Show 4 more").press("Enter")
            await expect(problems(page)).to_have_count(9)
            await page.get_by_role("button", name="Show fewer").press("Enter")
            await expect(problems(page)).to_have_count(5)


async def test_the_figures_and_models_tell_what_was_served_and_what_is_left() -> None:
    async with pool({"one": Health.quota(3), "two": Health.quota(3)}, MAX_WAIT="0") as (here, _):
        await generate(here, 8)  # two more than the quotas have
        async with entered(here.url, view="overview") as there:
            page = there.page
            now = page.get_by_role("region", name="Now")
            await expect(now).to_contain_text("75 %")
            await expect(now).to_contain_text("6 of 8 in the last hour")
            model = page.get_by_role("region", name="Models").get_by_role("row").filter(has_text=MODEL)
            await expect(model.get_by_role("cell").nth(1)).to_contain_text("0 of 6")
            await expect(model.get_by_role("cell").nth(3)).to_contain_text(re.compile(r"\d+ s"))
            await expect(
                page.get_by_role("slider", name=re.compile("requests", re.IGNORECASE))
            ).to_be_visible()
            await check(page)


async def test_a_pool_that_nobody_used_yet_is_shown_without_empty_frames() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url, view="overview") as there:
        page = there.page
        await expect(problems(page)).to_contain_text("Keys: 1. No model was asked for yet.")
        await expect(page.get_by_text("No model was asked for yet", exact=True)).to_be_visible()
        await expect(page.get_by_text("No open streams")).to_be_visible()
        await expect(page.get_by_text("No request in the last hour")).to_be_visible()
        await check(page)


async def test_open_streams_are_listed_oldest_first_while_they_last() -> None:
    async with pool({"one": Health.healthy()}) as (here, mock):
        mock.pace = 30
        running = [asyncio.ensure_future(ask(here.port, "POST", STREAM, CLIENT, body=BODY)) for _ in range(8)]
        async with entered(here.url, view="overview") as there:
            panel = there.page.get_by_role("region", name="Open streams")
            await expect(panel).to_contain_text("The 6 oldest of 8; 0 Live")
            await expect(panel.get_by_role("rowheader", name=re.compile(f"APP.*{MODEL}"))).to_have_count(6)
            await check(there.page)
            for task in running:
                task.cancel()
            await expect(panel).to_contain_text("No open streams")
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_on_a_phone_in_the_dark_all_of_it_is_there_and_nothing_scrolls_sideways(locale: str) -> None:
    async with pool({"one": Health.quota(1), "a-long-name-of-a-key-with-many-words": Health.healthy()}) as (
        here,
        _,
    ):
        await generate(here, 5)
        (named,) = [key for key in here.app.rotator.keys if len(key.name) > 9]
        here.app.rotator.set_bench(named, BenchPlace.RETIRED, dead())
        async with entered(here.url, view="overview", color_scheme="dark", locale=locale, **PHONE) as there:
            page = there.page
            await expect(problems(page).filter(has_text="a-long-name-of-a-key")).to_be_visible()
            assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
            assert not re.search(r"\{\w+\}", await page.inner_text("body"))
            await check(page)
