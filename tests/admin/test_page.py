"""The status page in a real browser: what it shows, actions, and their results."""

import asyncio
import contextlib
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, expect

from proxycore.demo import Health, MockServer
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.browser import needs_chromium, visit
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import proxy, rests, settings
from tests.support.status_page import (
    ADMIN,
    BODY,
    CLIENT,
    MODEL,
    PHONE,
    SETTINGS,
    STREAM,
    check,
    enter,
    entered,
    generate,
    generate_until,
    pool,
    row,
)
from tests.support.waiting import PATIENCE
from tests.support.wire import ask

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def test_without_the_admin_key_the_page_shows_only_that_the_proxy_is_running() -> None:
    async with pool({"seventh": Health.healthy()}) as (here, _), visit(f"{here.url}/") as there:
        page = there.page
        await expect(page.get_by_role("heading", name="The proxy is running")).to_be_visible()
        await check(page)
        await page.get_by_label("Admin key").fill("a-wrong-key")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_have_text("Invalid admin key.")
        await expect(page.get_by_label("Admin key")).to_be_focused()
        await check(page)
        assert "seventh" not in await page.inner_text("body")
        # Chromium itself writes this one.
        assert [text for text in there.complaints if "401 (Unauthorized)" not in text] == []
        there.complaints.clear()
        await enter(page, ADMIN)
        await page.reload()
        await expect(row(page, "seventh")).to_be_visible()  # the tab knows the key
        assert await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]") == [
            [ADMIN],
            [],
        ]
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Admin key")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("Admin key")).to_be_visible()
        assert there.complaints == []


async def test_on_the_proxys_own_host_no_key_is_asked_for_when_there_is_none() -> None:
    async with proxy("http://127.0.0.1:9", {"GOOGLE_API_KEY_one": "AQ.one"}) as here:
        async with visit(f"{here.url}/") as there:
            await expect(row(there.page, "one")).to_be_visible()
            await expect(there.page.locator("#login")).to_be_hidden()
            assert there.complaints == []


@pytest.mark.parametrize(
    ("locale", "told"),
    [("en-GB", "set ADMIN_API_KEY in .env"), ("zh-CN", "未设置管理密钥.*设置 ADMIN_API_KEY")],
)
async def test_from_elsewhere_the_page_says_which_key_to_set_where_there_is_none(
    locale: str, told: str
) -> None:
    mock = MockServer({"AQ.one": Health.healthy()})
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_one": "AQ.one"}) as here:
        async with visit(f"{here.url}/", locale=locale, extra_http_headers=elsewhere) as there:
            await expect(there.page.locator("#no-admin-key")).to_have_text(re.compile(told))
            await expect(there.page.locator("#login")).to_be_hidden()
            await check(there.page)
            assert there.complaints == []
    await mock.stop()


async def test_changes_of_a_keys_state_are_shown_live() -> None:
    clock = TurnedClock()
    settings = {"FORBIDDEN_BENCH_SECONDS": "5", "MAX_WAIT": "0"}
    async with pool({"off": Health.service_disabled()}, clock, **settings) as (here, mock):
        async with entered(here.url) as there:
            page, badge = there.page, row(there.page, "off").locator(".badge")
            await page.evaluate("window.untouched = true")
            await expect(badge).to_have_text("ready")
            await generate(here)
            await expect(badge).to_have_text("benched")
            await expect(row(page, "off")).to_contain_text("SERVICE_DISABLED · strike 1")
            await check(page)
            mock.keys["AQ.off"] = Health.healthy()
            clock.turn(5.5)
            await expect(badge).to_have_text("ready")
            await generate(here)
            await expect(page.locator("#tiles")).to_contain_text("50% served")
            assert await page.evaluate("window.untouched")


async def is_true(countdown: Locator, until: float) -> bool:
    """Whether it shows, to a second, the time until this moment of the wall clock."""
    before = time.time()
    hours, minutes, seconds = map(int, re.findall(r"\d+", await countdown.inner_text())[:3])
    left = hours * 3600 + minutes * 60 + seconds
    return until - time.time() - 1.05 <= left <= until - before + 1.05


