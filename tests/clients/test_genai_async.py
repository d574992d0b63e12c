"""The asynchronous half of Google's Python SDK: resources are found again, many concurrently."""

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable

import pytest
from google.genai import types
from google.genai.client import AsyncClient
from google.genai.interactions import Interaction

from tests.clients.common import DEAD, MODEL, PROMPT, SPREAD, pool
from tests.clients.genai import async_client_of, known

AT_ONCE = 8
LARGE = 10 * 2**20  # bytes: more than one of the SDK's chunks
INLINE = [types.InlinedRequest(contents=[types.Content(role="user", parts=[types.Part(text=PROMPT)])])]
# Of these, those that are not dead are healthy: with so much at once, a slow key's line would be long.
KEYS = {key: health for key, health in SPREAD.items() if key != "AQ.twelve-a-second"}
pytestmark = pytest.mark.usefixtures("io_loop")


async def upload(client: AsyncClient, size: int = 1000) -> types.File:
    file = await client.files.upload(file=io.BytesIO(b"a" * size), config={"mime_type": "text/plain"})
    assert file.size_bytes == size
    return file


async def names_of_files(client: AsyncClient) -> list[str | None]:
    """All of them, page by page. The SDK fails on a last page that others have emptied meanwhile."""
    for _ in range(AT_ONCE):
        with contextlib.suppress(IndexError):
            return [each.name async for each in await client.files.list(config={"page_size": 3})]
    raise AssertionError("every walk through the pages failed")


async def files(client: AsyncClient, size: int = 1000) -> None:
    file = await upload(client, size)
    name = known(file.name)
    assert (await client.files.get(name=name)).uri == file.uri
    stream = await client.models.generate_content_stream(model=MODEL, contents=[file, PROMPT])
    assert PROMPT in "".join([known(piece.text) async for piece in stream])
    chat = client.chats.create(model=MODEL)
    part = types.Part.from_uri(file_uri=known(file.uri), mime_type="text/plain")
    assert PROMPT in known((await chat.send_message([part, types.Part(text=PROMPT)])).text)
    assert "And then?" in known((await chat.send_message("And then?")).text)
    assert name in await names_of_files(client)
    await client.files.delete(name=name)
    assert name not in [each.name async for each in await client.files.list()]


async def large_files(client: AsyncClient) -> None:
    await files(client, LARGE)


async def caches(client: AsyncClient) -> None:
    content = types.CreateCachedContentConfig(contents=[await upload(client), PROMPT], ttl="600s")
    name = known((await client.caches.create(model=MODEL, config=content)).name)
    await client.caches.update(name=name, config={"ttl": "9000s"})
    assert (await client.caches.get(name=name)).name == name
    using = types.GenerateContentConfig(cached_content=name)
    assert (await client.models.generate_content(model=MODEL, contents=PROMPT, config=using)).text
    assert name in [each.name async for each in await client.caches.list()]
    await client.caches.delete(name=name)


async def batches(client: AsyncClient) -> None:
    name = known((await client.batches.create(model=MODEL, src=INLINE)).name)
    for _ in range(2):
        batch = await client.batches.get(name=name)
    assert batch.state == types.JobState.JOB_STATE_SUCCEEDED
    assert name in [each.name async for each in await client.batches.list()]
    await client.batches.cancel(name=name)
    await client.batches.delete(name=name)


async def batches_of_a_file(client: AsyncClient) -> None:
    file = await upload(client)
    name = known((await client.batches.create(model=MODEL, src=known(file.name))).name)
    for _ in range(2):
        batch = await client.batches.get(name=name)
    assert await client.files.download(file=known(known(batch.dest).file_name))


async def interactions(client: AsyncClient) -> None:
    first = await client.interactions.create(model=MODEL, input=PROMPT)
    assert isinstance(first, Interaction)
    stream = await client.interactions.create(
        model=MODEL, input="And then?", previous_interaction_id=first.id, stream=True
    )
    assert not isinstance(stream, Interaction)
    assert len([event async for event in stream]) > 3
    assert (await client.interactions.get(known(first.id))).id == first.id
    await client.interactions.delete(known(first.id))


async def search_stores(client: AsyncClient) -> None:
    stores = client.file_search_stores
    store = known((await stores.create(config={"display_name": "a store"})).name)
    config = types.UploadToFileSearchStoreConfig(mime_type="text/plain")
    operation = await stores.upload_to_file_search_store(
        file_search_store_name=store, file=io.BytesIO(b"text"), config=config
    )
    assert (await client.operations.get(operation)).done
    assert len([each async for each in await stores.documents.list(parent=store)]) == 1
    await stores.delete(name=store, config={"force": True})
    assert store not in [each.name async for each in await stores.list()]


FAMILIES = [files, large_files, caches, batches, batches_of_a_file, interactions, search_stores]


@pytest.mark.parametrize("family", FAMILIES)
async def test_its_resources_are_found_again(family: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async with pool(KEYS) as here, async_client_of(here.url) as client:
        assert not [file async for file in await client.files.list()]  # asks every key, so all fail that can
        await asyncio.gather(*(family(client) for _ in range(AT_ONCE)))
        assert {call.key for call in here.mock.calls if call.status >= 400} == DEAD
