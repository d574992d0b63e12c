"""The chart in a real browser: what it draws, and what it says under pointer, finger and keyboard."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Position, expect

from proxycore.demo import Health
from tests.support.browser import needs_chromium
from tests.support.kept_pool import kept_pool, shown
from tests.support.page_chart import NO_EVENTS, NOON, chart, day, slot, told, values
from tests.support.status_page import PHONE, generate

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def test_a_new_pool_shows_only_the_minutes_that_exist(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        await generate(here)
        async with shown(here.url, "history?range=1h") as there:
            await expect(chart(there.page)).to_have_attribute("aria-valuemax", re.compile("^[01]$"))
            bar = await there.page.locator("#history .plot path.served").bounding_box()
            assert bar
            assert bar["width"] > 8


@pytest.mark.parametrize("way", ["pointer", "keyboard", "finger"])
async def test_values_are_told_in_fixed_places(tmp_path: Path, way: str) -> None:
    slots = [slot(NOON - 1200, 0.4, served=7), slot(NOON - 600, 0.6, served=1234, failed=3, client_errors=2)]
    answers = {"/history\\.json": day(*slots), "/events\\.json": NO_EVENTS}
    options = {"timezone_id": "UTC", **(PHONE if way == "finger" else {})}
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        async with shown(here.url, "history?range=24h", answers, **options) as there:
            page, plot = there.page, chart(there.page)
            readout = page.locator("#history .readout")
            await expect(readout).to_contain_text("Mean")
            before = await places(readout)
            if way == "keyboard":
                await plot.press("Home")
                await plot.press("ArrowRight")
                await plot.press("ArrowRight")  # stays at the last one
            else:
                box = await plot.bounding_box()
                assert box
                where = Position(x=44 + 1.5 * (box["width"] - 52) / 12, y=100.0)
                await (plot.tap if way == "finger" else plot.hover)(position=where)
            await expect(readout).to_contain_text("11:50\u201312:00")
            said = await told(page)
            assert values(said) == {
                "served": "1,234",
                "by another key": "0",
                "other": "2",
                "refused": "0",
                "failed": "3",
                "first byte p50": "0.60 s",
                "p95": "1.20 s",
            }
            assert await places(readout) == before
            if way == "keyboard":
                await plot.press("Home")
                await expect(readout).to_contain_text("11:40\u201311:50")
                await plot.press("Escape")
            elif way == "pointer":
                await page.mouse.move(0, 0)
            else:
                await page.get_by_role("heading", name="What happened").tap()
                await plot.evaluate("plot => plot.blur()")
            await expect(readout).to_contain_text("Mean")


async def places(readout: Locator) -> Any:  # noqa: ANN401 - boxes
    """Where the values and their names are."""
    script = (
        "all => all.map((one) => { const { left, top } = one.getBoundingClientRect(); return [left, top]; })"
    )
    return await readout.locator(".value > :not(b)").evaluate_all(script)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", {"22:00", "27 Nov", "02:00", "10:00"}),
        ("Asia/Kolkata", {"20:00", "22:00", "27 Nov", "16:00"}),
        ("America/Los_Angeles", {"18:00", "27 Nov"}),
    ],
)
async def test_times_are_round_ones_of_the_reader(tmp_path: Path, zone: str, expected: set[str]) -> None:
    slots = [slot(NOON - 86400 + 600 * number, served=number % 40) for number in range(144)]
    answers = {"/history\\.json": day(*slots), "/events\\.json": NO_EVENTS}
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        async with shown(here.url, "history?range=24h", answers, timezone_id=zone) as there:
            texts = there.page.locator("#history .plot text")
            await expect(texts.filter(has_text="27 Nov")).to_have_count(1)
            found = set(await texts.all_text_contents())
            assert expected <= found
            assert {"0", "20", "40", "requests per 10 minutes", "first byte, seconds"} <= found
            assert all(text.endswith(":00") for text in found if ":" in text)


async def test_what_did_not_change_is_not_drawn_again(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, _):
        await generate(here)
        async with shown(here.url, "history?range=1h") as there:
            await expect(chart(there.page)).to_have_attribute("aria-valuetext", re.compile("served"))
            drawn = await there.page.evaluate("""async () => {
              const drawn = new Set();
              const watch = (list) => { for (const one of list) drawn.add(one.target); };
              const plot = document.querySelector('#history [role=slider]');
              const slots = () => plot.getAttribute('aria-valuemax'), before = slots();
              new MutationObserver(watch).observe(plot, { attributes: true, childList: true, subtree: true });
              for (let turn = 0; turn < 10; turn += 1) await new Promise((done) => setTimeout(done, 100));
              return before === slots() ? drawn.size : 0; // a minute has begun: another slot
            }""")
            assert drawn == 0
