"""The view of requests in a browser: the log as it is filtered, read on and followed."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.support.browser import needs_chromium
from tests.support.clocks import CLOCK
from tests.support.request_view import (
    PRO,
    ended,
    failed,
    ids,
    log,
    recorded,
    sheet,
    shown,
    stay,
    streaming,
    streams,
    until_ids,
)
from tests.support.status_page import PHONE, check

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def test_the_address_filters_the_log_and_filters_change_the_address(tmp_path: Path) -> None:
    rows = [ended(1, client="bob"), failed(2, client="bob"), failed(3), failed(4, client="bob", key="7")]
    query = "?client=bob&outcome=failed"
    async with recorded(tmp_path, rows) as (here, _, _), shown(here, query) as page:
        await until_ids(page, ["id-4", "id-2"])
        await expect(page.get_by_label("Outcome")).to_have_value("failed")
        await expect(page.get_by_label("Client", exact=True)).to_have_value("bob")
        await page.get_by_label("Outcome").select_option("Served")
        await until_ids(page, ["id-1"])
        assert page.url.endswith("#/requests?outcome=served&client=bob")
        await page.go_back()
        await until_ids(page, ["id-4", "id-2"])
        await page.get_by_role("button", name="Clear").click()
        await until_ids(page, ["id-4", "id-3", "id-2", "id-1"])
        assert page.url.endswith("#/requests")
        await page.get_by_label("Time").select_option("Last hour")
        await until_ids(page, ["id-4", "id-3", "id-2", "id-1"])
        await page.get_by_label("Status").select_option("200")
        await until_ids(page, ["id-1"])


async def test_a_search_looks_through_what_is_loaded_and_finds_any_request_by_its_id(tmp_path: Path) -> None:
    rows = [ended(number) for number in range(300)] + [failed(300, path=f"/v1beta/models/{PRO}:embedContent")]
    async with recorded(tmp_path, rows) as (here, _, _), shown(here) as page:
        await page.get_by_label("Search").fill("embedcontent")
        await until_ids(page, ["id-300"])
        await expect(page.get_by_text("1 of 100 loaded requests contain “embedcontent”")).to_be_visible()
        await page.get_by_label("Search").fill("daily quota")
        await until_ids(page, ["id-300"])
        await page.get_by_label("Search").fill("id-007")
        await expect(page.get_by_text("None found so far; older ones may match")).to_be_visible()
        await page.get_by_label("Search").fill("id-123")  # which is not among the hundred that are loaded
        await expect(sheet(page)).to_be_visible()
        assert page.url.endswith("?id=id-123")


async def test_new_requests_come_in_while_the_log_is_followed_and_none_twice(tmp_path: Path) -> None:
    async with recorded(tmp_path, [ended(1)]) as (here, kept, _), shown(here) as page:
        await until_ids(page, ["id-1"])
        for number in range(2, 60):
            kept.put_request(ended(number))
        await expect(log(page).first.get_by_role("button")).to_have_accessible_name("Details of id-59")
        kept.put_request(ended(60, time=CLOCK.wall() - 600, seconds=600.0))  # that began long before
        await expect(log(page).first.get_by_role("button")).to_have_accessible_name("Details of id-60")
        await expect(page.get_by_text("60 requests loaded")).to_be_visible()
        follow = page.get_by_role("button", name="Following")
        await expect(follow).to_have_attribute("aria-pressed", "true")
        await follow.click()
        kept.put_request(ended(61))
        await page.wait_for_timeout(2500)
        assert (await ids(page))[0] == "id-60"
        await page.get_by_role("button", name="Paused").click()
        await expect(log(page).first.get_by_role("button")).to_have_accessible_name("Details of id-61")


async def test_nothing_moves_while_the_reader_has_opened_a_request_or_scrolled_down(tmp_path: Path) -> None:
    rows = [ended(number) for number in range(1, 101)]
    async with recorded(tmp_path, rows) as (here, kept, _), shown(here) as page:
        opener, fresh = log(page).first.get_by_role("button"), page.locator(".fresh")
        await opener.click()
        for number in range(101, 113):
            kept.put_request(ended(number))
        await expect(fresh).to_have_text("12 new")
        await expect(opener).to_have_accessible_name("Details of id-100")
        await fresh.click()
        await expect(opener).to_have_accessible_name("Details of id-112")
        await expect(fresh).to_be_hidden()
        await expect(sheet(page)).to_contain_text("id-100")
        await sheet(page).locator("xpath=preceding-sibling::tr[1]").get_by_role("button").click()
        await page.mouse.move(700, 500)
        await page.mouse.wheel(0, 1500)
        await stay(page)
        kept.put_request(ended(113))
        await expect(fresh).to_have_text("1 new")
        await expect(fresh).to_be_in_viewport()
        before = await page.evaluate("scrollY")
        await stay(page)
        assert await page.evaluate("scrollY") == before
        await fresh.click()
        await expect(opener).to_have_accessible_name("Details of id-113")
        await expect(opener).to_be_in_viewport()


async def test_older_requests_are_read_by_cursor_past_pages_that_have_none(tmp_path: Path) -> None:
    rows = [ended(number) for number in range(250)]

    async def short(route: Route) -> None:
        """A page without a match, as of a server that has looked only so far."""
        if "cursor=" not in route.request.url or "again" in asked:
            await route.fallback()
            return
        asked.append("again")
        await route.fulfill(json={"requests": [], "cursor": 151})

    asked: list[str] = []
    async with recorded(tmp_path, rows) as (here, _, _), shown(here) as page:
        await page.route("**/requests.json?*", short)
        more = page.get_by_role("button", name="Show more")
        await expect(page.get_by_text("100 requests loaded")).to_be_visible()
        await more.click()
        await expect(page.get_by_text("250 requests loaded")).to_be_visible()
        await expect(more).to_be_hidden()
        assert asked == ["again"]


async def test_of_thousands_of_loaded_requests_only_those_near_the_window_are_in_the_document(
    tmp_path: Path,
) -> None:
    rows = [ended(number) for number in range(2000)]
    async with recorded(tmp_path, rows) as (here, _, _), shown(here) as page:
        await page.get_by_role("button", name="Following").click()
        more = page.get_by_role("button", name="Show more")
        for loaded in range(300, 2000, 200):
            await more.click()
            await expect(page.get_by_text(f"{loaded:,} requests loaded")).to_be_visible()
        assert await log(page).count() < 120
        await expect(page.get_by_role("table", name="Request log")).to_have_attribute("aria-rowcount", "1901")
        await page.evaluate("scrollTo(0, 36 * 1000)")
        await expect(log(page).get_by_role("button", name="Details of id-1000", exact=True)).to_be_visible()
        assert await log(page).count() < 120


async def test_everything_can_be_done_with_the_keyboard_and_focus_survives_updates(tmp_path: Path) -> None:
    async with recorded(tmp_path, [ended(1), failed(2)]) as (here, kept, _), shown(here) as page:
        await expect(log(page)).to_have_count(2)
        await page.get_by_role("button", name="Following").focus()
        await page.keyboard.press("Tab")
        opener = page.get_by_role("button", name="Details of id-2")
        await expect(opener).to_be_focused()
        kept.put_request(ended(3))
        await stay(page)
        await expect(opener).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(sheet(page)).to_be_visible()
        await stay(page)
        await expect(opener).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Copy id")).to_be_focused()


async def test_nothing_scrolls_sideways_whatever_the_width_and_the_names(tmp_path: Path) -> None:
    name = "a-very-long-name-" * 8
    model = "<img src=x onerror=alert(1)>" * 5
    rows = [ended(1), failed(2, client=name, model=model, path=f"/v1beta/models/{model}:generateContent")]
    async with recorded(tmp_path, rows) as (here, _, _), shown(here) as page:
        await expect(log(page).first).to_contain_text("<img src=x")
        await log(page).first.get_by_role("button").click()
        too_wide = []
        for width in range(360, 1921, 40):
            await page.set_viewport_size({"width": width, "height": 800})
            if await page.evaluate("document.scrollingElement.scrollWidth") > width:
                too_wide.append(width)
        assert too_wide == []


@pytest.mark.parametrize("options", [PHONE, {"color_scheme": "dark"}], ids=["phone", "dark"])
async def test_it_is_accessible_on_a_phone_and_in_the_dark(tmp_path: Path, options: dict[str, Any]) -> None:
    async with recorded(tmp_path, [ended(1), failed(2)]) as (here, _, mock), streaming(here, mock, 1):
        async with shown(here, **options) as page:
            await expect(streams(page)).to_have_count(1)
            await log(page).first.get_by_role("button").click()
            await expect(sheet(page)).to_be_visible()
            await check(page)


async def test_nothing_is_shifted_while_requests_come_in_and_streams_come_and_go(tmp_path: Path) -> None:
    rows = [ended(number) for number in range(40)]
    async with recorded(tmp_path, rows) as (here, kept, mock), shown(here) as page:
        await expect(log(page).first).to_be_visible()
        await page.evaluate(
            "window.shifts = []; new PerformanceObserver((list) => shifts.push(...list.getEntries()"
            ".map((one) => one.value))).observe({ type: 'layout-shift' })"
        )
        async with streaming(here, mock, 4):
            await expect(streams(page)).to_have_count(3)
            for number in range(40, 140):
                kept.put_request(failed(number) if number % 3 else ended(number))
            await expect(log(page).first.get_by_role("button")).to_have_accessible_name("Details of id-139")
        await expect(page.get_by_text("No open stream or Live session")).to_be_visible()
        assert await page.evaluate("shifts") == []
