"""A head that does not come to its end within 20 s is answered 408, however its bytes arrive."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.proxy import proxy
from tests.support.raw_socket import Recorder, raw_client
from tests.support.smuggling import HOST, NEXT, NEXT_PATH
from tests.support.strict_http import read_responses

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.turned, pytest.mark.timeout(seconds=600)]

LINE = b"GET " + NEXT_PATH + b" HTTP/1.1\r\n"
AFTER_ONE = NEXT.replace(b"Connection: close\r\n", b"") + LINE


def statuses(data: bytes) -> list[int]:
    answered = read_responses(data, closed=True)
    assert answered.whole
    return [one.status for one in answered.messages]


@pytest.mark.parametrize("begun", [b"G", LINE, LINE + HOST, LINE + HOST + b"X: y\r\n", LINE + HOST + b"\r"])
async def test_an_unfinished_head_is_answered_408(begun: bytes) -> None:
    async with Recorder() as upstream, proxy(upstream.url) as here, raw_client(here.port) as client:
        client.write(begun)
        await asyncio.sleep(15)
        assert not client.gone.is_set()
        await asyncio.sleep(15)
        assert client.gone.is_set()
        assert statuses(bytes(client.data)) == [408]
        assert upstream.take() == []


def drops() -> Iterator[bytes]:
    """A head that never ends, in pieces."""
    yield LINE + HOST
    while True:
        yield b"X: y\r\n"


async def test_a_byte_now_and_then_does_not_make_it_longer() -> None:
    async with Recorder() as upstream, proxy(upstream.url) as here, raw_client(here.port) as client:
        for _, drop in zip(range(30), drops(), strict=False):
            client.write(drop)
            await asyncio.sleep(1)
        assert client.gone.is_set()
        assert statuses(bytes(client.data)) == [408]


async def test_the_second_head_of_a_connection_has_no_longer_than_the_first() -> None:
    async with Recorder() as upstream, proxy(upstream.url) as here, raw_client(here.port) as client:
        client.write(AFTER_ONE)
        await asyncio.sleep(30)
        assert client.gone.is_set()
        assert statuses(bytes(client.data)) == [200, 408]


async def test_a_connection_on_which_nothing_was_asked_is_not_answered() -> None:
    async with Recorder() as upstream, proxy(upstream.url) as here, raw_client(here.port) as client:
        await asyncio.sleep(200)
        assert client.gone.is_set()
        assert client.data == b""
