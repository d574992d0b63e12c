"""Google's Python SDK as the tests use it: unchanged but for address and key."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from google import genai
from google.genai import types
from google.genai.client import AsyncClient

from tests.clients.common import CLIENT_KEY

T = TypeVar("T")


def client_of(
    url: str, version: str | None = None, key: str = CLIENT_KEY, headers: dict[str, str] | None = None
) -> genai.Client:
    options = types.HttpOptions(base_url=url, api_version=version, headers=headers)
    return genai.Client(api_key=key, http_options=options)


@contextlib.asynccontextmanager
async def async_client_of(
    url: str, version: str | None = None, key: str = CLIENT_KEY
) -> AsyncIterator[AsyncClient]:
    """One that is closed at the end; to close either half of a client leaves the other open."""
    with client_of(url, version, key) as client:
        async with client.aio as asynchronous:
            yield asynchronous


async def with_client(url: str, work: Callable[[genai.Client], T], version: str | None = None) -> T:
    """What this does with a client, in a thread."""

    def with_one() -> T:
        with client_of(url, version) as client:
            return work(client)

    return await asyncio.to_thread(with_one)


def known(value: T | None) -> T:
    """What the SDK's types allow to be missing, and answers have to have."""
    assert value is not None
    return value
