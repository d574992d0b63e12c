"""Connections to the upstream: which are kept, which are not used again, and when they are closed."""

import asyncio
import socket

import pytest

from proxycore.transport.messages import UpstreamError
from tests.support.attempts import ON_EITHER_LOOP, attempt, client, fetch
from tests.support.waiting import until
from tests.support.wire import RawUpstream, Seen, always, connections_to

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = ON_EITHER_LOOP


async def test_requests_at_the_same_time_have_a_connection_each_and_later_ones_use_these() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(PLAIN)

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        for _ in range(3):
            await asyncio.gather(*(fetch(here) for _ in range(4)))
        assert (upstream.connections, here.connections) == (4, 4)


async def test_a_fresh_connection_is_a_new_one() -> None:
    async with RawUpstream(always(PLAIN)) as upstream, client(upstream.url) as here:
        for number in range(1, 4):
            await fetch(here, fresh=True)
            assert upstream.connections == number


@pytest.mark.parametrize("last", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["silently", "with 408"])
async def test_a_kept_connection_that_the_upstream_closes_is_not_used_again(last: bytes) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN)
        await asyncio.sleep(0.02)
        writer.write(last)
        writer.close()

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        await fetch(here)
        await until(lambda: here.connections == 0)
        await fetch(here)
        assert upstream.connections == 2


async def test_a_close_that_the_loop_has_not_seen_yet_is_seen_before_the_connection_is_used() -> None:
    async with RawUpstream(always(PLAIN)) as upstream, client(upstream.url) as here:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            here.origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            first = asyncio.ensure_future(fetch(here))
            await until(lambda: connections_to(listener.getsockname()[1]) > 0)
            accepted, _ = listener.accept()
            await asyncio.sleep(0.05)
            accepted.sendall(PLAIN)
            await first
            here.origin = upstream.url
            accepted.close()  # in this turn of the loop
            assert (await fetch(here))[1] == b"hello"
        assert len(upstream.seen) == 1


async def test_a_request_that_meets_a_close_is_sent_once() -> None:
    # It may have been received, so that repeating it is for others to decide.
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target == "/x":
            writer.write(PLAIN)
        else:
            writer.transport.abort()

    async with RawUpstream(script) as upstream, client(upstream.url) as here:
        await fetch(here)
        with pytest.raises(UpstreamError, match="broke off") as told:
            await fetch(here, target="/y")
        assert told.value.sent
        assert [seen.target for seen in upstream.seen] == ["/x", "/y"]
        assert upstream.connections == 1


async def test_a_new_route_uses_no_connection_of_the_former() -> None:
    async with RawUpstream(always(PLAIN)) as one, RawUpstream(always(PLAIN)) as other:
        async with client(one.url) as here:
            await fetch(here)
            here.set_route(here.route)
            await fetch(here)
            assert one.connections == 1  # nothing has changed
            running = attempt(here)
            await running.head()
            here.set_route(type(here.route)(url=other.url))
            await running.read(100)
            running.end()
            await fetch(here)
            assert (len(one.seen), len(other.seen), here.connections) == (3, 1, 1)
