"""The chart of the page in tests: made data, and what it says."""

import re
from typing import Any

from playwright.async_api import Locator, Page

NOON = 1_795_780_800  # 2026-11-27, 12:00 UTC
COUNTS = ("served", "failed_over", "refused", "failed", "client_errors", "left", "cut")
NO_EVENTS: dict[str, Any] = {"events": [], "cursor": None}


def slot(time: int, first_byte: float | None = 0.5, **counts: int) -> dict[str, Any]:
    after = None if first_byte is None else 2 * first_byte
    return {
        "time": time,
        **dict.fromkeys(COUNTS, 0),
        **counts,
        "first_byte": first_byte,
        "first_byte_p95": after,
    }


def day(*slots: dict[str, Any]) -> dict[str, Any]:
    """What `/history.json` says of a day with these slots."""
    total = sum(one[name] for one in slots for name in COUNTS)
    ended = [{"status": 200, "outcome": "served", "failed_over": False, "requests": total}] if total else []
    start = NOON - 86400
    return {"range": "24h", "step": 600, "from": start, "to": NOON, "slots": [*slots], "ended": ended}


def event(time: float, kind: str, key: str = "", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    usual = {"about": "", "why": "", "request": "", "until": None}
    return {"time": time, "kind": kind, "key": key} | usual | fields


def chart(page: Page) -> Locator:
    return page.locator("#history").get_by_role("slider")


def values(text: str) -> dict[str, str]:
    """What the chart says by its names, without the time and events."""
    return dict(re.findall(r", ([a-z][a-z0-9 ]*?) ([\d.,]+(?: m?s)?|\u2013)(?=,|$)", text))


async def told(page: Page) -> str:
    return await chart(page).get_attribute("aria-valuetext") or ""
