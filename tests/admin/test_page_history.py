"""The view History in a real browser: the chart, what happened, and how requests ended."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from proxycore.demo import Health
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.browser import needs_chromium
from tests.support.clocks import TurnedClock
from tests.support.kept_pool import does_not_scroll_sideways, kept_pool, shown
from tests.support.page_chart import NO_EVENTS, NOON, chart, day, event, slot, told, values
from tests.support.proxy import Proxy
from tests.support.status_page import BODY, CLIENT, GENERATE, MODEL, PHONE, check, generate, pool
from tests.support.wire import ask

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def sum_row(page: Page) -> str:
    return await page.get_by_role("table", name="How it ended").locator("tfoot").inner_text()


@pytest.mark.parametrize("span", ["1h", "24h"])
async def test_the_chart_and_the_ways_in_which_requests_ended_add_up(tmp_path: Path, span: str) -> None:
    healths = {"spent": Health.day_spent(), "fine": Health.healthy()}
    async with kept_pool(tmp_path, healths, {"KEY_ORDER": "spent > fine"}) as (here, storage):
        await generate(here, 3)
        for body, credential in ((b"{", CLIENT), (BODY, ("x-goog-api-key", "a-wrong-key"))):
            await ask(here.port, "POST", GENERATE, credential, body=body)
        await storage.flush()
        async with shown(here.url, f"history?range={span}") as there:
            table = there.page.get_by_role("table", name="How it ended")
            await expect(table.locator("tfoot")).to_contain_text("5")
            rows = table.locator("tbody").get_by_role("row")
            await expect(rows.filter(has_text="served by another key")).to_contain_text("200")
            await expect(rows.filter(has_text="no valid client key")).to_contain_text("401")
            counts = [int(text) for text in await rows.locator("td:nth-child(3)").all_inner_texts()]
            shares = [
                float(text.split()[0]) for text in await rows.locator("td:nth-child(4)").all_inner_texts()
            ]
            assert (sum(counts), round(sum(shares))) == (5, 100)
            total = 0
            await chart(there.page).press("Home")
            for _ in range(int(await chart(there.page).get_attribute("aria-valuemax") or 0) + 1):
                found = values(await told(there.page))
                parts = ("served", "by another key", "other", "refused", "failed")
                total += sum(int(found[name]) for name in parts)
                await chart(there.page).press("ArrowRight")
            assert total == 5
            await check(there.page)


async def test_the_last_hour_follows_requests_as_they_come(tmp_path: Path) -> None:
    clock = TurnedClock(NOON)  # no minute ends meanwhile
    async with kept_pool(tmp_path, {"one": Health.healthy()}, clock=clock) as (here, _):
        await generate(here)
        async with shown(here.url, "history?range=1h") as there:
            await chart(there.page).press("End")
            await expect(chart(there.page)).to_have_attribute("aria-valuetext", re.compile(", served 1,"))
            await generate(here)
            await expect(chart(there.page)).to_have_attribute("aria-valuetext", re.compile(", served [12],"))
            await expect(
                there.page.get_by_role("table", name="How it ended").locator("tfoot")
            ).to_contain_text("2")


async def test_the_range_is_in_the_address(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, storage):
        await generate(here)
        await storage.flush()
        async with shown(here.url, "history") as there:
            page = there.page
            await expect(page.get_by_role("heading", name="Traffic, last 24 hours")).to_be_visible()
            await page.get_by_role("button", name="30 d").click()
            await expect(page.get_by_role("heading", name="Traffic, last 30 days")).to_be_visible()
            assert page.url.endswith("#/history?range=30d")
            await page.reload()
            await expect(page.get_by_role("heading", name="Traffic, last 30 days")).to_be_visible()
            await expect(page.get_by_role("button", name="30 d")).to_have_attribute("aria-pressed", "true")
            await page.go_back()
            await expect(page.get_by_role("heading", name="Traffic, last 24 hours")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "retired", "outcome"),
    [
        ("en-GB", "Key dead retired: suspended or leaked", "no key was available"),
        ("zh-CN", "密钥 dead 已失效\uff1a已被暂停或泄露", "没有可用的密钥"),
    ],
)
async def test_what_happened_is_told_in_sentences(
    tmp_path: Path, locale: str, retired: str, outcome: str
) -> None:
    settings = {"FORBIDDEN_BENCH_SECONDS": "1"}
    async with kept_pool(tmp_path, {"dead": Health.suspended()}, settings) as (here, storage):
        await retire(here)
        await storage.flush()
        async with shown(here.url, "history?range=24h", locale=locale) as there:
            line = there.page.locator("#history li").filter(has_text=retired)
            await expect(line).to_be_visible()
            await expect(there.page.locator("#history table")).to_contain_text(outcome)
            await check(there.page)
            await line.get_by_role("link").click()
            assert there.page.url.endswith("#/keys/dead")


async def retire(here: Proxy) -> None:
    """Has the only key refused, then retired."""
    await generate(here, 2)
    now = here.app.pool.clock()
    dead = Bench("suspended or leaked", now + 3600, strikes=4, since=now)
    here.app.rotator.begin_bench(here.app.rotator.keys[0], BenchPlace.RETIRED, dead)


async def test_events_that_are_alike_are_one_line_and_those_that_matter_are_in_the_chart(
    tmp_path: Path,
) -> None:
    rests = [
        event(
            NOON - 3000 - 10 * number, "benched", str(number), about=MODEL, why="quota exhausted", until=NOON
        )
        for number in range(5)
    ]
    kinds = {
        "benched": rests,
        "retired": [event(NOON - 7000, "retired", "7", why="suspended or leaked")],
        "outage began": [event(NOON - 30000, "outage began", about=MODEL, why="upstream outage")],
    }
    slots = [slot(NOON - 36000 + 600 * number, served=3) for number in range(60)]
    answers = {"/history\\.json": day(*slots), "/events\\.json": NO_EVENTS}
    for kind, events in kinds.items():
        answers[rf"/events\.json\?kind={kind.replace(' ', '.')}&"] = {"events": events, "cursor": None}
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        async with shown(here.url, "history?range=24h", answers, timezone_id="UTC") as there:
            page = there.page
            lines = page.locator("#history li")
            await expect(lines).to_have_count(3)
            await expect(lines.nth(0)).to_contain_text(f"Keys 0, 1, 2 and 2 more cooling down for {MODEL}")
            labels = page.locator("#history .plot text")
            await expect(labels.filter(has_text="Key 7 retired")).to_have_count(1)
            await expect(labels.filter(has_text=f"Outage of {MODEL}")).to_have_count(1)
            await expect(labels.filter(has_text="cooling")).to_have_count(0)
            await chart(page).press("End")
            for _ in range(11):
                await chart(page).press("ArrowLeft")
            await expect(page.locator("#history .readout")).to_contain_text("Key 7 retired")


async def test_without_a_state_file_there_is_the_last_hour() -> None:
    async with pool({"one": Health.healthy()}) as (here, _):
        await generate(here)
        async with shown(here.url, "history?range=7d") as there:
            page = there.page
            await expect(page.get_by_role("heading", name="Traffic, last hour")).to_be_visible()
            await expect(page.locator("#history")).to_contain_text(
                "Only the last hour is known: STATE_FILE is off"
            )
            await expect(page.locator("#history")).to_contain_text(
                "Events are not kept, since STATE_FILE is off."
            )
            await expect(page.get_by_role("button", name="7 d")).to_be_disabled()
            assert "100 %" in await sum_row(page)
            await check(page)


async def test_an_empty_pool_has_a_history_too(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {}) as (here, _):
        async with shown(here.url, "history") as there:
            await expect(there.page.locator("#history")).to_contain_text("No request in this time.")
            await there.page.get_by_role("button", name="1 h").click()
            await expect(there.page.get_by_role("heading", name="Traffic, last hour")).to_be_visible()
            await check(there.page)


@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 1920, "height": 1080}}], ids=["phone", "wide"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_and_is_accessible(tmp_path: Path, scheme: str, options: dict[str, Any]) -> None:
    slots = [slot(NOON - 86400 + 600 * number, served=number % 40, cut=1) for number in range(144)]
    long = event(
        NOON - 500, "benched", "a-name" * 20, about="gemini-" * 20, why="quota exhausted", until=NOON
    )
    answers = {"/history\\.json": day(*slots), "/events\\.json": {"events": [long], "cursor": None}}
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        async with shown(here.url, "history", answers, color_scheme=scheme, **options) as there:
            await expect(there.page.get_by_role("table", name="How it ended")).to_be_visible()
            await check(there.page)
            assert await does_not_scroll_sideways(there.page)
