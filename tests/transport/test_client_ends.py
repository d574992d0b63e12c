"""Backpressure, fairness, and how attempts end or fail to begin."""

import asyncio
import contextlib
import socket

import pytest

from proxycore.transport.messages import UpstreamError
from tests.support.attempts import ON_EITHER_LOOP, StalledSink, attempt, client, failure, fetch, steady
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, chunk, connections_to

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = ON_EITHER_LOOP


@pytest.mark.parametrize("size", [1, 100, 65536])
async def test_a_sink_that_cant_take_more_stops_the_upstream(size: int) -> None:
    total, sent = 60_000_000, 0
    piece = chunk(b"x" * size) * max(1, 65536 // size)

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while sent < total:
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        one, sink = attempt(here), StalledSink()
        await one.head()
        relayed = asyncio.ensure_future(one.relay(sink))
        await steady(lambda: sent)
        assert sent < total
        assert sink.got + len(one._held) <= 2**18
        sink.free.set_result(None)
        await relayed
        one.end()
        assert sink.got == sent // len(piece) * size * max(1, 65536 // size)


async def test_a_fast_response_leaves_the_others_their_turns() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target == "/fast":
            writer.write(answer(200, bytes(30_000_000)))
        else:
            writer.write(PLAIN)

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        fast = attempt(here, target="/fast")
        await fast.head()
        turns, got = 0, 0

        def sink(data: bytes) -> None:
            nonlocal got
            got += len(data)

        relayed = asyncio.ensure_future(fast.relay(sink))
        while not relayed.done():
            before = got
            await asyncio.sleep(0)
            turns += 1
            assert got - before <= 2**20
        fast.end()
        assert (got, turns >= 30) == (30_000_000, True)


ENDS = {"before the head": b"", "inside the head": OK, "inside the body": CHUNKED + chunk(b"one")}


@pytest.mark.parametrize("data", ENDS.values(), ids=ENDS)
async def test_an_attempt_can_be_ended_in_every_phase(data: bytes) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.sleep(3600)

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        one = attempt(here)
        head = asyncio.ensure_future(one.head())
        await until(lambda: bool(upstream.seen))
        await asyncio.sleep(0.02)
        one.end()
        assert (here.busy, here.connections) == (0, 0)
        await until(lambda: upstream.seen[0].closed is not None)
        with contextlib.suppress(UpstreamError):
            await head


async def test_an_attempt_can_be_ended_by_its_own_sink() -> None:
    async with RawUpstream(always(CHUNKED + chunk(b"one") + chunk(b"two"))) as upstream:
        async with client(upstream.url) as here:
            one, got = attempt(here), list[bytes]()

            def sink(data: bytes) -> None:
                got.append(data)
                one.end()

            await one.head()
            with pytest.raises(UpstreamError, match="broke off"):
                await one.relay(sink)
            assert got == [b"onetwo"]
            assert here.connections == 0
            await until(lambda: connections_to(upstream.port) == 0)


@pytest.mark.parametrize("seconds", [0.1, 3600])
async def test_a_connection_that_is_not_made(seconds: float) -> None:
    # A listener that accepts nothing, with its queue full: the kernel lets further connections hang.
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        before = connections_to(port)
        async with client(f"http://127.0.0.1:{port}", connect_timeout=seconds) as here:
            if seconds < 1:
                error = await failure(here)
                told = "The upstream could not be reached: no connection within CONNECT_TIMEOUT."
                assert (str(error), error.sent, error.is_timeout) == (told, False, False)
            else:
                one = attempt(here)
                head = asyncio.ensure_future(one.head())
                await until(lambda: connections_to(port) > before)
                one.end()
                with pytest.raises(UpstreamError):
                    await head
            await until(lambda: connections_to(port) == before)


async def test_a_refused_connection_and_an_unknown_name_are_told_apart() -> None:
    async with client("http://127.0.0.1:9") as here:
        refused = await failure(here)
    assert str(refused) == "The upstream could not be reached: no connection to its address."
    async with client("http://no..name") as here:
        unknown = await failure(here)
    assert str(unknown) == "The upstream could not be reached: its name can't be resolved."
    assert not refused.sent
    assert not unknown.sent


async def test_names_are_resolved_and_every_address_is_tried() -> None:
    # ::1 may come first, where nothing listens.
    async with RawUpstream(always(PLAIN)) as upstream:
        async with client(upstream.url.replace("127.0.0.1", "localhost")) as here:
            assert (await fetch(here))[1] == b"hello"
