"""The view Clients in a real browser: limits, usage, cost, and who uses which model."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from proxycore.demo import Health
from tests.support.browser import needs_chromium
from tests.support.clocks import TurnedClock
from tests.support.kept_pool import does_not_scroll_sideways, kept_pool, shown
from tests.support.proxy import Proxy
from tests.support.status_page import ADMIN, BODY, PHONE, check, generate, pool
from tests.support.wire import ask

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]

PRO, FLASH = "gemini-2.5-pro", "gemini-2.5-flash"
OTHER = ("x-goog-api-key", "the-other-key")
TWO_CLIENTS = {"OUTPUT_API_KEY_OTHER": OTHER[1]}
RED, AMBER = ".value.bad", ".value.warn"


async def call(here: Proxy, model: str, count: int = 1, credential: tuple[str, str] = OTHER) -> None:
    for _ in range(count):
        await ask(here.port, "POST", f"/v1beta/models/{model}:generateContent", credential, body=BODY)


def clients(page: Page) -> Locator:
    return page.get_by_role("table", name="Clients and their limits")


def row(table: Locator, name: str) -> Locator:
    return (
        table.locator("tbody")
        .get_by_role("row")
        .filter(has=table.page.get_by_role("link", name=name, exact=True))
    )


async def cell(table: Locator, name: str, head: str) -> Locator:
    """The cell of a client below the head of a column."""
    await expect(table).to_be_visible()
    heads = await table.locator("thead th").all_text_contents()
    return row(table, name).locator(f"> :nth-child({heads.index(head) + 1})")


async def test_limits_are_bars_that_turn_amber_near_them_and_red_where_they_are_reached() -> None:
    limits = "requests=10/minute requests=1000/day tokens=1M/day"
    variables = {"CLIENT_APP": limits, **TWO_CLIENTS}
    async with pool({"one": Health.healthy()}, TurnedClock(), None, **variables) as (here, _):
        await generate(here)
        await call(here, FLASH)
        async with shown(here.url, "clients") as there:
            minute = await cell(clients(there.page), "APP", "Requests a minute")
            await expect(minute).to_have_text("1 of 10")
            await expect(minute.locator(f"{AMBER}, {RED}")).to_have_count(0)
            await generate(here, 8)
            await expect(minute).to_have_text("9 of 10")
            await expect(minute.locator(AMBER)).to_be_visible()
            await generate(here, 3)
            await expect(minute).to_have_text("10 of 10")
            await expect(minute.locator(RED)).to_be_visible()
            day = await cell(clients(there.page), "APP", "Requests a day")
            await expect(day).to_have_text("10 of 1,000")
            await expect(await cell(clients(there.page), "APP", "Tokens a day")).to_contain_text("of 1M")
            await expect(await cell(clients(there.page), "OTHER", "Tokens a day")).to_have_text("no limit")
            title = await row(clients(there.page), "APP").locator("th .below").get_attribute("title") or ""
            assert "10 of 10 requests a minute" in title
            await check(there.page)


async def test_a_limit_in_another_unit_says_so_and_the_closest_one_is_shown() -> None:
    limits = "requests=100/minute tokens=1000/hour models=gemini-2.5-* until=2099-01-31 concurrent=3"
    async with pool({"one": Health.healthy()}, TurnedClock(), CLIENT_APP=limits) as (here, _):
        await generate(here)
        async with shown(here.url, "clients") as there:
            app = row(clients(there.page), "APP")
            await expect(await cell(clients(there.page), "APP", "Requests a minute")).to_contain_text(
                "tokens an hour"
            )
            await expect(await cell(clients(there.page), "APP", "Open now")).to_have_text("0 of 3")
            await expect(app).to_contain_text("until 2099-01-31 · only gemini-2.5-*")


async def test_usage_is_that_of_the_chosen_time_and_adds_up(tmp_path: Path) -> None:
    clock = TurnedClock(1_795_780_800)
    prices = tmp_path / "prices.csv"
    prices.write_text(f"model,input,cached,output\n{FLASH},1000,1000,1000\n")
    variables = {"PRICES_FILE": str(prices), **TWO_CLIENTS}
    async with kept_pool(tmp_path, {"one": Health.healthy()}, variables, clock) as (here, storage):
        await call(here, FLASH, 3)
        clock.turn(3 * 86400)
        await generate(here, 2)
        await call(here, FLASH)
        await storage.flush()
        async with shown(here.url, "clients") as there:
            page, table = there.page, clients(there.page)
            await expect(await cell(table, "OTHER", "Requests")).to_contain_text(re.compile("^1"))
            await expect(await cell(table, "APP", "Requests")).to_contain_text(re.compile("^2"))
            await expect(table.locator("tfoot")).to_contain_text(
                re.compile("All together.*3.*none failed", re.DOTALL)
            )
            await page.get_by_role("button", name="7 d").click()
            await expect(await cell(table, "OTHER", "Requests")).to_contain_text(re.compile("^4"))
            assert page.url.endswith("#/clients?range=7d")
            costs = [await (await cell(table, name, "Cost")).inner_text() for name in ("OTHER", "APP")]
            total = await table.locator("tfoot .cost").inner_text()
            assert sum(map(float, costs)) == pytest.approx(float(total), abs=0.011) != 0
            await check(page)


async def test_a_model_without_a_price_is_said_to_be_missing_from_the_cost(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(f"model,input,cached,output\n{FLASH},1,1,1\n")
    async with kept_pool(tmp_path, {"one": Health.healthy()}, {"PRICES_FILE": str(prices)}) as (
        here,
        storage,
    ):
        await generate(here)
        await ask(
            here.port,
            "POST",
            f"/v1beta/models/{PRO}:generateContent",
            ("x-goog-api-key", "the-client-key"),
            body=BODY,
        )
        await storage.flush()
        async with shown(here.url, "clients") as there:
            cost = await cell(clients(there.page), "APP", "Cost")
            await expect(cost).to_contain_text("≥")
            await expect(cost).to_have_attribute(
                "title", "Missing are requests for models without a price: 1"
            )


async def test_without_prices_there_is_no_cost(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, storage):
        await generate(here)
        await storage.flush()
        async with shown(here.url, "clients") as there:
            await expect(row(clients(there.page), "APP")).to_be_visible()
            await expect(clients(there.page).get_by_role("columnheader", name="Cost")).to_have_count(0)


async def test_a_client_leads_to_its_requests(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}) as (here, storage):
        await generate(here)
        await storage.flush()
        async with shown(here.url, "clients") as there:
            await clients(there.page).get_by_role("link", name="APP").click()
            assert there.page.url.endswith("#/requests?client=APP")


async def test_usage_is_downloaded_as_csv(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, {"one": Health.healthy()}, TWO_CLIENTS) as (here, storage):
        await generate(here, 2)
        await call(here, PRO)
        await storage.flush()
        async with shown(here.url, "clients?range=30d") as there:
            addresses: list[str] = []
            there.page.on("request", lambda request: addresses.append(request.url))
            async with there.page.expect_download() as started:
                await there.page.get_by_role("button", name="CSV").click()
            download = await started.value
            assert download.suggested_filename == "usage-30d.csv"
            content = (await download.path()).read_text(encoding="utf-8")
            assert not any(ADMIN in address for address in addresses)
    found = {(one["client"], one["model"]): one["requests"] for one in csv.DictReader(io.StringIO(content))}
    assert found == {("APP", FLASH): "2", ("OTHER", PRO): "1"}


async def test_who_uses_what(tmp_path: Path) -> None:
    quotas = {"one": Health.day_spent(), "two": Health.healthy()}
    async with kept_pool(tmp_path, quotas, TWO_CLIENTS) as (here, storage):
        await generate(here, 1)
        await call(here, FLASH, 3)
        await call(here, PRO, 2)
        await storage.flush()
        async with shown(here.url, "clients") as there:
            table = there.page.get_by_role("table", name="Who uses what: the share of each model's requests")
            await expect(table.get_by_role("columnheader")).to_have_text(
                [
                    "Client",
                    "2.5-flash",
                    "2.5-pro",
                ]
            )
            await expect(row(table, "OTHER")).to_have_text(re.compile(r"OTHER\s*75 %\s*100 %"))
            await expect(row(table, "APP")).to_have_text(re.compile(r"APP\s*25 %\s*\u2013"))
            await expect(table.get_by_role("row", name="Requests")).to_have_text(
                re.compile(r"Requests\s*4\s*2")
            )
            await expect(table.get_by_role("row", name="Left today")).to_contain_text("0 %")
            await check(there.page)


async def test_without_a_state_file_what_is_live_stays() -> None:
    async with pool({"one": Health.healthy()}, TurnedClock(), CLIENT_APP="requests=10/minute") as (
        here,
        _,
    ):
        await generate(here, 2)
        async with shown(here.url, "clients") as there:
            page = there.page
            await expect(await cell(clients(page), "APP", "Requests a minute")).to_have_text("2 of 10")
            await expect(await cell(clients(page), "APP", "Requests")).to_contain_text("2")
            await expect(page.locator("#clients")).to_contain_text("since STATE_FILE is off")
            for name in ("CSV", "7 d"):
                await expect(page.get_by_role("button", name=name)).to_be_disabled()
            await expect(page.get_by_role("table", name="Who uses what")).to_have_count(0)
            await check(page)


@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 1920, "height": 1080}}], ids=["phone", "wide"]
)
@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-GB"), ("dark", "zh-CN")])
async def test_it_fits_and_is_accessible(
    tmp_path: Path, scheme: str, locale: str, options: dict[str, Any]
) -> None:
    long = "X" * 60
    names = {f"OUTPUT_API_KEY_{long}_{number}": f"key-of-{number:020}" for number in range(30)}
    async with kept_pool(tmp_path, {"one": Health.healthy()}, names | TWO_CLIENTS) as (here, storage):
        for number in range(9):
            await call(here, f"gemini-{number}-with-a-very-long-name-of-a-model-{number}")
        await call(here, FLASH, 2, ("x-goog-api-key", "key-of-00000000000000000003"))
        await storage.flush()
        async with shown(here.url, "clients", color_scheme=scheme, locale=locale, **options) as there:
            await expect(there.page.locator("#clients table")).to_have_count(2)
            await expect(
                there.page.locator("#clients").get_by_role("link", name="OTHER").first
            ).to_be_visible()
            await check(there.page)
            assert await does_not_scroll_sideways(there.page)
