"""The state file is opened; or it is not, and then the log says once why, and what to do."""

import asyncio
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from proxycore.storage.rows import Fact, NoStateFileError, RequestFilter
from proxycore.storage.schema import APPLICATION, VERSION
from proxycore.storage.storage import Storage
from tests.support.process import ROOT
from tests.support.storing import fact, put_facts, request, storage
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def _caught(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def numbers(kept: Storage) -> list[int]:
    """The numbers of all requests in the file."""
    page = await kept.requests(RequestFilter(), limit=10_000)
    return sorted(int(row.id.removeprefix("id-")) for row in page.rows)


async def unusable(path: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Tries to use a file that can't be used; returns the one line of the log."""
    async with storage(path) as kept:
        for number in range(3):
            kept.put_request(request(number))
            put_facts(kept, [fact()])
            await kept.flush()
        with pytest.raises(NoStateFileError):
            await kept.requests(RequestFilter())
        assert kept.trouble
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert not record.exc_info
    line = record.getMessage()
    assert line.startswith(f"STATE_FILE: {path} can't be used: ")
    assert line.endswith(kept.trouble)
    return line


async def test_a_new_file_is_for_its_owner_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as kept:
        kept.put_request(request(1))
        await kept.flush()
        assert kept.trouble is None
        assert modes_in(tmp_path) == {0o600}
    assert not caplog.records


async def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o644)
    async with storage(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_directory_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "is a directory; name a file" in await unusable(tmp_path, caplog)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = await unusable(tmp_path / "none" / "state.db", caplog)
    assert f"there is no folder {tmp_path / 'none'}" in line


async def test_a_folder_that_may_not_be_written_to_is_said(caplog: pytest.LogCaptureFixture) -> None:
    # Where not even root can make a file.
    line = await unusable(Path("/sys/kernel/state.db"), caplog)
    assert "can't be written to" in line or "can't be made: Read-only file system" in line


async def test_a_device_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert "not a regular file" in await unusable(Path(os.devnull), caplog)


async def test_a_file_of_a_newer_version_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as kept:
        kept.put_request(request(7))
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    assert "a newer version of this program wrote it" in await unusable(path, caplog)
    assert path.read_bytes() == before


async def test_a_file_of_an_older_version_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as kept:
        kept.put_request(request(1))
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION - 1}")
    connection.close()
    before = path.read_bytes()
    async with storage(path) as kept:
        kept.put_request(request(2))
        assert await numbers(kept) == [2]
        assert kept.trouble is None
    aside = put_aside_in(tmp_path, "old")
    assert aside.read_bytes() == before
    (record,) = caplog.records
    told = (
        f"STATE_FILE: {path} is of an older version of this program; moved it to {aside} and began a new one"
    )
    assert record.getMessage() == told


async def test_a_database_of_another_program_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in await unusable(path, caplog)
    assert path.read_bytes() == before


def modes_in(folder: Path) -> set[int]:
    """The permissions of all files there: SQLite's journal is one of them."""
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def put_aside_in(folder: Path, word: str = "corrupt") -> Path:
    (found,) = folder.glob(f"state.db.{word}-*")
    return found


def spoil_head(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def spoil_schema(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xa5" * 3996
    path.write_bytes(data)


def spoil_tables(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("spoil", [spoil_head, spoil_schema, spoil_tables, cut])
async def test_a_corrupt_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object
) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as kept:
        kept.put_request(request(1))
    assert callable(spoil)
    spoil(path)
    spoiled = path.read_bytes()
    async with storage(path) as kept:
        kept.put_request(request(2))
        await kept.flush()
        await kept.flush()
        assert await numbers(kept) == [2]
        assert kept.trouble is None
    aside = put_aside_in(tmp_path)
    assert aside.read_bytes() == spoiled
    (record,) = caplog.records
    assert f"STATE_FILE: {path} is corrupt; moved it to {aside}" in record.getMessage()


async def test_a_file_that_turns_out_to_be_corrupt_later_loses_no_row_that_comes_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    opened: list[Fact] = []
    async with storage(path, facts=opened) as kept:
        kept.put_request(request(1))
        put_facts(kept, [fact()])
        await kept.flush()
        assert kept._contents
        kept._contents.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept._contents.connection.execute("PRAGMA cache_size = 0")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (path.stat().st_size - 4096))
        kept._contents.connection.execute("PRAGMA shrink_memory")
        kept.put_request(request(2))
        for _ in range(3):
            await kept.flush()
        assert await numbers(kept) == [2]
    assert len(caplog.records) == 1
    assert "is corrupt" in caplog.text


async def test_a_file_that_another_program_has_is_used_once_that_has_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as first:
        put_facts(first, [fact()])
        first.put_request(request(1))
        await first.flush()
        opened: list[Fact] = []
        async with storage(path, facts=opened) as second:
            second.put_request(request(2))
            await second.flush()
            assert "locked by another program" in (second.trouble or "")
            assert not opened
            await first.close()
            await second.flush()
            assert second.trouble is None
            assert await numbers(second) == [1, 2]
            assert opened == [fact()]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.records[1].getMessage() == f"STATE_FILE: {path} is in use again"


async def test_a_full_disk_is_said_once_and_nothing_is_lost_that_there_was_room_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with storage(tmp_path / "state.db") as kept:
        kept.put_request(request(0))
        await kept.flush()
        assert kept._contents
        limit = kept._contents.connection.execute
        pages = limit("PRAGMA page_count").fetchone()[0]
        limit(f"PRAGMA max_page_count = {pages + 2}")
        for number in range(1, 2000):
            kept.put_request(request(number, address=f"192.0.2.{number}"))
            if number % 100 == 0:
                await kept.flush()
        await kept.flush()
        assert "the disk is full; free some space" in (kept.trouble or "")
        assert len(caplog.records) == 1
        assert 0 in await numbers(kept)  # what there is can be read
        limit("PRAGMA max_page_count = 1000000")
        assert await numbers(kept) == list(range(2000))
        assert kept.trouble is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from tests.storage.test_state_file import numbers
from tests.support.storing import request, storage

async def main():
    async with storage(Path(sys.argv[1])) as kept:
        kept.put_request(request(0))
        await kept.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        for number in range(1, 3000):
            kept.put_request(request(number))
            if number % 100 == 0:
                await kept.flush()
        assert kept.trouble, "it was written nevertheless"
        print(kept.trouble)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await kept.flush()
        assert await numbers(kept) == list(range(3000))
        assert kept.trouble is None

asyncio.run(main())
"""


def test_a_file_that_may_grow_no_more_is_tried_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "state.db")]
    told = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * PATIENCE
    )
    assert told.returncode == 0, told.stderr
    assert "the disk" in told.stdout
    assert "Traceback" not in told.stderr


async def test_a_file_that_is_removed_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    async with storage(path) as kept:
        kept.put_request(request(1))
        await kept.flush()
        path.unlink()
        kept.put_request(request(2))
        assert await numbers(kept) == [2]
    async with storage(path) as kept:
        assert await numbers(kept) == [2]
    (record,) = caplog.records
    assert record.getMessage() == f"STATE_FILE: {path} was removed; a new one is begun"


def _stall(hold: threading.Event) -> None:
    hold.wait()


async def test_nobody_waits_for_a_file_that_is_closed(tmp_path: Path) -> None:
    async with storage(tmp_path / "state.db") as kept:
        hold = threading.Event()
        kept._jobs.put(partial(_stall, hold))
        closing = asyncio.create_task(kept.close())
        await asyncio.sleep(0.01)  # until it waits for the thread
        late = asyncio.create_task(numbers(kept))
        await asyncio.sleep(0.01)
        hold.set()
        await closing
        with pytest.raises(NoStateFileError):
            await late
        with pytest.raises(NoStateFileError):
            await numbers(kept)
        await kept.close()


async def test_a_slow_disk_is_never_waited_for(tmp_path: Path) -> None:
    loop, began, hold = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def stall() -> None:
        loop.call_soon_threadsafe(began.set)
        hold.wait()

    async with storage(tmp_path / "state.db") as kept:
        kept._pending._most = 50
        kept._jobs.put(stall)
        await began.wait()
        for number in range(100):
            kept.put_request(request(number))
            put_facts(kept, [fact(stamp=float(number))])
        hold.set()
        assert await numbers(kept) == list(range(50, 100))
        assert kept.dropped == 50


def test_the_file_says_whose_it_is() -> None:
    assert APPLICATION.to_bytes(4, "big") == b"GKPS"
