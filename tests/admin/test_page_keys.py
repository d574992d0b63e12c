"""The view Keys in a real browser: what it shows of the keys, and what can be done with them."""

import asyncio
import re
import time

import pytest
from playwright.async_api import Locator, Page, expect

from proxycore.demo import Health
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key
from tests.support.browser import needs_chromium, visit
from tests.support.clocks import CLOCK, TurnedClock
from tests.support.proxy import Proxy
from tests.support.status_page import (
    ADMIN,
    PHONE,
    check,
    enter,
    entered,
    generate,
    open_key,
    pool,
    row,
    sheet,
)
from tests.support.waiting import PATIENCE

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


def key_of(here: Proxy, name: str) -> Key:
    return next(key for key in here.app.rotator.keys if key.name == name)


def bench(here: Proxy, name: str, seconds: float, reason: str = "out of order") -> None:
    """Benches a key as a whole."""
    here.app.rotator.set_bench(key_of(here, name), BenchPlace.WHOLE, Bench(reason, CLOCK() + seconds))


def rows(page: Page) -> Locator:
    return page.locator("tbody").get_by_role("rowheader")


async def names(page: Page) -> list[str]:
    return await rows(page).all_inner_texts()


def result(inside: Locator) -> Locator:
    """The result of an action, beside the buttons that ask for it."""
    return inside.locator("output")


async def test_keys_that_need_attention_come_first_and_ready_ones_are_one_line() -> None:
    healths = {"10": Health.healthy(), "9": Health.healthy(), "2": Health.suspended(), "1": Health.healthy()}
    async with pool(healths) as (here, _):
        while not all(key.retired or key.name != "2" for key in here.app.rotator.keys):
            await generate(here)
            bench(here, "2", 600, "suspended or leaked")
            here.app.rotator.set_bench(
                key_of(here, "2"), BenchPlace.RETIRED, Bench("suspended or leaked", CLOCK() + 600)
            )
        await generate(here, 12)
        bench(here, "9", 600, "manual")
        async with entered(here.url) as there:
            page = there.page
            await page.get_by_role("button", name="2 ready keys").click()
            await expect(rows(page)).to_have_text(["2", "9"])
            await expect(row(page, "2")).to_contain_text("retired")
            await expect(row(page, "2")).to_contain_text("Suspended or leaked")
            await expect(row(page, "2")).to_contain_text("Make a new key in Google AI Studio")
            await expect(row(page, "9")).to_contain_text("Release it to use it again")
            ready = page.get_by_role("button", name="2 ready keys")
            await expect(ready).to_have_attribute("aria-expanded", "false")
            await check(page)
            await ready.press("Enter")
            await expect(rows(page)).to_have_text(["2", "9", "1", "10"])
            await expect(ready).to_be_focused()
            await page.get_by_role("button", name="Needs attention").click()
            await expect(rows(page)).to_have_text(["2"])


async def test_changes_of_a_keys_state_are_shown_live() -> None:
    clock = TurnedClock()
    settings = {"FORBIDDEN_BENCH_SECONDS": "5", "MAX_WAIT": "0"}
    async with pool({"off": Health.service_disabled()}, clock, None, **settings) as (here, mock):
        async with entered(here.url) as there:
            page, off = there.page, row(there.page, "off")
            await page.evaluate("window.untouched = true")
            await expect(off).to_contain_text("unproven")
            await generate(here)
            await expect(off).to_contain_text("benched")
            await expect(off).to_contain_text("SERVICE_DISABLED")
            await expect(off).to_contain_text("Enable the Generative Language API")
            await check(page)
            mock.keys["AQ.off"] = Health.healthy()
            clock.turn(5.5)
            await expect(off).to_contain_text("unproven")
            await generate(here)
            await expect(off).to_contain_text("ready")
            await expect(off).to_contain_text("50 %")
            assert await page.evaluate("window.untouched")


async def is_true(countdown: Locator, until: float) -> bool:
    """Whether it shows, to a second, the time until this moment of the wall clock."""
    before = time.time()
    hours, minutes, seconds = map(int, (await countdown.inner_text()).split(":"))
    left = hours * 3600 + minutes * 60 + seconds
    return until - time.time() - 1.05 <= left <= until - before + 1.05


