"""Messages between a worker and the hub: decoded strictly, whole at any size, held back from a slow peer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxycore.peers import channel
from proxycore.peers.channel import Channel
from proxycore.peers.hub import Hub
from proxycore.peers.link_messages import Message, Question, Report, Synced, decode, encode
from proxycore.peers.store import Store
from proxycore.peers.update import Update
from proxycore.peers.worker_link import WorkerLink
from proxycore.stats.meter import Meter
from tests.support.clocks import CLOCK
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("io_loop")


def update(number: int, size: int = 0) -> Update:
    return Update("owner", "0", f"files/{number}", "x" * size, float(number), 1e12)


@asynccontextmanager
async def running_hub(path: Path) -> AsyncIterator[None]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    hub = Hub(lambda _: None, CLOCK)
    await hub.start(listener)
    yield
    await hub.close()


@asynccontextmanager
async def channels(store: Store, other: Store, got: list[Message]) -> AsyncIterator[tuple[Channel, Channel]]:
    """Both ends of a connection; what the second gets is in `got`, but for updates."""
    loop = asyncio.get_running_loop()
    ends = socket.socketpair()
    _, one = await loop.create_unix_connection(lambda: Channel(store, lambda *_: None), sock=ends[0])
    _, two = await loop.create_unix_connection(
        lambda: Channel(other, lambda _, message: got.append(message)), sock=ends[1]
    )
    yield one, two
    await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize(
    "message",
    [
        update(1, 5),
        Synced(),
        Question(7),
        Report([], []),
        Report([("attempts", ("1", "2xx"), 2), ("lag.sum", (), 0.5)], [{"running": 1, "streams": [{}]}], 7),
    ],
)
def test_a_message_is_the_same_when_it_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message
    assert b"\n" not in encode(message)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}", b"[1]", b"3", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"question": "1"}'),
        b'{"synced": false}',
        b'{"counts": [], "processes": [], "answers": "1"}',
        b'{"counts": {}, "processes": [], "answers": null}',
        b'{"counts": [], "processes": [3], "answers": null}',
        b'{"counts": [["a", ["b"]]], "processes": [], "answers": null}',
        b'{"counts": [["a", [3], 1]], "processes": [], "answers": null}',
        b'{"counts": [["a", ["b"], "1"]], "processes": [], "answers": null}',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which of its reasons does not matter
        decode(line)


async def test_what_is_no_message_does_no_harm_to_those_around_it(tmp_path: Path) -> None:
    path = tmp_path / "hub"
    async with running_hub(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"\xff\n{}\n\n" + encode(update(1)) + b"\n[3]\n" + encode(Question(1)) + b"\n")
        while not isinstance(message := decode(await reader.readline()), Report):
            pass
        assert message.answers == 1
        store = Store(CLOCK)
        link = WorkerLink(path, store, Meter(CLOCK))
        await link.start()
        assert store.snapshot() == [update(1)]
        await link.close()
        writer.close()


async def test_a_message_of_many_megabytes_arrives_whole() -> None:
    got: list[Message] = []
    async with channels(Store(CLOCK), Store(CLOCK), got) as (one, _):
        large = Report([("attempts", (str(n), "x" * 200), n) for n in range(60_000)], [], None)
        one.send(large, Question(1))
        await until(lambda: Question(1) in got)
        assert large in got


async def test_a_line_without_end_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(channel, "_LONGEST_LINE", 100_000)
    async with running_hub(tmp_path / "hub"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "hub"))
        writer.write(b"x" * 200_000)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()


async def test_a_peer_that_reads_too_slowly_gets_what_it_missed_once_it_reads_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_LARGEST_BACKLOG", 1_000_000)
    store, other = Store(CLOCK), Store(CLOCK)
    async with channels(store, other, []) as (one, two):
        vars(two)["_transport"].pause_reading()
        for number in range(3000):
            store.publish([update(number, 1000)])
        transport = vars(one)["_transport"]
        assert one.is_paused
        assert transport.get_write_buffer_size() < 1_100_000
        assert len(other.snapshot()) < 3000
        vars(two)["_transport"].resume_reading()
        await until(lambda: len(other.snapshot()) == 3000)
        assert not one.lost.is_set()
        store.publish([update(3000)])
        await until(lambda: len(other.snapshot()) == 3001)


async def test_a_newcomer_gets_a_snapshot_that_is_larger_than_what_may_be_left_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_LARGEST_BACKLOG", 100_000)
    store, other = Store(CLOCK), Store(CLOCK)
    store.publish([update(number, 1000) for number in range(2000)])
    async with channels(store, other, []):
        store.publish([update(2000)])
        await until(lambda: len(other.snapshot()) == 2001)


async def test_a_question_on_a_connection_that_ends_has_no_report() -> None:
    async with channels(Store(CLOCK), Store(CLOCK), []) as (one, two):
        asked = one.ask()
        await two.close()
        assert await asked is None
        await one.lost.wait()
        assert await one.ask() is None


async def test_a_worker_counts_on_while_the_hub_is_away() -> None:
    meter = Meter(CLOCK)
    meter.unread()
    link = WorkerLink(Path("/nowhere"), Store(CLOCK), meter)
    await link.close()
    assert meter.counters.entries() == [("unread", (), 1)]


async def test_a_peer_that_does_not_read_holds_up_the_end_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_CLOSE_TIMEOUT", 0.1)
    store = Store(CLOCK)
    async with channels(store, Store(CLOCK), []) as (one, two):
        vars(two)["_transport"].pause_reading()
        store.publish([update(number, 1000) for number in range(3000)])
        await one.close()
        await until(one.lost.is_set)
