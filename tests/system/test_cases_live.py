"""Live sessions that are refused after the handshake, before any message: another key is tried."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.cases_support import CASES, Pool, pool

pytestmark = CASES
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
MODEL = "models/gemini-2.5-flash-live-preview"
SETUP = json.dumps({"setup": {"model": MODEL}})
SEARCH = json.dumps({"setup": {"model": MODEL, "tools": [{"googleSearch": {}}]}})
QUOTA = "You exceeded your current quota, please check your plan and billing details."
Close = tuple[int, str]
Refuses = Callable[[str, str], Close | None]
"""With which close a key's session ends once its setup message is there; None: it is set up."""
EXPIRED: Close = (1007, "API key expired. Please renew the API key.")
INVALID: Close = (1007, "API key not valid. Please pass a valid API key.")


@dataclass
class Upstream:
    """Live sessions by a key's name and the setup message, and what was begun."""

    refuses: Refuses
    begun: list[tuple[str, str | bytes]] = field(default_factory=list)

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request
        key = (connection.request.headers.get("x-goog-api-key") or "").rpartition("-")[2]
        with contextlib.suppress(ConnectionClosed):
            setup = await connection.recv()
            self.begun.append((key, setup))
            if close := self.refuses(key, str(setup)):
                await connection.close(*close)
                return
            await connection.send('{"setupComplete":{}}')
            async for message in connection:
                await connection.send(message)

    def of(self, *keys: str) -> int:
        """How many sessions were begun with these keys."""
        return len([key for key, _ in self.begun if key in keys])


@contextlib.asynccontextmanager
async def live(keys: int, refuses: Refuses) -> AsyncIterator[tuple[Pool, Upstream]]:
    upstream = Upstream(refuses)
    async with serve(upstream, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with pool(keys, UPSTREAM_URL=f"http://127.0.0.1:{port}") as here:
            yield here, upstream


async def converse(here: Pool, setup: str = SETUP) -> Close | None:
    """A session of one question. None when it works, else the close that the client was told."""
    url = f"ws://127.0.0.1:{here.port}{LIVE}"
    async with connect(url, proxy=None, compression=None, ping_interval=None, open_timeout=None) as client:
        try:
            await client.send(setup)
            assert json.loads(await client.recv()) == {"setupComplete": {}}
            await client.send("a question")
            assert await client.recv() == "a question"
        except ConnectionClosed:
            return client.close_code or 0, client.close_reason or ""
    return None


# 7.1


@pytest.mark.parametrize(
    "closes",
    [
        [EXPIRED, INVALID],
        [(1008, "Your API key was reported as leaked. Please use another API key."), EXPIRED],
        [(1011, QUOTA), (1011, QUOTA)],
        [(1008, "Your project has been denied access. Please contact support."), INVALID],
        [(1011, "Your prepayment credits are depleted."), INVALID],
    ],
    ids=lambda closes: " ".join(str(code) for code, _ in closes) + closes[0][1][:20],
)
async def test_a_session_that_a_key_refuses_goes_on_with_another(closes: list[Close]) -> None:
    async with live(3, lambda key, _: closes[int(key) - 1] if key != "3" else None) as (here, upstream):
        assert [await converse(here) for _ in range(12)] == [None] * 12
        assert upstream.of("1", "2") <= 6
        assert {setup for _, setup in upstream.begun} == {SETUP}, "the setup message goes on unchanged"


async def test_so_with_many_sessions_at_once() -> None:
    refused: set[str] = set()

    def refuses(key: str, _: str) -> Close | None:
        if len(refused) < 5:
            refused.add(key)
        return INVALID if key in refused else None

    async with live(7, refuses) as (here, _):
        assert await asyncio.gather(*(converse(here) for _ in range(6))) == [None] * 6
        assert [await converse(here) for _ in range(6)] == [None] * 6


# 7.2


@pytest.mark.parametrize("keys", [1, 2, 3, 6])
@pytest.mark.parametrize("warm", [False, True])
async def test_what_every_key_refuses_is_the_setup_s_fault(keys: int, *, warm: bool) -> None:
    async with live(keys, lambda _, setup: (1011, QUOTA) if "googleSearch" in setup else None) as (here, _):
        if warm:
            assert [await converse(here) for _ in range(keys)] == [None] * keys
        assert await converse(here, SEARCH) == (1011, QUOTA)
        await asyncio.sleep(1.5)
        assert await here.rests() == {}
        assert [await converse(here) for _ in range(6)] == [None] * 6
        assert await here.outages() == []


async def test_a_close_after_the_setup_is_the_session_s_end() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"setupComplete":{}}')
        await connection.close(1011, QUOTA)

    async with serve(talk, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with pool(3, UPSTREAM_URL=f"http://127.0.0.1:{port}") as here:
            assert await converse(here) == (1011, QUOTA)
            assert await here.rests() == {}


@pytest.mark.parametrize(
    "close",
    [(1007, 'Unknown name "API key not valid" at setup'), (1008, "models/x is not found"), (1000, "bye")],
    ids=lambda close: close[1],
)
async def test_a_close_that_speaks_of_the_request_is_passed_on(close: Close) -> None:
    async with live(3, lambda *_: close) as (here, _):
        assert await converse(here) == close
        assert await here.rests() == {}