async def test_the_countdown_is_true_to_a_second_whatever_the_browsers_clock_says() -> None:
    async with pool({"fine": Health.healthy()}) as (here, _):
        async with visit(f"{here.url}/") as there:
            page = there.page
            await page.clock.install(time=time.time() - 3000)  # it goes fifty minutes late
            await page.goto(f"{here.url}/?#/keys")
            await enter(page, ADMIN)
            until = time.time() + 3725
            bench(here, "fine", 3725)
            cell = row(page, "fine").get_by_role("cell").filter(has_text=re.compile(r"^1:0\d:\d\d$"))
            for _ in range(3):
                await expect(cell).to_be_visible()
                async with asyncio.timeout(PATIENCE):
                    while not await is_true(cell, until):  # a busy browser may be late to count down
                        pass
                    before = await cell.inner_text()
                    while await cell.inner_text() == before:
                        pass
            # The moment is told as the visitor's own clock will show it.
            title = await cell.get_attribute("title")
            assert title in {
                time.strftime("Back at %H:%M:%S", time.localtime(until - 3000 + n)) for n in (-1, 0, 1)
            }


async def test_the_focus_stays_with_a_key_that_moves_to_another_group() -> None:
    async with pool({"a": Health.healthy(), "b": Health.healthy()}) as (here, _), entered(here.url) as there:
        opener = row(there.page, "b").get_by_role("button", expanded=False)
        await opener.focus()
        bench(here, "b", 600)
        await expect(rows(there.page)).to_have_text(["b", "a"])
        await expect(opener).to_be_focused()


async def test_no_key_changes_its_place_under_a_pointer_that_moves() -> None:
    async with pool({"a": Health.healthy(), "b": Health.healthy()}) as (here, _), entered(here.url) as there:
        page = there.page
        moves = (
            "(row) => { const moved = new PointerEvent('pointermove', { bubbles: true });"
            " row.dispatchEvent(moved); window.moves = setInterval(() => row.dispatchEvent(moved), 50); }"
        )
        await row(page, "b").evaluate(moves)
        bench(here, "b", 600)
        await expect(row(page, "b")).to_contain_text("benched")
        await expect(rows(page)).to_have_text(["a", "b"])
        await page.evaluate("clearInterval(window.moves)")
        await expect(rows(page)).to_have_text(["b", "a"])


async def test_the_focus_moves_to_the_chips_when_the_focused_row_is_filtered_out() -> None:
    async with pool({"one": Health.healthy(), "two": Health.healthy()}) as (here, _):
        bench(here, "one", 600, "manual")
        async with entered(here.url) as there:
            page = there.page
            await page.get_by_role("button", name="Cooling down").click()
            await expect(rows(page)).to_have_text(["one"])
            inside = await open_key(page, "one")
            await inside.get_by_role("button", name="Release", exact=True).press("Enter")
            await expect(page.get_by_text("No matching keys")).to_be_visible()
            await expect(page.get_by_role("button", name="Cooling down")).to_be_focused()


async def test_several_keys_are_tried_benched_and_released_at_once() -> None:
    healths = {"a": Health.healthy(), "b": Health.suspended(), "c": Health.healthy()}
    async with pool(healths) as (here, _), entered(here.url) as there:
        page, several = there.page, there.page.get_by_role("group", name="Selected keys")
        await page.get_by_label("Select key a").check()
        await expect(page.get_by_role("button", name="Unproven")).to_be_hidden()
        await expect(several).to_contain_text("1 selected")
        await page.get_by_label("Select all keys").check()
        await expect(several).to_contain_text("3 selected")
        await check(page)
        await several.get_by_role("button", name="Try now").click()
        await expect(result(several)).to_have_text("Tried: 2 accepted, 1 refused, 0 without a result")
        await several.get_by_role("button", name="Bench…").click()
        dialog = page.get_by_role("dialog", name="Bench 3 keys?")
        await page.get_by_label("10 min").check()
        await dialog.get_by_role("button", name="Bench").click()
        await expect(result(several)).to_have_text("3 of 3")
        assert all(key.whole for key in here.app.rotator.keys)
        await several.get_by_role("button", name="Release").click()
        await expect(result(several)).to_have_text("3 of 3")
        assert not any(key.whole for key in here.app.rotator.keys)
        await several.get_by_role("button", name="Clear").click()
        await expect(page.get_by_role("button", name="All")).to_be_focused()
        await expect(page.get_by_label("Select key a")).not_to_be_checked()