async def test_the_countdown_is_true_to_a_second_whatever_the_browsers_clock_says() -> None:
    async with pool({"spent": Health.day_spent(), "fine": Health.healthy()}) as (here, _):
        async with visit(f"{here.url}/") as there:
            page = there.page
            await page.clock.install(time=time.time() - 3000)  # it goes fifty minutes late
            await page.goto(f"{here.url}/")
            await enter(page, ADMIN)
            (key,) = [key for key in here.app.rotator.keys if key.name == "fine"]
            until = time.time() + 3725
            here.app.rotator.set_bench(key, BenchPlace.WHOLE, Bench("out of order", until))
            cell = row(page, "fine").locator("td").nth(3)
            await expect(cell).to_contain_text("1:0")
            for _ in range(3):
                async with asyncio.timeout(PATIENCE):
                    while not await is_true(cell, until):  # a busy browser may be late to count down
                        pass
                    before = await cell.inner_text()
                    while await cell.inner_text() == before:
                        pass
            # The moment is told as the visitor's own clock will show it.
            shown = re.findall(r"at (\d\d:\d\d:\d\d)", await cell.inner_text())
            assert shown[0] in {
                time.strftime("%H:%M:%S", time.localtime(until - 3000 + n)) for n in (-1, 0, 1)
            }


async def test_a_bench_is_released_after_confirmation() -> None:
    async with pool({"spent": Health.quota(1), "fine": Health.healthy()}) as (here, _):
        await generate_until(here, rests)
        async with entered(here.url) as there:
            page, spent = there.page, row(there.page, "spent")
            await expect(spent).to_contain_text(f"benched for {MODEL}")
            await spent.get_by_role("button").click()
            await check(page)
            release = page.get_by_role("button", name=f"Release for {MODEL}")
            await release.click()
            dialog = page.get_by_role("dialog", name=f"Release key spent for {MODEL}?")
            await expect(dialog).to_be_visible()
            await check(page)
            await page.keyboard.press("Escape")
            await expect(dialog).to_be_hidden()
            await expect(release).to_be_focused()
            assert here.app.rotator.keys[1].project.limiters[MODEL].bench
            await release.press("Enter")
            await page.get_by_role("dialog").get_by_role("button", name="Release").click()
            await expect(page.locator("#notice")).to_have_text(f"Key spent is released for {MODEL}.")
            await expect(spent).not_to_contain_text("benched for")
            await expect(release).to_be_hidden()
            assert not here.app.rotator.keys[1].project.limiters[MODEL].bench


async def test_a_key_is_benched_and_tested_with_the_keyboard_alone() -> None:
    async with pool({"bad": Health.suspended()}) as (here, mock), entered(here.url) as there:
        page = there.page
        await row(page, "bad").get_by_role("button").press("Enter")
        await page.get_by_role("button", name="Bench…").press("Enter")
        await page.get_by_role("spinbutton").fill("2")
        await page.get_by_role("spinbutton").press("Enter")
        await expect(page.locator("#notice")).to_have_text("Key bad is benched for 120 s.")
        await expect(row(page, "bad").locator(".badge")).to_have_text("benched")
        await expect(row(page, "bad")).to_contain_text("manual")
        await page.get_by_role("button", name="Test now").press("Enter")
        await page.keyboard.press("Tab")
        await page.get_by_role("dialog").get_by_role("button", name="Test now").press("Enter")
        await expect(page.locator("#notice")).to_have_text(
            "Key bad was tested: refused (suspended or leaked)."
        )
        # It is benched manually already; one more refusal is needed to retire it.
        await expect(row(page, "bad").locator(".badge")).to_have_text("benched")
        mock.keys["AQ.bad"] = Health.healthy()
        await page.get_by_role("button", name="Release").press("Enter")
        await page.get_by_role("dialog").get_by_role("button", name="Release").press("Enter")
        await expect(row(page, "bad").locator(".badge")).to_have_text("ready")


async def test_clients_and_open_streams_are_shown() -> None:
    async with pool({"fine": Health.healthy()}) as (here, mock):
        await generate(here, 5)
        mock.pace = 30
        running = asyncio.ensure_future(ask(here.port, "POST", STREAM, CLIENT, body=BODY))
        async with entered(here.url) as there:
            page = there.page
            await expect(page.locator("#streams tbody tr")).to_contain_text(["fine"])
            await expect(page.locator("#streams tbody tr")).to_contain_text(["APP"])
            await expect(page.locator("#clients tbody tr")).to_contain_text(["APP"])
            await expect(page.locator("#tiles")).to_contain_text("100% served")
            await expect(page.get_by_role("img", name="5 requests, 0 refused upstream calls")).to_be_visible()
            running.cancel()
            await expect(page.locator("#streams tbody")).to_have_text("No open streams")
        await asyncio.gather(running, return_exceptions=True)


