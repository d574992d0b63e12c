"""Attempts without a proxy around them: what the client of the upstream does on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import uvloop

from proxycore.transport.attempt import Attempt
from proxycore.transport.held_body import HeldBody
from proxycore.transport.messages import Outgoing, UpstreamError
from proxycore.transport.request_body import RequestBodyStream
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.upstream import Route, Upstream

ON_EITHER_LOOP = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.parametrize(
        "io_loop",
        [asyncio.new_event_loop, uvloop.new_event_loop],
        ids=["asyncio", "uvloop"],
        indirect=True,
    ),
]
"""Marks a module's tests, which then run on each kind of loop that the program runs on."""

KEY = ("x-goog-api-key", "a-key")


@contextlib.asynccontextmanager
async def client(url: str, **route: float | str) -> AsyncIterator[Upstream]:
    """A client for this address, closed at the end."""
    upstream = Upstream(replace(Route(url=url), **route))  # type: ignore[arg-type]
    try:
        yield upstream
    finally:
        assert not upstream.busy
        upstream.close()
        assert not upstream.connections
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def attempt(
    upstream: Upstream,
    method: str = "GET",
    target: str = "/x",
    body: bytes | HeldBody | RequestBodyStream = b"",
    *,
    fresh: bool = False,
) -> Attempt:
    outgoing = Outgoing(method, target, [("A", "b")], body)
    return Attempt(upstream, outgoing, KEY, proxy=upstream.route.proxy, fresh=fresh)


async def fetch(
    upstream: Upstream,
    method: str = "GET",
    target: str = "/x",
    body: bytes | HeldBody | RequestBodyStream = b"",
    *,
    fresh: bool = False,
) -> tuple[ResponseHead, bytes]:
    """The head and the body; raises UpstreamError."""
    one, received = attempt(upstream, method, target, body, fresh=fresh), bytearray()
    try:
        head = await one.head()
        await one.relay(received.extend)
    finally:
        one.end()
    return head, bytes(received)


async def failure(upstream: Upstream, method: str = "GET", body: bytes | HeldBody = b"") -> UpstreamError:
    """The error with which a fetch fails."""
    try:
        await fetch(upstream, method, body=body)
    except UpstreamError as error:
        return error
    raise AssertionError("it did not fail")


class StalledSink:
    """A sink that can take no more until `free` is done; `got` is the bytes that it was given."""

    def __init__(self) -> None:
        self.free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got = 0

    def __call__(self, data: bytes) -> "asyncio.Future[None] | None":
        self.got += len(data)
        return None if self.free.done() else self.free


async def steady(count: Callable[[], int]) -> None:
    """Wait until a count grows no more."""
    before = -1
    while before != (now := count()):
        before = now
        await asyncio.sleep(0.05)
