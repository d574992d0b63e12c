"""The status page in a real browser: the login, the connection, the languages, and what all views share."""

import asyncio
import contextlib
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from proxycore.admin.actions import MANUAL
from proxycore.admin.pages import page_files
from proxycore.demo import Health, MockServer
from proxycore.gemini import judge, verdict
from proxycore.gemini.verdict import DEADLINE_EXCEEDED, REGION_BLOCKED, UPSTREAM_FAILURE, BenchScope, Verdict
from proxycore.runtime.app import make_app
from tests.support.browser import needs_chromium, visit
from tests.support.process import program
from tests.support.proxy import proxy, served, settings
from tests.support.status_page import (
    ADMIN,
    PHONE,
    SETTINGS,
    check,
    enter,
    entered,
    generate,
    pool,
    row,
)

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]
VIEWS = ("overview", "keys", "requests", "clients", "history")
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}


async def test_without_the_admin_key_the_page_shows_only_that_the_proxy_is_running() -> None:
    async with pool({"seventh": Health.healthy()}) as (here, _), visit(f"{here.url}/#/keys") as there:
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
        await expect(row(page, "seventh")).to_be_visible()
        await page.reload()
        await expect(row(page, "seventh")).to_be_visible()  # the tab knows the key
        stored = "[Object.values(sessionStorage), Object.values(localStorage)]"
        assert await page.evaluate(stored) == [[ADMIN], []]
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Admin key")).to_be_visible()
        assert "seventh" not in await page.content()
        await page.reload()
        await expect(page.get_by_label("Admin key")).to_be_visible()
        assert there.complaints == []


async def test_on_the_proxys_own_host_no_key_is_asked_for_when_there_is_none() -> None:
    async with proxy("http://127.0.0.1:9", {"GOOGLE_API_KEY_one": "AQ.one"}) as here:
        async with visit(f"{here.url}/#/keys") as there:
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
    async with proxy("http://127.0.0.1:9", {"GOOGLE_API_KEY_one": "AQ.one"}) as here:
        async with visit(f"{here.url}/", locale=locale, extra_http_headers=ELSEWHERE) as there:
            await expect(there.page.locator("#no-admin-key")).to_have_text(re.compile(told))
            await expect(there.page.locator("#login")).to_be_hidden()
            await check(there.page)
            assert there.complaints == []


async def test_a_key_for_one_run_is_asked_for_with_a_hint_and_taken_from_the_address() -> None:
    keys = {"GOOGLE_API_KEY_one": "AQ.one", "UPSTREAM_URL": "http://127.0.0.1:9"}
    once = replace(settings("http://127.0.0.1:9", keys), one_time_admin_key="a-key-for-this-run")
    async with served(make_app(once)) as here:
        async with visit(f"{here.url}/#/keys", extra_http_headers=ELSEWHERE) as there:
            await expect(there.page.locator("#admin-hint")).to_contain_text(
                "printed when the program started"
            )
            await enter(there.page, "a-key-for-this-run")
            await expect(row(there.page, "one")).to_be_visible()
        linked = f"{here.url}/#admin-key=a-key-for-this-run"
        async with visit(linked, extra_http_headers=ELSEWHERE) as there:
            await expect(there.page.locator("#tabs")).to_be_visible()
            assert "a-key-for-this-run" not in there.page.url


async def test_the_views_are_reached_by_tabs_and_by_their_addresses() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url, view="keys") as there:
        page = there.page
        await expect(page.get_by_role("link", name="Keys")).to_have_attribute("aria-current", "page")
        await page.get_by_role("link", name="History").press("Enter")
        await expect(page.get_by_role("link", name="History")).to_have_attribute("aria-current", "page")
        await expect(row(page, "one")).to_be_hidden()
        await page.go_back()
        await expect(row(page, "one")).to_be_visible()


async def test_it_is_shown_in_chinese_and_remembers_the_chosen_language() -> None:
    async with pool({"one": Health.healthy()}) as (here, _):
        async with entered(here.url, locale="zh-CN") as there:
            page = there.page
            assert await page.locator("html").get_attribute("lang") == "zh-CN"
            await expect(row(page, "one")).to_contain_text("待验证")
            assert not re.search(r"\{\w+\}", await page.inner_text("body"))
            await check(page)
            await page.get_by_role("button", name="English").click()
            await expect(row(page, "one")).to_contain_text("unproven")
            assert await page.locator("html").get_attribute("lang") == "en"
            await page.reload()
            await expect(row(page, "one")).to_contain_text("unproven")


async def test_the_theme_can_be_chosen_and_is_remembered() -> None:
    async with pool({"one": Health.healthy()}) as (here, _):
        async with entered(here.url, color_scheme="light") as there:
            page, ground = there.page, "getComputedStyle(document.body).backgroundColor"
            light = await page.evaluate(ground)
            await page.get_by_role("button", name="Light or dark").click()
            dark = await page.evaluate(ground)
            assert light != dark
            await page.reload()
            await expect(row(page, "one")).to_be_visible()
            assert await page.evaluate(ground) == dark
            await check(page)


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("view", VIEWS)
async def test_no_view_scrolls_sideways_however_wide_the_window_is(view: str, locale: str) -> None:
    healths = {
        "a-very-long-name-of-a-key-with-many-words": Health.suspended(),
        "off": Health.service_disabled(),
    }
    async with pool(healths | {"day": Health.day_spent(), "fine": Health.healthy()}) as (here, _):
        await generate(here, 20)
        async with entered(here.url, view=view, locale=locale, **PHONE) as there:
            page = there.page
            if view == "keys":
                closed = page.locator("tbody").get_by_role("button", expanded=False)
                while await closed.count():
                    await closed.first.click()
            await check(page)
            too_wide = []
            for width in (*range(360, 1240, 40), 1280, 1440, 1920):
                await page.set_viewport_size({"width": width, "height": 800})
                if await page.evaluate("document.scrollingElement.scrollWidth") > width:
                    too_wide.append(width)
            assert too_wide == []


