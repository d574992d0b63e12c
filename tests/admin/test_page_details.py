"""The status page in a real browser: live updates, failures, and narrow screens."""

import asyncio
import re
import time
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from proxycore.admin.actions import MANUAL
from proxycore.admin.pages import page_files
from proxycore.demo import Health
from proxycore.gemini import judge, verdict
from proxycore.gemini.verdict import DEADLINE_EXCEEDED, REGION_BLOCKED, UPSTREAM_FAILURE, BenchScope, Verdict
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.events import Origin, RequestBlamed
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key
from tests.support.browser import needs_chromium, visit
from tests.support.clocks import CLOCK, TurnedClock
from tests.support.proxy import Proxy, rests
from tests.support.status_page import (
    ADMIN,
    BODY,
    CLIENT,
    MODEL,
    PHONE,
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


async def open_bench_dialog(page: Page) -> None:
    await page.locator("[data-action=rest]").click()
    await expect(page.get_by_role("dialog")).to_be_visible()


async def see_quotas_change(here: Proxy, page: Page) -> None:
    """Waits until the shown rest of a learned quota changes."""
    told = page.locator(".details .quota").first
    before = await told.inner_text()
    async with asyncio.timeout(PATIENCE):
        while await told.inner_text() == before:
            await generate(here)
            await asyncio.sleep(0.05)


async def test_focus_and_pressed_buttons_in_the_details_survive_updates() -> None:
    async with pool({"few": Health.quota(9, window=2.0), "fine": Health.healthy()}, MAX_WAIT="0") as (
        here,
        _,
    ):
        await generate_until(here, rests)
        async with entered(here.url) as there:
            page = there.page
            await row(page, "few").get_by_role("button").click()
            await expect(page.locator(".details .quota").first).to_be_visible()
            await open_bench_dialog(page)
            await see_quotas_change(here, page)
            await page.keyboard.press("Escape")
            await expect(page.locator("[data-action=rest]")).to_be_focused()
            await page.locator("[data-action=try]").hover()
            await page.mouse.down()
            await see_quotas_change(here, page)
            await page.mouse.up()
            await expect(page.get_by_role("dialog", name="Test key few now?")).to_be_visible()


async def test_focus_moves_to_the_filter_when_the_focused_row_is_filtered_out() -> None:
    async with pool({"one": Health.healthy(), "two": Health.healthy()}) as (here, _):
        here.app.rotator.set_bench(
            here.app.rotator.keys[0], BenchPlace.WHOLE, Bench("manual", time.time() + 600)
        )
        async with entered(here.url) as there:
            page = there.page
            await page.get_by_label("Show").select_option("benched")
            await row(page, "one").get_by_role("button").click()
            await page.get_by_role("button", name="Release").press("Enter")
            await page.get_by_role("dialog").get_by_role("button", name="Release").press("Enter")
            await expect(page.get_by_text("No matching keys")).to_be_visible()
            await expect(page.get_by_label("Show")).to_be_focused()


async def test_keys_are_sorted_again_once_the_first_of_several_benches_has_ended() -> None:
    clock = TurnedClock()
    async with pool({"a": Health.healthy(), "b": Health.healthy()}, clock) as (here, _):
        a, b = here.app.rotator.keys

        def rest(key: Key, seconds: float, model: str) -> None:
            here.app.rotator.set_bench(
                key, BenchPlace.MODEL, Bench("quota exhausted", clock() + seconds), model
            )

        rest(a, 600, "model-2")
        rest(b, 300, "model-1")
        async with entered(here.url) as there:
            page, rows = there.page, there.page.locator("#keys > tbody > tr")
            await page.get_by_role("columnheader", name="Back in").get_by_role("button").click()
            await expect(rows.first).to_contain_text("benched for model-1")
            rest(a, 5, "model-1")
            await expect(rows.first).to_contain_text("benched for 2 models")
            clock.turn(5.5)
            await expect(rows.last).to_contain_text("benched for model-2")
            await expect(rows.first).to_contain_text("benched for model-1")


async def test_a_phone_shows_hidden_columns_below_the_name_and_in_the_details() -> None:
    async with pool({"fine": Health.healthy()}) as (here, mock):
        mock.pace = 30
        running = asyncio.ensure_future(ask(here.port, "POST", STREAM, CLIENT, body=BODY))
        async with entered(here.url, **PHONE) as there:
            page = there.page
            below = page.locator("#streams .below")
            await expect(below).to_be_visible()
            await expect(below).to_have_text(f"APP · {MODEL}")
            await expect(page.locator("#clients .below")).to_be_visible()
            await expect(page.locator("#clients .below")).to_contain_text("Last request")
            here.app.rotator.set_bench(
                here.app.rotator.keys[0], BenchPlace.WHOLE, Bench("manual", time.time() + 600)
            )
            await row(page, "fine").get_by_role("button").click()
            ends = page.locator(".facts div").filter(has_text="Back in")
            await expect(ends).to_contain_text("9:5")
            first = await ends.inner_text()
            await expect(ends).not_to_have_text(first)  # it counts down
            await check(page)
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_custom_bench_time_is_validated_only_if_it_is_chosen() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url) as there:
        page, dialog, notice = there.page, there.page.get_by_role("dialog"), there.page.locator("#notice")
        await row(page, "one").get_by_role("button").click()
        await open_bench_dialog(page)
        for senseless in ("", "0", "99999999"):
            await page.get_by_role("spinbutton").fill(senseless)
            await dialog.get_by_role("button", name="Bench").click()
            await expect(page.get_by_role("spinbutton")).to_be_focused()
            await expect(dialog).to_be_visible()
        await expect(notice).to_be_empty()
        await page.get_by_label("1 hour").check()
        await dialog.get_by_role("button", name="Bench").click()
        await expect(notice).to_have_text("Key one is benched for 3600 s.")


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


