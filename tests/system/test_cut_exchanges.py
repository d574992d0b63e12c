"""Exchanges cut at every byte, by FIN and by RST, on either side: nothing seems whole, hangs, or leaks."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.exchanges import EXCHANGES, FAILOVER, Exchange, Trials, all_closed
from tests.support.process import Program
from tests.support.raw_socket import OK, Cut, Recorder, always, raw_client, running
from tests.support.smuggling import NEXT
from tests.support.waiting import until

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=240)]


def sockets(program: Program) -> int:
    """How many sockets its process has open."""
    found = 0
    for descriptor in Path(f"/proc/{program.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


@contextlib.asynccontextmanager
async def trials(folder: Path, **environment: str) -> AsyncIterator[tuple[Trials, Recorder]]:
    """The program between clients and an upstream, with as many sockets in the end as in the beginning."""
    async with Recorder() as upstream, running(folder, upstream.url, **environment) as here:
        before = sockets(here)
        found = Trials(upstream, here.port)
        yield found, upstream
        await all_closed(upstream)
        upstream.watch = lambda _: None
        upstream.respond = always(OK)
        async with raw_client(here.port) as client:
            client.write(NEXT)
            await client.over()
            assert client.data.startswith(b"HTTP/1.1 200 ")
        upstream.hang_up()
        await until(lambda: sockets(here) <= before)
    assert not found.problems, f"{len(found.problems)}:\n" + "\n".join(found.problems[:40])


def places(more: int = 0) -> Iterator[tuple[str, Exchange, int, Cut]]:
    """Every byte of every response, and with `more` its end."""
    for name, exchange in EXCHANGES.items():
        for at in range(len(exchange.response) + more):
            for how in Cut:
                yield name, exchange, at, how


async def test_a_response_that_is_cut_is_never_ended_as_if_it_were_whole(tmp_path: Path) -> None:
    async with trials(tmp_path) as (found, _):
        await found.run(partial(found.response_cut, *place) for place in places(more=1))


async def test_a_request_that_is_cut_never_goes_upstream_as_if_it_were_whole(tmp_path: Path) -> None:
    async with trials(tmp_path) as (found, _):
        await found.run(
            partial(found.request_cut, name, exchange, at, how)
            for name, exchange in EXCHANGES.items()
            for at in range(len(exchange.request % 1))
            for how in Cut
        )


async def test_a_client_that_leaves_at_any_byte_ends_its_upstream_request(tmp_path: Path) -> None:
    async with trials(tmp_path) as (found, _):
        await found.run(partial(found.client_leaves, *place) for place in places())


async def test_an_upload_that_the_upstream_cuts_at_any_byte_is_told_as_such(tmp_path: Path) -> None:
    async with trials(tmp_path) as (found, upstream):
        for at in range(1, 260):
            for how in Cut:
                await found.upload_cut(at, how, upstream)


async def test_a_refusal_that_is_cut_at_any_byte_is_followed_by_the_next_key_or_an_error(
    tmp_path: Path,
) -> None:
    async with trials(tmp_path, MAX_ATTEMPTS="2") as (found, _):
        await found.run(
            partial(found.first_response_cut, at, how)
            for at in range(len(FAILOVER.response) + 1)
            for how in Cut
        )