async def test_a_lost_and_a_restored_connection_are_shown(tmp_path: Path) -> None:
    environment = {**SETTINGS, "GOOGLE_API_KEY_one": "AQ.one", "UPSTREAM_URL": "http://127.0.0.1:9"}
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(program(folder=tmp_path, environment=environment))
        url = await asyncio.to_thread(lambda: started.url)
        async with visit(f"{url}/#/keys") as there:
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


async def test_a_page_that_is_opened_while_the_proxy_is_down_says_so_and_reconnects() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), visit(f"{here.url}/#/keys") as there:
        page = there.page
        await enter(page, ADMIN)
        await page.route("**/status.json", lambda route: route.abort())
        await page.reload()
        heading = page.get_by_role("heading", name="The proxy is not responding. Retrying…")
        await expect(heading).to_be_visible()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        for language, said in (("中文", "连接已断开"), ("English", "Connection lost")):
            await page.get_by_role("button", name=language).click()
            await expect(page.locator("#link")).to_have_text(said)
        await check(page)
        await page.unroute("**/status.json")
        await expect(row(page, "one")).to_be_visible()
        await expect(page.locator("#link")).to_have_text("Reconnected")


async def test_a_new_admin_key_is_asked_for_once_the_old_one_is_invalid() -> None:
    mock = MockServer({"AQ.one": Health.healthy()})
    async with pool({"one": Health.healthy()}) as (here, _), visit(f"{here.url}/#/keys") as there:
        await enter(there.page, ADMIN)
        changed = {**SETTINGS, "ADMIN_API_KEY": "another-admin-key"}
        here.app.reload(settings(mock.listen(), {"GOOGLE_API_KEY_two": "AQ.one"}, **changed))
        await expect(there.page.get_by_role("alert")).to_contain_text("The admin key is no longer valid.")
        await enter(there.page, "another-admin-key")
        await expect(row(there.page, "two")).to_be_visible()
    await mock.stop()


async def test_a_pool_without_keys_says_what_to_do() -> None:
    async with pool({}) as (here, _), entered(here.url) as there:
        await expect(there.page.get_by_text("Put GOOGLE_API_KEY_1=… into .env")).to_be_visible()
        await expect(there.page.locator("#verdict")).to_have_text("No key is set")
        await check(there.page)


def reasons() -> set[str]:
    """The reasons of benches and outages."""
    known = [one for module in (verdict, judge) for one in vars(module).values()]
    verdicts = [one for one in known if isinstance(one, Verdict)]
    for table in (one for one in known if isinstance(one, dict)):
        verdicts += [one for one in table.values() if isinstance(one, Verdict)]
    return {one.reason for one in verdicts if one.rest is not BenchScope.NOTHING} | {
        MANUAL, REGION_BLOCKED.reason, UPSTREAM_FAILURE.reason, DEADLINE_EXCEEDED.reason,
    }  # fmt: skip


def named(table: str) -> set[str]:
    """The names in a table of the page's texts."""
    return {quoted or bare for quoted, bare in re.findall(r'(?:"([^"]+)"|\b(\w+)): "', table)}


def test_every_reason_has_a_chinese_text_and_advice() -> None:
    translated = named(page_files()["reasons.js"].partition("const REASONS = ")[2].partition("\n};")[0])
    advised = named(page_files()["health.js"].partition("const HELP = ")[2].partition("\n};")[0])
    by_code = {MANUAL, "daily quota exhausted"}  # named by constants
    assert len(reasons()) > 15
    assert reasons() - translated == set()
    assert reasons() - advised - by_code == set()


def test_every_text_is_in_both_languages_and_is_used() -> None:
    texts = page_files()
    english, chinese = (named(texts.pop(f"{language}.js")) for language in ("english", "chinese"))
    assert len(english) > 200
    assert english - chinese == set()
    used = "".join(texts.values())

    def is_used(name: str) -> bool:
        return re.search(rf'["`]{name}["`]', used) is not None or is_made(name, used)

    assert [name for name in sorted(english | chinese) if not is_used(name)] == []


def is_made(name: str, used: str) -> bool:
    """Whether the name is made of a part and a value: `key_${state}`, `${title}More`."""
    start, separator, _ = name.partition("_")
    end = name.endswith("More") and re.search(rf'["`]{name.removesuffix("More")}["`]', used)
    return bool((separator and f"`{start}_${{" in used) or (end and "}More`" in used))


@pytest.mark.parametrize(
    ("place", "shown"),
    [("/keys/%", "Keys"), ("/constructor", "Overview"), ("/?x", "Overview"), ("", "Overview")],
)
async def test_an_address_that_names_nothing_shows_a_view_all_the_same(place: str, shown: str) -> None:
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url, view="clients") as there:
        await there.page.evaluate("place => { location.hash = place; }", place)
        current = there.page.get_by_role("navigation").locator("[aria-current=page]")
        await expect(current).to_contain_text(shown)
