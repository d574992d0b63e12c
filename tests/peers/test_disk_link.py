"""The state file as a peer: what one run has learned, the next one knows, by its own clock."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxycore.peers.disk_link import DiskLink
from proxycore.peers.store import Store
from proxycore.peers.update import Update, UpdateKind
from proxycore.storage.storage import Storage
from tests.support.clocks import TurnedClock
from tests.support.storing import NOW

GOOGLE = "https://generativelanguage.googleapis.com"


@contextlib.asynccontextmanager
async def run(path: Path, clock: TurnedClock, upstream: str = GOOGLE) -> AsyncIterator[Store]:
    """The store of one run of the program."""
    store = Store(clock)
    link = DiskLink(Storage(path, 86400.0, clock, str, interval=600.0, retry=0.0), store, clock, upstream)
    await link.start()
    try:
        yield store
    finally:
        await link.close()


def update(
    kind: UpdateKind = UpdateKind.MODEL,
    about: str = "gemini-2.5-pro",
    value: object = 1,
    *,
    stamp: float,
    lasts: float = 600.0,
) -> Update:
    key = "" if kind in (UpdateKind.OUTAGE, UpdateKind.SEARCH) else "0123456789abcdef01234567"
    return Update(kind, key, about, value, stamp, stamp + lasts, (stamp + lasts / 2,))


async def test_the_next_run_knows_all_that_still_holds(tmp_path: Path) -> None:
    path, clock = tmp_path / "state.db", TurnedClock(NOW)
    lasting = [update(kind, f"about: {kind}", stamp=NOW + n) for n, kind in enumerate(UpdateKind)]
    async with run(path, clock) as store:
        clock.turn(20)
        store.publish([*lasting, update(about="short", stamp=NOW, lasts=30)])
    async with run(path, TurnedClock(NOW + 60)) as store:
        assert store.snapshot() == [one for one in lasting if one.kind is not UpdateKind.CALL]


async def test_the_newest_of_a_topic_is_what_the_next_run_knows(tmp_path: Path) -> None:
    path, clock = tmp_path / "state.db", TurnedClock(NOW)
    async with run(path, clock) as store:
        store.publish([update(value=["spent", 1, False], stamp=NOW)])
    async with run(path, clock) as store:
        clock.turn(5)
        store.publish([update(value=None, stamp=NOW + 5)])
    async with run(path, clock) as store:
        assert [one.value for one in store.snapshot()] == [None]


async def test_what_one_upstream_has_taught_is_not_believed_of_another(tmp_path: Path) -> None:
    path, clock = tmp_path / "state.db", TurnedClock(NOW)
    async with run(path, clock, "http://127.0.0.1:8001") as store:
        store.publish([update(stamp=NOW)])
    async with run(path, clock) as store:
        assert store.snapshot() == []
    async with run(path, clock, "http://127.0.0.1:8001") as store:
        assert len(store.snapshot()) == 1


async def test_times_are_those_of_the_wall_clock(tmp_path: Path) -> None:
    """The wall clock was set forward by an hour while the first run went on; its moments were not."""
    path, clock = tmp_path / "state.db", TurnedClock(NOW)
    async with run(path, clock) as store:
        clock.set_wall(3600)
        clock.compare()
        store.publish([update(stamp=NOW)])
    async with run(path, TurnedClock(NOW + 3600 + 10)) as store:
        assert store.snapshot() == [update(stamp=NOW + 3600)]


@pytest.mark.parametrize("back", [3600.0, 30 * 86400.0])
async def test_what_was_found_before_the_clock_was_set_back_can_be_replaced(
    tmp_path: Path, back: float
) -> None:
    path = tmp_path / "state.db"
    async with run(path, TurnedClock(NOW)) as store:
        store.publish([update(stamp=NOW)])
    now = NOW - back
    async with run(path, TurnedClock(now)) as store:
        assert store.snapshot() == [update(stamp=now)]
        store.publish([update(value=None, stamp=now + 0.5)])
    async with run(path, TurnedClock(now + 1)) as store:
        assert store.snapshot() == [update(value=None, stamp=now + 0.5)]


async def test_a_file_that_is_begun_anew_gets_what_is_known(tmp_path: Path) -> None:
    path, clock = tmp_path / "state.db", TurnedClock(NOW)
    async with run(path, clock) as store:
        store.publish([update(stamp=NOW)])
    path.write_bytes(b"corrupt" * 1000)
    store, storage = Store(clock), Storage(path, 86400.0, clock, str, interval=600.0, retry=0.0)
    store.publish([update(about="other", stamp=NOW)])
    link = DiskLink(storage, store, clock, GOOGLE)
    await link.start()
    await link.close()
    async with run(path, clock) as store:
        assert store.snapshot() == [update(about="other", stamp=NOW)]


async def test_without_a_file_the_store_goes_on(tmp_path: Path) -> None:
    clock = TurnedClock(NOW)
    async with run(tmp_path, clock) as store:  # a directory
        store.publish([update(stamp=NOW)])
        assert store.snapshot() == [update(stamp=NOW)]