async def test_a_failed_action_is_shown_with_its_reason() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), visit(f"{here.url}/") as there:
        page, notice = there.page, there.page.locator("#notice")
        await enter(page, ADMIN)
        await row(page, "one").get_by_role("button").click()
        answers: dict[str, dict[str, Any] | None] = {
            "Action failed: HTTP 502": {"status": 502, "body": "<html>Bad gateway"},
            "Action failed: Connection lost": None,
            "": {"status": 401, "body": "{}"},
        }
        for said, answer in answers.items():
            await answer_actions(page, answer)
            await page.locator("[data-action=try]").click()
            await page.get_by_role("dialog").get_by_role("button", name="Test now").click()
            await expect(notice).to_have_text(said)
        await expect(page.get_by_role("alert")).to_contain_text("The admin key is no longer valid.")
        await expect(page.get_by_label("Admin key")).to_be_focused()


async def test_a_page_that_is_opened_while_the_proxy_is_down_says_so_and_reconnects() -> None:
    async with pool({"one": Health.healthy()}) as (here, _), visit(f"{here.url}/") as there:
        page = there.page
        await enter(page, ADMIN)
        await page.route("**/status.json", lambda route: route.abort())
        await page.reload()
        heading = page.get_by_role("heading", name="The proxy is not responding. Retrying…")
        await expect(heading).to_be_visible()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        for language, said in (("zh", "连接已断开"), ("en", "Connection lost")):
            await page.locator("#language").select_option(language)
            await expect(page.locator("#link")).to_have_text(said)
        await check(page)
        await page.unroute("**/status.json")
        await expect(row(page, "one")).to_be_visible()
        await expect(page.locator("#link")).to_have_text("Reconnected")


