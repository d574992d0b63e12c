"""A body that passes through: every byte in order, one chunk at a time, and nobody left waiting."""

import asyncio
import itertools

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxycore.transport.request_body import RequestBodyStream
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("io_loop")


async def settle() -> None:
    """Lets everything happen that can happen at once."""
    for _ in range(5):
        await asyncio.sleep(0)


async def take_all(feed: RequestBodyStream, sizes: list[int]) -> bytes:
    """Takes as a connection does: until there is nothing, and again when it is told that there is more."""
    told, body = asyncio.Event(), b""
    feed.on_readable(told.set)
    for size in itertools.cycle(sizes):
        while (piece := feed.read(size)) is None:
            await told.wait()
            told.clear()
        assert len(piece) <= size
        if not piece:
            return body
        body += piece
        await asyncio.sleep(0)
    raise AssertionError


def passed(chunks: list[bytes], sizes: list[int]) -> tuple[bytes, int]:
    """What comes out, and how often more than one chunk was under way."""
    too_many = 0

    async def both() -> bytes:
        nonlocal too_many
        feed = RequestBodyStream(None)
        taker = asyncio.ensure_future(take_all(feed, sizes))
        for chunk in chunks:
            await feed.put(chunk)
            too_many += feed.blocked
        feed.end()
        return await taker

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(both(), PATIENCE)), too_many
    finally:
        loop.close()


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None, phases=[Phase.generate])  # shrinking what hangs takes minutes
def test_every_byte_comes_out_in_order(chunks: list[bytes], sizes: list[int]) -> None:
    assert passed(chunks, sizes) == (b"".join(chunks), 0)


@pytest.mark.parametrize("length", [None, 0, 12345])
def test_it_tells_its_length(length: int | None) -> None:
    assert RequestBodyStream(length).length == length


async def test_the_client_waits_until_its_chunk_is_taken_to_the_end() -> None:
    feed = RequestBodyStream(None)
    putting = asyncio.ensure_future(feed.put(b"abcdef"))
    await settle()
    assert feed.blocked
    assert feed.read(4) == b"abcd"
    await settle()
    assert not putting.done()
    assert feed.blocked
    assert feed.read(4) == b"ef"
    await asyncio.wait_for(putting, PATIENCE)
    assert not feed.blocked


async def test_an_empty_chunk_is_not_the_end() -> None:
    feed = RequestBodyStream(None)
    await asyncio.wait_for(feed.put(b""), PATIENCE)
    assert not feed.blocked
    assert feed.read(9) is None


async def test_the_end_is_told_again_and_again() -> None:
    feed = RequestBodyStream(0)
    feed.end()
    assert [feed.read(9), feed.read(9)] == [b"", b""]
    assert not feed.starved


async def test_the_end_does_not_overtake_what_is_under_way() -> None:
    feed = RequestBodyStream(None)
    putting = asyncio.ensure_future(feed.put(b"abc"))
    await settle()
    feed.end()
    assert [feed.read(2), feed.read(2), feed.read(2)] == [b"ab", b"c", b""]
    await asyncio.wait_for(putting, PATIENCE)


async def test_more_is_told_once_and_only_to_who_had_nothing() -> None:
    feed, told = RequestBodyStream(None), 0

    def more() -> None:
        nonlocal told
        told += 1

    feed.on_readable(more)
    putting = asyncio.ensure_future(feed.put(b"abc"))
    await settle()
    assert (told, feed.starved) == (0, False)  # nobody asked yet
    assert feed.read(9) == b"abc"
    await putting
    assert (feed.read(9), feed.starved, told) == (None, True, 0)
    putting = asyncio.ensure_future(feed.put(b"def"))
    await settle()
    assert (feed.starved, told) == (False, 1)
    assert feed.read(9) == b"def"
    await putting
    assert feed.read(9) is None
    feed.end()
    assert (feed.starved, told) == (False, 2)
    feed.end()
    assert told == 2


async def test_what_is_taken_at_once_when_it_is_told_leaves_nobody_waiting() -> None:
    feed, taken = RequestBodyStream(None), list[bytes | None]()
    feed.on_readable(lambda: taken.append(feed.read(9)))
    assert feed.read(9) is None
    await asyncio.wait_for(feed.put(b"abc"), PATIENCE)
    assert taken == [b"abc"]
    assert not feed.blocked


async def test_who_had_nothing_before_it_was_connected_finds_it_by_itself() -> None:
    feed = RequestBodyStream(None)
    assert feed.read(9) is None
    putting = asyncio.ensure_future(feed.put(b"abc"))
    await settle()
    assert feed.read(9) == b"abc"
    await asyncio.wait_for(putting, PATIENCE)


async def test_dropping_lets_the_client_go_on_and_holds_nothing() -> None:
    feed, told = RequestBodyStream(None), list[None]()
    feed.on_readable(lambda: told.append(None))
    assert feed.read(9) is None
    putting = asyncio.ensure_future(feed.put(b"abc"))
    await settle()
    feed.drop()
    await asyncio.wait_for(putting, PATIENCE)
    assert not feed.blocked
    assert feed.read(9) is None
    told.clear()
    await asyncio.wait_for(feed.put(b"def"), PATIENCE)
    feed.end()
    feed.drop()
    assert told == []
    assert feed.read(9) == b""


async def test_a_client_that_goes_away_does_not_leave_it_blocked() -> None:
    feed = RequestBodyStream(None)
    putting = asyncio.ensure_future(feed.put(b"abc"))
    await settle()
    putting.cancel()
    await settle()
    assert putting.cancelled()
    assert not feed.blocked
    feed.drop()
    assert feed.read(9) is None
