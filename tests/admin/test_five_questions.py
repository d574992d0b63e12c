"""An operator's five questions, each answered from the page in under ten seconds.

The seconds are those that a practised person needs, by the keystroke-level model (Card, Moran and Newell,
1980): 1.35 to decide on what to do, 1.1 to point, 0.1 to press a button or a key's 0.2, and 0.25 a word that
is read to recognise the answer. So a busy machine changes nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from proxycore.demo import Health
from proxycore.http.access_record import RequestOutcome
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.storage.rows import AttemptRow, EventKind, EventRow
from tests.support.browser import needs_chromium
from tests.support.clocks import CLOCK
from tests.support.kept_pool import kept_pool
from tests.support.status_page import entered, generate
from tests.support.storing import request

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]
_MOST = 10.0  # seconds
_DECIDE, _POINT, _PRESS, _TYPE, _READ = 1.35, 1.1, 0.1, 0.2, 0.25
_PRO = "gemini-2.5-pro"
_LEAKED = "suspended or leaked"
_HOUR = 3600.0


@dataclass
class Operator:
    """Somebody at the page, which was just opened."""

    page: Page
    seconds: float = 0.0

    async def click(self, target: Locator) -> None:
        self.seconds += _DECIDE + _POINT + _PRESS
        await target.click()

    async def type(self, target: Locator, text: str) -> None:
        """Types what was copied from elsewhere, and sends it."""
        await self.click(target)
        self.seconds += _DECIDE + 4 * _TYPE  # two keys to paste, one to send
        await target.fill(text)
        await target.press("Enter")

    async def read(self, where: Locator, *answers: str) -> None:
        """Finds the answers in a part of the page that is in view."""
        for answer in answers:
            await expect(where).to_contain_text(re.compile(answer, re.IGNORECASE))
        await expect(where).to_be_in_viewport()
        self.seconds += _DECIDE + _READ * sum(len(answer.split()) for answer in answers)

    def check(self) -> None:
        assert self.seconds <= _MOST


def _named(here: Any, name: str) -> Any:  # noqa: ANN401 - a proxy and a key
    return next(key for key in here.app.rotator.configured if key.name == name)


def _retire(here: Any, name: str) -> None:  # noqa: ANN401 - a proxy
    now = CLOCK()
    dead = Bench(_LEAKED, now + 9 * _HOUR, strikes=4, since=now - 12 * _HOUR)
    here.app.rotator.set_bench(_named(here, name), BenchPlace.RETIRED, dead)


_KEYS = {str(number): Health.healthy() for number in range(1, 41)}


async def test_which_keys_are_broken_and_why(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, _KEYS) as (here, _):
        _retire(here, "7")
        async with entered(here.url, view="overview") as there:
            operator = Operator(there.page)
            trouble = there.page.get_by_role("region", name="What needs attention")
            await operator.read(trouble, "Key 7", _LEAKED, "Replace it", "12 h")
            operator.check()


async def test_who_uses_the_quota(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, _KEYS, clock=CLOCK) as (here, storage):
        await generate(here)
        for number, client in enumerate(["batch-eval"] * 8 + ["carol"] * 2):
            storage.put_request(request(number, client=client, model=_PRO, time=CLOCK.wall() - 60))
        await storage.flush()
        async with entered(here.url, view="overview") as there:
            operator = Operator(there.page)
            await operator.click(there.page.get_by_role("link", name="Clients"))
            shares = there.page.get_by_role("table", name=re.compile("share of each model"))
            await operator.read(shares.get_by_role("row").filter(has_text="batch-eval"), "80 %")
            operator.check()


async def test_why_a_request_failed(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, _KEYS, clock=CLOCK) as (here, storage):
        tried = (
            AttemptRow("12", 429, "failover", "daily quota exhausted", 0.2, 0.0),
            AttemptRow("28", 503, "relay", "model overloaded", 1.9, 0.3),
        )
        failed = request(
            5,
            id="8f3a41c0d2e4b6a8",
            time=CLOCK.wall() - 600,
            status=503,
            outcome=RequestOutcome.FAILED,
            key="28",
            attempts=tried,
        )
        for number in range(20, 120):
            storage.put_request(request(number, time=CLOCK.wall() - 300))
        storage.put_request(failed)
        await storage.flush()
        async with entered(here.url, view="overview") as there:
            page, operator = there.page, Operator(there.page)
            await operator.click(page.get_by_role("link", name="Requests"))
            await operator.type(page.get_by_role("searchbox"), failed.id)
            sheet = page.get_by_role("row").filter(has_text="Copy as JSON")
            await operator.read(sheet, "model overloaded", "daily quota exhausted")
            operator.check()


async def test_what_is_left_today(tmp_path: Path) -> None:
    keys = {str(number): Health.day_quota(3) for number in range(1, 5)}
    async with kept_pool(tmp_path, keys) as (here, _):
        await generate(here, 13)  # one more than the day has: so its quota is known
        async with entered(here.url, view="overview") as there:
            operator = Operator(there.page)
            await operator.read(
                there.page.get_by_role("region", name="Now"), "0 of 12", "used up until midnight Pacific"
            )
            operator.check()


async def test_what_happened_to_a_key_overnight(tmp_path: Path) -> None:
    async with kept_pool(tmp_path, _KEYS, clock=CLOCK) as (here, storage):
        now = CLOCK.wall()
        for ago, kind, about, why in (
            (14, EventKind.BENCHED, _PRO, "daily quota exhausted"),
            (12.1, EventKind.BENCHED, "", _LEAKED),
            (12, EventKind.RETIRED, "", _LEAKED),
        ):
            until = now + _HOUR if kind is EventKind.BENCHED else None
            storage.put_event(EventRow(now - ago * _HOUR, kind, "7", about, why, until=until))
        await storage.flush()
        _retire(here, "7")
        async with entered(here.url, view="overview") as there:
            page, operator = there.page, Operator(there.page)
            await operator.click(page.get_by_role("link", name="Open key 7"))
            night = page.get_by_role("region", name=re.compile("key 7"))
            await operator.read(night, f"retired: {_LEAKED}", "daily quota exhausted")
            operator.check()