async def test_500_keys_can_be_searched_and_sorted_by_state() -> None:
    healths = {f"n{n}": Health.healthy() for n in range(499)} | {"n499": Health.suspended()}
    async with pool(healths) as (here, _), entered(here.url) as there:
        page, rows = there.page, there.page.locator("#keys > tbody > tr")
        await expect(rows).to_have_count(500)
        await expect(rows.first).to_contain_text("n0")
        here.app.rotator.set_bench(
            here.app.rotator.keys[250], BenchPlace.WHOLE, Bench("out of order", time.time() + 999)
        )
        here.app.rotator.set_bench(
            here.app.rotator.keys[77], BenchPlace.RETIRED, Bench("out of order", time.time() + 999)
        )
        await page.get_by_role("columnheader", name="State").get_by_role("button").click()
        await expect(rows.nth(0)).to_contain_text("n77")
        await expect(rows.nth(1)).to_contain_text("n250")
        await page.get_by_label("Search").fill("N499")
        await expect(rows).to_have_count(1)
        await page.get_by_label("Search").fill("out of order")
        await expect(rows).to_have_count(2)
        await page.get_by_label("Show").select_option("retired")
        await expect(rows).to_have_count(1)
        await page.get_by_label("Search").fill("nothing like it")
        await expect(page.get_by_text("No matching keys")).to_be_visible()


async def test_it_is_shown_in_chinese_and_remembers_the_chosen_language() -> None:
    async with pool({"bad": Health.suspended(), "fine": Health.healthy()}) as (here, _):
        dead = Bench("suspended or leaked", time.time() + 600)
        here.app.rotator.set_bench(here.app.rotator.keys[0], BenchPlace.RETIRED, dead)
        async with entered(here.url, locale="zh-CN") as there:
            page = there.page
            assert await page.locator("html").get_attribute("lang") == "zh-CN"
            bad = page.locator("#keys tbody tr").filter(has_text="bad")
            await expect(bad).to_contain_text("已失效")
            await expect(bad).to_contain_text("已被暂停或泄露 · 连续 1 次")
            await expect(page.get_by_role("heading", name="最近一小时")).to_be_visible()
            assert not re.search(r"\{\w+\}", await page.inner_text("body"))
            await check(page)
            await page.get_by_label("语言").select_option("en")
            await expect(bad).to_contain_text("retired")
            assert await page.locator("html").get_attribute("lang") == "en"
            await page.reload()
            await expect(page.get_by_role("heading", name="Last hour")).to_be_visible()


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_in_the_dark_and_on_a_phone_all_is_there_and_nothing_scrolls_sideways(
    locale: str,
) -> None:
    healths = {"spent": Health.quota(1), "a-very-long-name-of-a-key-with-many-words": Health.suspended()}
    async with pool(healths | {"fine": Health.healthy()}) as (here, _):
        await generate(here, 12)
        async with entered(here.url, color_scheme="dark", locale=locale, **PHONE) as there:
            page = there.page
            for opener in await page.locator(".opener").all():
                await opener.click()
            assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
            assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
            await check(page)
            await page.locator("[data-action=rest]").first.click()
            await check(page)
            box = await page.get_by_role("dialog").bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360


async def test_a_lost_and_a_restored_connection_are_shown(tmp_path: Path) -> None:
    environment = {**SETTINGS, "GOOGLE_API_KEY_one": "AQ.one", "UPSTREAM_URL": "http://127.0.0.1:9"}
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(program(folder=tmp_path, environment=environment))
        url = await asyncio.to_thread(lambda: started.url)
        async with visit(f"{url}/") as there:
            page = there.page
            await enter(page, ADMIN)
            await expect(page.locator("#link")).to_have_text("Live")
            started.process.kill()
            await expect(page.locator("#lost")).to_contain_text("Connection to the proxy lost.")
            await expect(page.locator("#link")).to_have_text("Connection lost")
            await check(page)
            await asyncio.to_thread(started.process.wait)
            port = str(urlsplit(url).port)
            again = stack.enter_context(program("--port", port, folder=tmp_path, environment=environment))
            assert await asyncio.to_thread(lambda: again.port)
            await expect(page.locator("#lost")).to_be_hidden()
            await expect(page.locator("#link")).to_have_text(re.compile("Reconnected|Live"))
            await expect(row(page, "one")).to_be_visible()


async def test_a_new_admin_key_is_asked_for_once_the_old_one_is_invalid() -> None:
    async with pool({"one": Health.healthy()}) as (here, mock), visit(f"{here.url}/") as there:
        await enter(there.page, ADMIN)
        changed = {**SETTINGS, "ADMIN_API_KEY": "another-admin-key"}
        here.app.reload(settings(mock.listen(), {"GOOGLE_API_KEY_two": "AQ.one"}, **changed))
        await expect(there.page.get_by_role("alert")).to_contain_text("The admin key is no longer valid.")
        await enter(there.page, "another-admin-key")
        await expect(row(there.page, "two")).to_be_visible()