async def test_500_keys_are_windowed_searched_and_sorted() -> None:
    healths = {f"n{n}": Health.healthy() for n in range(500)}
    async with pool(healths) as (here, _), entered(here.url) as there:
        page = there.page
        await expect(rows(page).first).to_have_text("n0")
        assert len(await names(page)) < 60
        await page.evaluate("scrollTo(0, document.scrollingElement.scrollHeight)")
        await expect(rows(page).last).to_have_text("n499")
        assert len(await names(page)) < 60
        bench(here, "n250", 999)
        here.app.rotator.set_bench(
            key_of(here, "n77"), BenchPlace.RETIRED, Bench("out of order", CLOCK() + 1999)
        )
        await page.evaluate("scrollTo(0, 0)")
        await expect(page.get_by_role("button", name="Needs attention 2")).to_be_visible()
        await expect(rows(page).nth(0)).to_have_text("n77")
        await expect(rows(page).nth(1)).to_have_text("n250")
        await page.get_by_role("button", name="Back in").click()
        await expect(rows(page).nth(0)).to_have_text("n250")
        await page.get_by_label("Search keys").fill("N499")
        await expect(rows(page)).to_have_text(["n499"])
        await page.get_by_label("Search keys").fill("out of order")
        await expect(rows(page)).to_have_text(["n250", "n77"])
        await page.get_by_label("Search keys").fill("nothing like it")
        await expect(page.get_by_text("No matching keys")).to_be_visible()


async def test_nothing_moves_once_500_keys_are_shown() -> None:
    healths = {f"n{n}": Health.healthy() for n in range(500)}
    # The key that will serve is far below what is in view.
    async with pool(healths, KEY_ORDER="n499 > *") as (here, _), visit(f"{here.url}/") as there:
        page = there.page
        await page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => {"
            " for (const one of list.getEntries()) if (!one.hadRecentInput) window.shift += one.value;"
            "}).observe({ type: 'layout-shift', buffered: true })"
        )
        await page.goto(f"{here.url}/?#/keys")
        await enter(page, ADMIN)
        await page.reload()  # without the login
        await expect(rows(page).first).to_have_text("n0")
        await generate(here, 10)
        await expect(page.get_by_role("button", name=re.compile("Ready [1-9]"))).to_be_visible()
        assert await page.evaluate("window.shift") == 0


async def test_the_address_of_a_key_opens_and_reveals_it() -> None:
    healths = {f"n{n}": Health.healthy() for n in range(200)}
    async with pool(healths) as (here, _), entered(here.url, view="keys/n150") as there:
        page = there.page
        await expect(sheet(page, "n150")).to_be_in_viewport()
        opener = row(page, "n150").get_by_role("button", expanded=True)
        await expect(opener).to_be_focused()
        await expect(opener).to_be_in_viewport()
        await opener.press("Enter")
        await expect(sheet(page, "n150")).to_be_hidden()
        assert page.url.endswith("#/keys")


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_on_a_phone_and_in_the_dark_a_row_is_a_card_with_all_that_matters(locale: str) -> None:
    async with pool({"bad": Health.suspended(), "fine": Health.healthy()}) as (here, _):
        bench(here, "bad", 600, "suspended or leaked")
        async with entered(here.url, locale=locale, color_scheme="dark", **PHONE) as there:
            page, bad = there.page, row(there.page, "bad")
            await expect(bad).to_contain_text(re.compile("Make a new key|新建密钥"))
            await expect(bad).to_contain_text(re.compile(r"(9|10):\d\d"))
            await bad.get_by_role("checkbox").check()
            await check(page)
            await page.get_by_role("button", name=re.compile("Bench…|冷却…")).click()
            await check(page)
            box = await page.get_by_role("dialog").bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
