"""Keys are added, paused, annotated and removed in the view Keys, with the program and its KEYS_FILE."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from proxycore.demo import Health, MockServer
from tests.support.browser import needs_chromium
from tests.support.process import program
from tests.support.status_page import SETTINGS, check, entered, open_key, row, sheet

pytestmark = [needs_chromium, pytest.mark.visits, pytest.mark.usefixtures("io_loop")]
FIRST, SECOND, NEW, DEAD = ("AIzaSy" + letter * 33 for letter in "ABND")


@contextlib.asynccontextmanager
async def running(folder: Path, writes: str = "on", **options: str) -> AsyncIterator[tuple[Page, Path]]:
    """The view Keys of a program with a KEYS_FILE and one more key, and that file."""
    mock = MockServer(dict.fromkeys((FIRST, SECOND, NEW, "AQ.env"), Health.healthy()))
    file = folder / "keys.txt"
    file.write_text(f"{FIRST} one\n{SECOND} two # from Ann\n")
    environment = {
        **SETTINGS,
        "UPSTREAM_URL": mock.listen(),
        "KEYS_FILE": str(file),
        "ADMIN_WRITES": writes,
        "GOOGLE_API_KEY_env": "AQ.env",
    }
    with program(folder=folder, environment=environment) as started:
        url = await asyncio.to_thread(lambda: started.url)
        async with entered(url, **options) as there:
            yield there.page, file
    await mock.stop()


async def test_keys_are_found_in_a_pasted_text_tried_and_added(tmp_path: Path) -> None:
    async with running(tmp_path) as (page, file):
        await page.get_by_role("button", name="Add keys…").click()
        dialog = page.get_by_role("dialog", name="Add keys")
        text = dialog.get_by_label("Text with keys")
        await expect(text).to_be_focused()
        await dialog.get_by_role("button", name="Add", exact=True).press("Enter")
        await expect(text).to_be_focused()  # there is nothing to add yet
        await text.fill(f"hello Bob,\nGEMINI_API_KEY={NEW}\n{DEAD}\n{FIRST}")
        await dialog.get_by_label("Note").fill("from Bob")
        await dialog.get_by_role("button", name="Add", exact=True).click()
        await expect(dialog.get_by_role("status")).to_have_text("1 of 3 keys added")
        found = dialog.get_by_role("row")
        await expect(found.filter(has_text="NNNN")).to_contain_text("Added")
        await expect(found.filter(has_text="DDDD")).to_contain_text("Dead, not added: API key not valid")
        await expect(found.filter(has_text="AAAA")).to_contain_text("Already there")
        await check(page)
        assert DEAD not in file.read_text()
        assert f"{NEW}" in file.read_text()
        await dialog.get_by_role("button", name="Add all the same").click()
        await expect(dialog.get_by_role("status")).to_have_text("1 of 3 keys added")
        await expect(dialog.get_by_role("button", name="Add all the same")).to_be_hidden()
        assert DEAD in file.read_text()
        await dialog.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("button", name="Add keys…")).to_be_focused()
        await expect(page.get_by_role("button", name="All 5")).to_be_visible()
        assert NEW not in await page.content()
        await page.get_by_label("Search keys").fill("from bob")
        await expect(page.locator("tbody").get_by_role("rowheader")).to_have_count(2)


async def test_a_key_is_annotated_paused_resumed_and_removed(tmp_path: Path) -> None:
    async with running(tmp_path) as (page, file):
        inside = await open_key(page, "two")
        result = inside.get_by_role("status")
        await inside.get_by_role("button", name="Note…").click()
        dialog = page.get_by_role("dialog", name="Note of key two")
        await expect(dialog.get_by_label("Note")).to_have_value("from Ann")
        await check(page)
        await dialog.get_by_label("Note").fill("spare")
        await dialog.get_by_label("Note").press("Enter")
        await expect(result).to_have_text("Key two is annotated.")
        await expect(inside).to_contain_text("spare")
        await inside.get_by_role("button", name="Pause").press("Enter")
        await expect(result).to_have_text("Key two is paused.")
        await expect(row(page, "two")).to_contain_text("paused")
        await expect(inside.get_by_role("button", name="Resume")).to_be_focused()
        await expect(inside.get_by_role("button", name="Try now")).to_be_hidden()
        await page.get_by_role("button", name="Paused 1").click()
        await inside.get_by_role("button", name="Resume").press("Enter")
        await expect(page.get_by_text("No matching keys")).to_be_visible()
        await page.get_by_role("button", name="All 3").click()
        await inside.get_by_role("button", name="Remove…").click()
        dialog = page.get_by_role("dialog", name="Remove key two?")
        await check(page)
        await dialog.get_by_role("button", name="Remove").click()
        await expect(row(page, "two")).to_be_hidden()
        await expect(page.get_by_role("group", name="Selected keys")).to_contain_text("Key two is removed.")
        assert SECOND not in file.read_text()


async def test_several_keys_are_paused_and_resumed_but_for_those_that_are_set_elsewhere(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (page, _):
        await page.get_by_label("Select all keys").check()
        several = page.get_by_role("group", name="Selected keys")
        await several.get_by_role("button", name="Pause").click()
        await expect(several.get_by_role("status")).to_have_text("2 of 2")
        for name, state in (("one", "paused"), ("two", "paused"), ("env", "unproven")):
            await expect(row(page, name)).to_contain_text(state)
        await page.get_by_label("Select key env").uncheck()
        await several.get_by_role("button", name="Resume").click()
        await expect(several.get_by_role("status")).to_have_text("2 of 2")
        await expect(row(page, "one")).to_contain_text("unproven")


async def test_where_keys_cannot_be_changed_there_is_no_way_to(tmp_path: Path) -> None:
    async with running(tmp_path, "off") as (page, _):
        inside = await open_key(page, "one")
        await page.get_by_label("Select key one").check()
        await expect(page.get_by_role("button", name="Try now")).to_have_count(2)
        for name in ("Add keys…", "Pause", "Remove…", "Note…"):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        await expect(sheet(page, "one")).to_be_visible()
        await expect(inside).to_contain_text("KEYS_FILE")
