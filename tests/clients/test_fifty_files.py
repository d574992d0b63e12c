"""Many files of many owners, used by several clients concurrently: only the owner is ever asked."""

import asyncio
import contextlib
import io

import pytest
from google.genai import types
from google.genai.client import AsyncClient

from proxycore.demo import Health
from tests.clients.common import MODEL, pool
from tests.clients.genai import async_client_of, known

SPENT = "gemini-2.5-pro"
KEYS = {f"AQ.healthy-{number}": Health.healthy() for number in range(4)}
KEYS |= {"AQ.others-spent": Health(models={SPENT: Health.day_spent()})}
FILES, CLIENTS = 50, 4
pytestmark = pytest.mark.usefixtures("io_loop")


async def upload(client: AsyncClient, number: int) -> types.File:
    return await client.files.upload(file=io.BytesIO(b"%d" % number), config={"mime_type": "text/plain"})


async def ask(client: AsyncClient, model: str, question: str, *files: types.File) -> None:
    answer = await client.models.generate_content(model=model, contents=[*files, question])
    assert question in known(answer.text)


async def test_every_file_is_requested_with_its_owner_only_and_listed_once() -> None:
    async with pool(KEYS) as here, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(async_client_of(here.url)) for _ in range(CLIENTS)]
        files = await asyncio.gather(*(upload(clients[number % CLIENTS], number) for number in range(FILES)))
        questions = [
            ask(client, MODEL, f"What is in {file.name}, for client {number}?", file)
            for file in files
            for number, client in enumerate(clients)
        ]
        others = [ask(clients[0], SPENT, f"What is {number}?") for number in range(FILES)]
        await asyncio.gather(*questions, *others)
        names = [known(file.name) for file in files]
        for name in names:
            owner = {key for key in KEYS if here.mock.store.get(key, name)}
            asked = [call for call in here.mock.calls if f'/{name}"'.encode() in call.body]
            assert len(asked) == CLIENTS
            assert {call.key for call in asked} == owner
        assert {call.status for call in here.mock.calls} == {200, 429}
        assert {call.model for call in here.mock.calls if call.status == 429} == {SPENT}
        listed = [each.name async for each in await clients[0].files.list(config={"page_size": 7})]
        assert sorted(map(known, listed)) == sorted(names)
        assert len({key for key in KEYS for name in names if here.mock.store.get(key, name)}) > 2
