"""Rows of a worker arrive at the state file of the hub as they were, and malformed ones are no batch."""

import asyncio
import base64
import marshal
import socket
import tempfile
from pathlib import Path

import pytest

from proxycore.http.access_record import RequestOutcome
from proxycore.peers import worker_link
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.hub import Hub
from proxycore.peers.link_messages import decode, encode
from proxycore.peers.row_batch import RowBatch, RowBuffer
from proxycore.peers.store import Store
from proxycore.peers.worker_link import WorkerLink
from proxycore.stats.meter import Meter
from proxycore.storage.rows import AttemptRow, EventFilter, EventKind, EventRow, RequestFilter
from tests.support.clocks import TurnedClock
from tests.support.storing import NOW, request, storage
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("io_loop")
FULL = request(
    1,
    outcome=RequestOutcome.FAILED,
    input_tokens=5,
    unread=True,
    first_byte=0.5,
    seconds=1,
    why="No key is available",
    waited=1.5,
    attempts=(
        AttemptRow("first", 429, "failover", "quota", 0.1, 0),
        AttemptRow("second", 200, "served", "", 2, 1.25),
    ),
)
EVENTS = [
    EventRow(NOW, EventKind.BENCHED, "first", "gemini-2.5-flash", "quota", "id-1", NOW + 60),
    EventRow(NOW, EventKind.RELOADED, why="1 key"),
]


def test_a_batch_is_decoded_as_it_was() -> None:
    batch = RowBatch([FULL, request(2)], EVENTS)
    assert decode(encode(batch)) == batch


@pytest.mark.parametrize("spoil", [lambda row: row.pop(), lambda row: row.__setitem__(4, 5.5), list.clear])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_batch_with_a_malformed_row_is_no_message(kind: int, spoil: object) -> None:
    content = marshal.loads(base64.b64decode(encode(RowBatch([FULL], EVENTS))[1:]))  # noqa: S302 - of ours
    assert callable(spoil)
    row = [*content[kind][0]]
    spoil(row)
    content[kind][0] = tuple(row)
    with pytest.raises(ValueError, match="not a row"):
        decode(b"#" + base64.b64encode(marshal.dumps(content)))


@pytest.mark.parametrize("content", [b"#", b"#!", b"#" + base64.b64encode(b"(("), b"#TnVsbA==", b"#6QUAAAA="])
def test_what_is_no_batch_is_no_message(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a row"):
        decode(content)


def test_a_buffer_keeps_the_latest_rows_and_gives_them_once() -> None:
    buffer = RowBuffer()
    assert buffer.take() is None
    for number in range(20_005):
        buffer.put_request(request(number))
    batch = buffer.take()
    assert batch
    assert (len(batch.requests), batch.requests[0].id) == (20_000, "id-5")
    assert buffer.take() is None


async def test_rows_of_workers_are_in_the_file_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "_ROWS_EVERY", 0.01)
    clock = TurnedClock(NOW)
    with tempfile.TemporaryDirectory() as folder:
        path, listener = Path(folder, "hub"), socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        async with storage(Path(folder, "state.db"), clock) as kept:
            hub = Hub(lambda _: None, clock, lambda store: DiskLink(kept, store, clock))
            await hub.start(listener)
            links = [WorkerLink(path, Store(clock), Meter(clock)) for _ in range(2)]
            for number, link in enumerate(links):
                await link.start()
                link.rows.put_request(request(number))
            links[0].rows.put_event(EVENTS[0])
            links[1].rows.put_event(EVENTS[1])
            async with asyncio.timeout(PATIENCE):
                while len((await kept.requests(RequestFilter())).rows) < 2:
                    await kept.flush()
            links[1].rows.put_request(FULL)
            await asyncio.gather(*(link.close() for link in links))  # which sends what is left
            async with asyncio.timeout(PATIENCE):
                while len((rows := await kept.requests(RequestFilter())).rows) < 3:
                    await kept.flush()
            assert rows.rows[0] == FULL
            assert {row.kind for row in (await kept.events(EventFilter())).rows} == {
                EventKind.BENCHED,
                EventKind.RELOADED,
            }
            await hub.close()
