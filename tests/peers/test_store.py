"""The store keeps what holds, and passes on what is new."""

from collections.abc import Sequence

import pytest

from proxycore.peers.store import Store
from proxycore.peers.update import Update
from tests.support.clocks import TurnedClock


def update(
    about: str = "m", value: object = 1, stamp: float = 1.0, *, kind: str = "model", key: str = "1"
) -> Update:
    return Update(kind, key, about, value, stamp, 1_800_000_100.0)


class Reader:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.read: list[Update] = []

    def __call__(self, updates: Sequence[Update]) -> None:
        self.read.extend(updates)

    def method(self, updates: Sequence[Update]) -> None:
        self(updates)


def test_an_update_is_the_same_when_it_is_decoded() -> None:
    for value in (None, 1.5, ["reason", 2, True], {"quotas": {"a": [1, None]}}):
        told = update("gemini 2.5 / «x»", value)
        assert Update.decode(told.encode()) == told
    assert b"\n" not in update("two\nlines").encode()


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'["a","b","c",1,"x",2]', b"\xff", b"[" * 10_000])
def test_what_is_no_update_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever kind of it
        Update.decode(line)


def test_what_is_new_is_passed_on_to_all_but_its_source() -> None:
    store, one, other = Store(TurnedClock()), Reader(), Reader()
    store.subscribe(one.method)
    store.subscribe(other)
    store.publish([update()], one.method)
    assert (one.read, other.read) == ([], [update()])
    store.unsubscribe(other)
    store.publish([update(stamp=2.0)])
    assert (one.read, other.read) == ([update(stamp=2.0)], [update()])


def test_the_newest_holds_and_an_older_one_that_comes_late_does_not() -> None:
    store, reader = Store(TurnedClock()), Reader()
    store.subscribe(reader)
    store.publish([update(value=None, stamp=2.0)])
    store.publish([update(value=1, stamp=1.0), update(value=None, stamp=2.0)])
    assert store.snapshot() == reader.read == [update(value=None, stamp=2.0)]


def test_a_resource_has_one_owner() -> None:
    store = Store(TurnedClock())
    store.publish(
        [update("files/a", kind="owner", key="1"), update("files/a", stamp=2.0, kind="owner", key="2")]
    )
    assert [known.key for known in store.snapshot()] == ["2"]


def test_what_has_expired_is_forgotten() -> None:
    clock = TurnedClock()
    store = Store(clock)
    store.publish([update()])
    clock.turn(100)
    assert store.snapshot() == []
    store.publish([update(stamp=5.0)])
    assert store.snapshot() == []


def test_the_snapshot_is_in_the_order_in_which_updates_were_found() -> None:
    store = Store(TurnedClock())
    store.publish([update("a", stamp=3.0), update("b", stamp=1.0), update("c", stamp=2.0)])
    assert [known.about for known in store.snapshot()] == ["b", "c", "a"]


def test_the_store_does_not_grow_without_end() -> None:
    store = Store(TurnedClock(), capacity=1000)
    store.publish([update(f"invented-{number}", stamp=float(number)) for number in range(10_000)])
    kept = store.snapshot()
    assert len(kept) <= 2000
    assert kept[-1].about == "invented-9999"
