"""`--demo`: what it prints, and the status page from this host and from others."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.browser import needs_chromium, visit
from tests.support.process import Program, program
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("io_loop")
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}  # a forwarded request does not count as local
KEY = re.compile(r"admin key, use (\S+) \(valid for this run\)\n")


def status(started: Program, headers: dict[str, str]) -> int:
    request = urllib.request.Request(f"{started.url}/status.json", headers=headers)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answered:  # noqa: S310 - our own
            assert len(json.load(answered)["keys"]) == 10
            return int(answered.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_demo_starts_without_warnings(tmp_path: Path) -> None:
    with program("--demo", folder=tmp_path) as started:
        started.wait_for(KEY)
        assert "WARNING" not in started.log
        assert "ANYONE" not in started.log
        assert "10 Gemini API keys, no client key required" in started.log


def test_a_key_for_this_run_opens_the_status_from_elsewhere_and_this_host_needs_none(tmp_path: Path) -> None:
    with program("--demo", folder=tmp_path) as started:
        key = started.wait_for(KEY)[1]
        assert f"http://localhost:{started.port}/#admin-key={key}\n" in started.log
        assert status(started, {}) == 200
        assert status(started, ELSEWHERE) == 401
        assert status(started, ELSEWHERE | {"x-goog-api-key": "another-key"}) == 401
        assert status(started, ELSEWHERE | {"x-goog-api-key": key}) == 200
    with program("--demo", folder=tmp_path) as again:
        assert again.wait_for(KEY)[1] != key


def test_with_an_admin_key_in_the_settings_no_one_time_key_is_made(tmp_path: Path) -> None:
    own = {"ADMIN_API_KEY": "an-admin-key-of-ones-own"}
    with program("--demo", folder=tmp_path, environment=own) as started:
        started.wait_for(re.compile(r"status page: http://localhost:\d+/\n"))
        assert not KEY.search(started.log)
        assert own["ADMIN_API_KEY"] not in started.log


@needs_chromium
@pytest.mark.visits
async def test_the_address_that_is_printed_opens_the_page_and_the_key_does_not_stay_in_it(
    tmp_path: Path,
) -> None:
    with program("--demo", folder=tmp_path) as started:
        key = started.wait_for(KEY)[1]
        async with visit(f"{started.url}/#admin-key={key}", extra_http_headers=ELSEWHERE) as there:
            await expect(there.page.get_by_role("navigation")).to_contain_text("Keys 10")
            assert there.page.url == f"{started.url}/"
            await there.page.reload()
            await expect(there.page.get_by_role("navigation")).to_contain_text(
                "Keys 10"
            )  # the tab knows the key
        async with visit(f"{started.url}/", extra_http_headers=ELSEWHERE) as there:
            await expect(there.page.locator("#admin-hint")).to_contain_text(
                "printed when the program started"
            )
            await there.page.locator("#admin-key").fill(key)
            await there.page.locator("#admin-key").press("Enter")
            await there.page.get_by_role("link", name="Keys").click()
            await expect(there.page.get_by_text("HEALTHY_1")).to_be_visible()
