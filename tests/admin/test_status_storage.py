"""`storage`, `keep_days` and `admin_writes` in `/status.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxycore.runtime.app import make_app
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import KEYS, Proxy, proxy, served, settings
from tests.support.storing import DAY, NOW, request, storage
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
NOBODY = "http://127.0.0.1:9"


def size_on_disk(path: Path) -> int:
    return path.stat().st_size + path.with_name(f"{path.name}-wal").stat().st_size


async def status(port: int) -> dict[str, Any]:
    got = await ask(port, "GET", "/status.json", HOME)
    assert got.status == 200, got.body
    shown: dict[str, Any] = json.loads(got.body)
    return shown


async def test_without_a_state_file_nothing_is_kept() -> None:
    async with proxy(NOBODY) as here:
        shown = await status(here.port)
        assert shown["storage"] == {"state": "off", "trouble": None, "bytes": None}
        assert shown["keep_days"] is None


async def test_the_size_of_the_state_file_is_shown_as_it_grows(tmp_path: Path) -> None:
    clock, path = TurnedClock(NOW), tmp_path / "state.db"
    async with storage(path, clock, keep=7 * DAY) as kept:
        async with served(make_app(settings(NOBODY, KEYS), clock, records=kept)) as here:
            before = await status(here.port)
            for number in range(2000):
                kept.put_request(request(number))
            await kept.flush()
            after = await status(here.port)
            assert before["storage"]["state"] == after["storage"]["state"] == "on"
            assert 0 < before["storage"]["bytes"] < after["storage"]["bytes"]
            assert after["storage"]["bytes"] == size_on_disk(path)
            assert after["keep_days"] == 7


async def test_a_state_file_that_cannot_be_used_is_shown_with_the_reason_until_it_can(
    tmp_path: Path,
) -> None:
    clock, path = TurnedClock(NOW), tmp_path / "state.db"
    path.mkdir()
    async with storage(path, clock) as kept:
        async with served(make_app(settings(NOBODY, KEYS), clock, records=kept)) as here:
            shown = (await status(here.port))["storage"]
            assert shown == {"state": "unusable", "trouble": "it is a directory; name a file", "bytes": None}
            path.rmdir()
            await kept.flush()
            shown = (await status(here.port))["storage"]
            assert (shown["state"], shown["trouble"]) == ("on", None)
            assert shown["bytes"] > 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_program_shows_its_state_file_whichever_process_has_it(
    tmp_path: Path, workers: str
) -> None:
    environment = {**KEYS, "UPSTREAM_URL": NOBODY, "STATE_FILE": "state.db", "WORKERS": workers}
    with program(folder=tmp_path, environment=environment | {"KEEP_DAYS": "9"}) as started:
        port = started.port
        for _ in range(4):
            shown = await status(port)
            assert (shown["storage"]["state"], shown["keep_days"]) == ("on", 9)
            assert shown["storage"]["bytes"] > 0


@pytest.mark.parametrize("allowed", [True, False])
async def test_whether_the_admin_may_change_keys_is_shown(tmp_path: Path, allowed: bool) -> None:
    (tmp_path / "keys").write_text("GOOGLE_API_KEY_A=AQ.one\n")
    variables = {"KEYS_FILE": str(tmp_path / "keys"), "ADMIN_WRITES": "on"} if allowed else {}
    here: Proxy
    async with proxy(NOBODY, KEYS, None, **variables) as here:
        assert (await status(here.port))["admin_writes"] is allowed
