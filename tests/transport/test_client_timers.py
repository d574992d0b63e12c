"""What time does to connections and attempts."""

import asyncio

import pytest

from proxycore.transport.connection_pool import IDLE_SECONDS
from tests.support.attempts import client, failure, fetch
from tests.support.waiting import until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, chunk, connections_to

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nhello"
pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.turned]


async def test_idle_connections_are_closed_in_time_by_one_timer() -> None:
    async with RawUpstream(always(PLAIN)) as upstream, client(upstream.url) as here:
        await asyncio.gather(fetch(here, fresh=True), fetch(here, fresh=True))
        await asyncio.sleep(IDLE_SECONDS / 2)
        await fetch(here)
        await asyncio.sleep(IDLE_SECONDS * 0.6)
        assert here.connections == 1
        await asyncio.sleep(IDLE_SECONDS / 2)
        assert here.connections == 0
        await until(lambda: connections_to(upstream.port) == 0)


@pytest.mark.parametrize(
    ("data", "seconds"), [(b"", 50), (OK, 50), (CHUNKED, 20), (CHUNKED + chunk(b"x"), 20)]
)
async def test_an_upstream_that_falls_silent_is_left_in_time(data: bytes, seconds: float) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.sleep(3600)

    async with RawUpstream(script) as upstream:
        async with client(upstream.url, first_byte_timeout=50.0, idle_timeout=20.0) as here:
            began = asyncio.get_running_loop().time()
            error = await failure(here)
            passed = asyncio.get_running_loop().time() - began
    assert str(error) == f"The upstream timed out: no data for {seconds:g} seconds."
    assert (error.sent, error.is_timeout) == (True, True)
    assert seconds <= passed < seconds + 5