async def test_nothing_scrolls_sideways_however_wide_the_window_is() -> None:
    healths = {
        "a-very-long-name-of-a-key-with-many-words": Health.suspended(),
        "off": Health.service_disabled(),
    }
    async with pool(healths | {"day": Health.day_spent(), "fine": Health.healthy()}) as (here, _):
        await generate(here, 20)
        async with entered(here.url) as there:
            page = there.page
            for opener in await page.locator(".opener").all():
                await opener.click()
            too_wide = []
            for width in range(320, 1400, 20):
                await page.set_viewport_size({"width": width, "height": 800})
                if await page.evaluate("document.scrollingElement.scrollWidth") > width:
                    too_wide.append(width)
            assert too_wide == []


async def test_decisions_are_shown_live_in_both_languages_whatever_the_name_of_the_model() -> None:
    model = "<img src=x onerror=alert(1)>__proto__"
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url) as there:
        page, place = there.page, there.page.locator("#judgements")
        await expect(row(page, "one")).to_be_visible()
        await expect(place).to_be_hidden()
        for count, others in ((3, " while 12 others served"), (4, "")):
            why = f"not benched: the same request was refused by {count} projects{others}"
            judgement = Judgement(CLOCK(), model, "permission denied", why, "an-id")
            here.app.rotator.events.publish(RequestBlamed(Origin.HERE, judgement))
        rows = place.locator("tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(1)).to_contain_text("refused by 3 projects while 12 others served (permission")
        await expect(rows.nth(0)).to_contain_text(model)
        await check(page)
        await page.locator("#language").select_option("zh")
        await expect(rows.nth(1)).to_contain_text(
            re.compile("被 3 个项目拒绝.而其他 12 个项目正常响应.没有权限")
        )
        await expect(rows.nth(0)).to_contain_text(re.compile("被 4 个项目拒绝.没有权限"))


async def test_benches_for_origins_are_shown_and_released_on_the_page() -> None:
    origin = "https://<b>mine</b>.example"
    async with pool({"one": Health.healthy()}) as (here, _), entered(here.url) as there:
        page, key = there.page, here.app.rotator.keys[0]
        bench = Bench("API_KEY_HTTP_REFERRER_BLOCKED", CLOCK() + 600)
        here.app.rotator.set_bench(key, BenchPlace.ORIGIN, bench, origin)
        await expect(row(page, "one")).to_contain_text(f"benched for {origin}")
        await row(page, "one").get_by_role("button").click()
        await page.get_by_role("button", name=f"Release for {origin}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Release").click()
        await expect(page.locator("#notice")).to_have_text(f"Key one is released for {origin}.")
        await expect(row(page, "one")).not_to_contain_text("benched for")
        assert not key.origins


def reasons() -> set[str]:
    """The reasons of benches and outages."""
    known = [one for module in (verdict, judge) for one in vars(module).values()]
    verdicts = [one for one in known if isinstance(one, Verdict)]
    for table in (one for one in known if isinstance(one, dict)):
        verdicts += [one for one in table.values() if isinstance(one, Verdict)]
    return {one.reason for one in verdicts if one.rest is not BenchScope.NOTHING} | {
        MANUAL, REGION_BLOCKED.reason, UPSTREAM_FAILURE.reason, DEADLINE_EXCEEDED.reason,
    }  # fmt: skip


def test_every_reason_has_a_chinese_text() -> None:
    table = page_files()["words.js"].partition("const REASONS = ")[2].partition("\n};")[0]
    translated = {quoted or bare for quoted, bare in re.findall(r'(?:"([^"]+)"|\b(\w+)): "', table)}
    assert len(reasons()) > 15
    assert reasons() - translated == set()


def test_both_languages_have_the_same_words_and_every_word_is_used() -> None:
    texts = page_files()
    words = texts.pop("words.js")

    def words_of(language: str) -> set[str]:
        table = words.partition(f"const {language} = ")[2].partition("\n};")[0]
        return set(re.findall(r"[{,]\s*(\w+): \"", table))

    english = words_of("ENGLISH")
    assert len(english) > 100
    assert english == words_of("CHINESE")
    used = "".join(texts.values())
    assert [word for word in english if not re.search(rf'"{word}[ "]', used)] == []
