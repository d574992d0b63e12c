"""A key that is opened in the view Keys: its models, its past, and what can be done with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from proxycore.demo import Health
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key
from tests.support.browser import needs_chromium, visit
from tests.support.clocks import CLOCK
from tests.support.kept_pool import kept_pool
from tests.support.proxy import Proxy, rests
from tests.support.status_page import (
    ADMIN,
    MODEL,
    check,
    enter,
    entered,
    generate,
    generate_until,
    open_key,
    pool,
    row,
    sheet,
)
from tests.support.waiting import PATIENCE

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


def key_of(here: Proxy, name: str) -> Key:
    return next(key for key in here.app.rotator.keys if key.name == name)


def result(inside: Locator) -> Locator:
    """The result of an action, beside the buttons that ask for it."""
    return inside.locator("output")


async def test_a_bench_for_a_model_is_released() -> None:
    async with pool({"spent": Health.quota(1), "fine": Health.healthy()}) as (here, _):
        await generate_until(here, rests)
        async with entered(here.url) as there:
            page = there.page
            await expect(row(page, "spent")).to_contain_text(f"{MODEL}: quota exhausted")
            await expect(row(page, "spent")).to_contain_text("used up")
            inside = await open_key(page, "spent")
            model = inside.get_by_role("row").filter(has_text=MODEL)
            await expect(model).to_contain_text("quota exhausted, back in 0:")
            await expect(model).to_contain_text("0 of 1")
            await check(page)
            release = inside.get_by_role("button", name=f"Release for {MODEL}")
            await release.press("Enter")
            await expect(result(inside)).to_have_text(f"Key spent is released for {MODEL}.")
            await expect(release).to_be_hidden()
            await expect(inside.get_by_role("button", name="Try now")).to_be_focused()
            assert not key_of(here, "spent").project.limiters[MODEL].bench


async def test_a_key_is_benched_tried_and_released_with_the_keyboard_alone() -> None:
    async with pool({"bad": Health.suspended()}) as (here, mock), entered(here.url) as there:
        page = there.page
        await row(page, "bad").get_by_role("button", expanded=False).press("Enter")
        inside = sheet(page, "bad")
        await inside.get_by_role("button", name="Bench…").press("Enter")
        await check(page)
        await page.get_by_role("spinbutton").fill("2")
        await page.get_by_role("spinbutton").press("Enter")
        await expect(result(inside)).to_have_text("Key bad is benched for 120 s.")
        await expect(inside.get_by_role("button", name="Bench…")).to_be_focused()
        await expect(row(page, "bad")).to_contain_text("Manual")
        await inside.get_by_role("button", name="Try now").press("Enter")
        await expect(result(inside)).to_have_text("Key bad was tested: refused (suspended or leaked).")
        # It is benched manually already; one more refusal is needed to retire it.
        await expect(row(page, "bad")).to_contain_text("benched")
        mock.keys["AQ.bad"] = Health.healthy()
        await inside.get_by_role("button", name="Release", exact=True).press("Enter")
        await expect(result(inside)).to_have_text("Key bad is released.")
        await expect(row(page, "bad")).to_contain_text("unproven")
        await expect(inside.get_by_role("button", name="Try now")).to_be_focused()
        await row(page, "bad").get_by_role("button", expanded=True).press("Enter")
        await expect(inside).to_be_hidden()


async def test_a_time_of_ones_own_is_validated_only_if_it_is_chosen() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url) as there:
        page, dialog = there.page, there.page.get_by_role("dialog")
        inside = await open_key(page, "one")
        await inside.get_by_role("button", name="Bench…").click()
        for senseless in ("", "0", "99999999"):
            await page.get_by_label("Minutes:").check()
            await page.get_by_role("spinbutton").fill(senseless)
            await dialog.get_by_role("button", name="Bench").click()
            await expect(page.get_by_role("spinbutton")).to_be_focused()
            await expect(dialog).to_be_visible()
        await expect(result(inside)).to_be_empty()
        await page.get_by_label("1 h").check()
        await dialog.get_by_role("button", name="Bench").click()
        await expect(result(inside)).to_have_text("Key one is benched for 3600 s.")


async def answer_actions(page: Page, answer: dict[str, Any] | None) -> None:
    """Actions get this response from now on, as from a gateway in front of the proxy; None: no response."""

    async def instead(route: Route) -> None:
        if route.request.method != "POST":
            await route.fallback()
        elif answer is None:
            await route.abort()
        else:
            await route.fulfill(**answer)

    await page.unroute_all()
    await page.route("**/status.json", instead)


async def test_a_failed_action_is_shown_with_its_reason_where_it_was_pressed() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), visit(f"{here.url}/#/keys") as there:
        page = there.page
        await enter(page, ADMIN)
        inside = await open_key(page, "one")
        answers: dict[str, dict[str, Any] | None] = {
            "Failed: HTTP 502": {"status": 502, "body": "<html>Bad gateway"},
            "Failed: Connection lost": None,
        }
        for said, answer in answers.items():
            await answer_actions(page, answer)
            await inside.get_by_role("button", name="Try now").click()
            await expect(result(inside)).to_have_text(said)
        await answer_actions(page, {"status": 401, "body": "{}"})
        await inside.get_by_role("button", name="Try now").click()
        await expect(page.get_by_role("alert")).to_contain_text("The admin key is no longer valid.")
        await expect(page.get_by_label("Admin key")).to_be_focused()


async def see_quotas_change(here: Proxy, inside: Locator) -> None:
    """Waits until the shown rest of a learned quota changes."""
    told = inside.get_by_role("row").filter(has_text=MODEL).get_by_role("cell").first
    before = await told.inner_text()
    async with asyncio.timeout(PATIENCE):
        while await told.inner_text() == before:
            await generate(here)
            await asyncio.sleep(0.05)


async def test_focus_and_pressed_buttons_survive_updates() -> None:
    async with pool({"few": Health.quota(9, window=2.0), "fine": Health.healthy()}, MAX_WAIT="0") as (
        here,
        _,
    ):
        await generate_until(here, rests)
        async with entered(here.url) as there:
            page = there.page
            await page.get_by_label("Search keys").fill("few")  # wherever its state moves it
            inside = await open_key(page, "few")
            await inside.get_by_role("button", name="Bench…").click()
            await see_quotas_change(here, inside)
            await page.keyboard.press("Escape")
            await expect(inside.get_by_role("button", name="Bench…")).to_be_focused()
            await see_quotas_change(here, inside)
            await expect(inside.get_by_role("button", name="Bench…")).to_be_focused()
            await inside.get_by_role("button", name="Try now").hover()
            await page.mouse.down()
            await see_quotas_change(here, inside)
            await page.mouse.up()
            await expect(result(inside)).to_have_text("Key few was tested: accepted.")


def event(time: float, kind: str, why: str, **members: str) -> dict[str, Any]:
    """An event of key 7 as in /events.json, this many seconds after the first."""
    until = 1795787042.0 + time if kind == "benched" else None
    known = {"time": 1795787000.0 + time, "kind": kind, "key": "7", "about": "", "why": why, "request": ""}
    return known | {"until": until} | members


EVENTS = [
    event(90, "action", "Key 7 was tested: refused (suspended or leaked).", request="of-an-action"),
    event(80, "retired", "suspended or leaked", request="d1a2"),
    event(60, "benched", "quota exhausted", request="d1a1", about=MODEL),
    event(0, "reloaded", "added"),
]
BEGAN = event(70, "outage began", f"upstream outage suspected for {MODEL}", about=MODEL, key="")
LEAKED = {"key": "7", "status": 403, "verdict": "retired", "why": "suspended or leaked", "seconds": 0.1}
OTHER = {"key": "8", "status": 429, "verdict": "quota", "why": "another key's", "seconds": 0.1}


async def have_a_past(page: Page) -> None:
    """The state file has events and requests of key 7."""

    async def events(route: Route) -> None:
        url = route.request.url
        found = [BEGAN] if "outage+began" in url else EVENTS if "key=7" in url else []
        await route.fulfill(json={"events": found, "cursor": None})

    async def requests(route: Route) -> None:
        found = [{"id": f"r{n}", "time": 1795788020.0 - n, "attempts": [OTHER, LEAKED]} for n in range(3)]
        await route.fulfill(json={"requests": found, "cursor": None})

    await page.route("**/events.json?*", events)
    await page.route("**/requests.json?*", requests)


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_a_key_shows_what_happened_to_it_and_its_last_errors(locale: str, tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"7": Health.healthy()}) as (here, _):
        async with entered(here.url, locale=locale) as there:
            page, is_english = there.page, locale == "en-GB"
            await have_a_past(page)
            inside = await open_key(page, "7")
            events = inside.get_by_role("group", name="What happened" if is_english else "事件")
            lines = events.get_by_role("listitem")
            expected = (
                ["tested: refused", "7 retired: suspended or leaked", "outage", f"for {MODEL} until", "added"]
                if is_english
                else ["测试失败", "7 已失效", "故障", f"对 {MODEL} 冷却至", "已添加"]
            )
            await expect(lines).to_contain_text(expected)
            links = [await one.get_attribute("href") for one in await events.get_by_role("link").all()]
            assert links == ["#/requests?id=d1a2", "#/requests?id=d1a1"]
            errors = inside.get_by_role("group", name="Last errors" if is_english else "最近错误")
            await expect(errors.get_by_role("listitem")).to_have_count(1)
            await expect(errors).to_contain_text("403 Suspended" if is_english else "403 已被暂停")
            await expect(errors).to_contain_text("3 times" if is_english else "3 次")
            await expect(errors.get_by_role("link")).to_have_attribute("href", "#/requests?id=r0")
            await check(page)
            link = inside.get_by_role("link", name="Its requests" if is_english else "相关请求")
            await expect(link).to_have_attribute("href", "#/requests?key=7")


async def test_without_a_state_file_a_key_says_that_nothing_is_recorded() -> None:
    async with pool({"7": Health.healthy()}) as (here, _), visit(f"{here.url}/#/keys") as there:
        await enter(there.page, ADMIN)
        inside = await open_key(there.page, "7")
        for name in ("What happened", "Last errors"):
            group = inside.get_by_role("group", name=name)
            await expect(group).to_contain_text("Not recorded: there is no state file.")


async def test_benches_for_origins_are_shown_and_released() -> None:
    origin = "https://<b>mine</b>.example"
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url) as there:
        page, key = there.page, here.app.rotator.keys[0]
        blocked = Bench("API_KEY_HTTP_REFERRER_BLOCKED", CLOCK() + 600)
        here.app.rotator.set_bench(key, BenchPlace.ORIGIN, blocked, origin)
        inside = await open_key(page, "one")
        await inside.get_by_role("button", name=f"Release for {origin}").click()
        await expect(result(inside)).to_have_text(f"Key one is released for {origin}.")
        await expect(inside.get_by_role("button", name=f"Release for {origin}")).to_be_hidden()
        assert not key.origins
