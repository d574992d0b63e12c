"""The proxy as a real server on a real socket, in front of an upstream that a test scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.rotation.key import Key
from proxycore.runtime.app import ProxyApplication, make_app
from proxycore.runtime.settings import Settings, parse
from proxycore.transport.listener import Listener
from tests.support.turned_loop import TurnedLoop

KEYS = {"GOOGLE_API_KEY_1": "upstream-key-number-one", "GOOGLE_API_KEY_2": "upstream-key-number-two"}


def settings(upstream_url: str, keys: Mapping[str, str] = KEYS, **variables: str) -> Settings:
    """Settings as the environment would make them."""
    return parse({"UPSTREAM_URL": upstream_url, **keys, **variables})


def rests(key: Key) -> bool:
    """Whether a key has any bench."""
    return bool(key.whole or key.retired or any(one.bench for one in key.project.limiters.values()))


@dataclass
class Proxy:
    """A proxy under test."""

    app: ProxyApplication
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def proxy(
    upstream_url: str,
    keys: Mapping[str, str] = KEYS,
    clock: Clock | None = None,
    **variables: str,
) -> AsyncIterator[Proxy]:
    """The proxy on a free port, stopped at the end; no request may be in progress then.

    In real time requests wait for a second at most, if nothing else is said.
    """
    if not isinstance(asyncio.get_running_loop(), TurnedLoop):
        keys = {"MAX_WAIT": "1", **keys}
    async with served(make_app(settings(upstream_url, keys, **variables), clock)) as here:
        yield here


@contextlib.asynccontextmanager
async def served(app: ProxyApplication) -> AsyncIterator[Proxy]:
    """This application on a free port, stopped at the end."""
    server = app.server()
    listener = Listener("127.0.0.1", 0)
    listener.accept_for(server)
    try:
        yield Proxy(app, listener.port)
    finally:
        listener.stop()
        await app.close()
        await server.close_all_connections()
