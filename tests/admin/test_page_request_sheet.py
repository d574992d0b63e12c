"""What a request opens into, in a browser: why it ended as it did, in both languages."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from proxycore.demo import Health
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow
from tests.support.browser import needs_chromium
from tests.support.request_view import OVERLOADED, PRO, ended, failed, log, recorded, sheet, shown, until_ids
from tests.support.status_page import BODY, CLIENT, GENERATE, check
from tests.support.wire import ask

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]


async def test_why_a_request_failed_is_said_with_its_attempts_and_the_pauses_between_them(
    tmp_path: Path,
) -> None:
    async with recorded(tmp_path, [ended(1), failed(2), ended(3)]) as (here, _, _), shown(here) as page:
        opener = log(page).nth(1).get_by_role("button")
        await opener.click()
        await expect(opener).to_have_attribute("aria-expanded", "true")
        await expect(sheet(page)).to_contain_text("Failed: upstream error at the last attempt, with key 5")
        await expect(sheet(page)).to_contain_text(
            "3 attempts in 9.60 s. The upstream's last response went to"
        )
        told = sheet(page).get_by_role("table", name="Attempts of this request").locator("tbody tr")
        await expect(told).to_have_text(
            [
                "Waited for a key0.10 s",
                "112429Daily quota exhausted: another key was used0.20 s",
                "Pause before the next attempt0.10 s",
                "228503Upstream error: tried again1.90 s",
                "Pause before the next attempt2.90 s",
                "35503Upstream error: this response went to the client4.40 s",
            ]
        )
        await expect(sheet(page).get_by_role("link", name="28")).to_have_attribute("href", "#/keys/28")
        await opener.click()
        await expect(sheet(page)).to_have_count(0)


async def test_a_failover_that_really_happened_is_shown_as_such(tmp_path: Path) -> None:
    healths = {"bad": Health.overloaded(), "fine": Health.healthy()}
    async with recorded(tmp_path, healths=healths) as (here, _, mock):
        while not any(call.status == 503 for call in mock.calls):
            await ask(here.port, "POST", GENERATE, CLIENT, body=BODY)
        async with shown(here) as page:
            await log(page).filter(has_text="200 after 2 attempts").first.click()
            await expect(sheet(page)).to_contain_text("Served by key fine at attempt 2")
            await expect(sheet(page)).to_contain_text("Upstream error: tried again")
            await expect(sheet(page)).to_contain_text("Served: the response went to the client")


# ruff: noqa: RUF001 - the page's own texts in Chinese
WORDS: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "200", "Served: key first responded with 200", "成功：密钥 first 返回 200"),
    (
        {"status": 429, "outcome": RequestOutcome.CLIENT_ERROR, "attempts": (), "key": "-",
         "why": "Client alice has reached its limit of 60 requests per minute"},
        "429 client's limit",
        "Rejected: Client alice has reached its limit of 60 requests per minute",
        "已拒绝：客户端 alice 已达到限额：每分钟 60 次请求",
    ),
    (
        {"status": 400, "outcome": RequestOutcome.CLIENT_ERROR,
         "attempts": (AttemptRow("1", 400, "relay", "client error", 0.1, 0.0),)},
        "400 client error",
        "Rejected by Google with 400: client error",
        "Google 以 400 拒绝：请求本身有误",
    ),
    (
        {"status": 429, "outcome": RequestOutcome.REFUSED, "attempts": OVERLOADED[:1], "waited": 0.9,
         "why": f"No Gemini API key is available for {PRO} (4 of 6 are cooling down, 2 disabled)"},
        "429 no key available",
        f"Refused: No Gemini API key is available for {PRO} (4 of 6 are cooling down, 2 disabled)",
        f"已拒绝：{PRO} 没有可用的密钥（共 6 个：4 个冷却中，2 个已失效）",
    ),
    (
        {"status": 499, "outcome": RequestOutcome.LEFT,
         "attempts": (AttemptRow("1", 0, "abandoned", "", 0.1, 0.0),)},
        "499 client left",
        "The client left while key 1 was working on it",
        "客户端在密钥 1 处理期间断开了连接",
    ),
    (
        {"outcome": RequestOutcome.CUT,
         "why": "The upstream broke off the connection before the response was complete"},
        "200 cut off",
        "The response was cut off: The upstream broke off the connection before the response was complete",
        "响应中断：上游在响应完成前断开了连接",
    ),
    (
        {"status": 500, "outcome": RequestOutcome.FAILED,
         "attempts": (AttemptRow("1", 0, "relay", "timeout", 30.0, 0.0),),
         "why": "The upstream timed out: no data for 30 seconds"},
        "500 upstream timed out",
        "Failed: The upstream timed out: no data for 30 seconds",
        "失败：上游超时：30 秒内没有数据",
    ),
]  # fmt: skip


async def test_each_way_that_a_request_can_end_has_its_words_in_both_languages(tmp_path: Path) -> None:
    rows = [ended(number, **fields) for number, (fields, *_) in enumerate(WORDS)]
    async with recorded(tmp_path, reversed(rows)) as (here, _, _), shown(here) as page:
        for language in ("English", "中文"):
            await page.get_by_role("button", name=language).click()
            for number, (_, outcome, english, chinese) in enumerate(WORDS):
                if language == "English":
                    await expect(log(page).nth(number).get_by_role("cell").nth(1)).to_have_text(outcome)
                opener = log(page).nth(number).get_by_role("button")
                await opener.click()
                said = english if language == "English" else chinese
                await expect(sheet(page).locator(".headline")).to_have_text(said)
                await opener.click()
            await check(page)


async def test_a_request_that_the_address_names_is_open_at_once(tmp_path: Path) -> None:
    rows = [ended(1), failed(2), ended(3)]
    async with recorded(tmp_path, rows) as (here, _, _), shown(here, "?id=id-2") as page:
        await expect(sheet(page)).to_contain_text("Failed: upstream error")
        await until_ids(page, ["id-2"])
        await expect(page.get_by_label("Search")).to_have_value("id-2")
        await page.get_by_label("Search").fill("")
        await until_ids(page, ["id-3", "id-2", "id-1"])


async def test_a_request_is_copied_as_json(tmp_path: Path) -> None:
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    async with recorded(tmp_path, [failed(2)]) as (here, _, _), shown(here, "?id=id-2", **options) as page:
        await page.get_by_role("button", name="Copy as JSON").click()
        await expect(sheet(page).get_by_role("status")).to_have_text("Copied")
        copied = json.loads(await page.evaluate("navigator.clipboard.readText()"))
        assert (copied["id"], copied["status"], len(copied["attempts"])) == ("id-2", 503, 3)
        assert {"text", "day", "cursor"} & copied.keys() == set()
        await page.get_by_role("button", name="Copy id").click()
        await page.wait_for_function("navigator.clipboard.readText().then(text => text === 'id-2')")
