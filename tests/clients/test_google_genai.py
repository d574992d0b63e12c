"""Google's Python SDK, unchanged but for address and key, with keys failing around it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.clients.common import CLIENT_KEY, EMBEDDER, MODEL, PROMPT, pool

VERSIONS = [None, "v1", "v1beta", "v1alpha"]
pytestmark = pytest.mark.usefixtures("io_loop")


def client_of(url: str, version: str | None) -> genai.Client:
    return genai.Client(api_key=CLIENT_KEY, http_options=types.HttpOptions(base_url=url, api_version=version))


def in_a_thread(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the SDK answers
    return asyncio.get_running_loop().run_in_executor(None, work)


@pytest.mark.parametrize("version", VERSIONS)
async def test_generate(version: str | None) -> None:
    async with pool() as here:
        client = client_of(here.url, version)
        for _ in range(10):
            answer = await in_a_thread(lambda: client.models.generate_content(model=MODEL, contents=PROMPT))
            assert PROMPT in answer.text
            assert answer.usage_metadata.total_token_count
        assert {call.target.split("/")[1] for call in here.mock.calls} == {version or "v1"}
        client.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_stream(version: str | None) -> None:
    async with pool() as here:
        client = client_of(here.url, version)
        for _ in range(5):
            pieces = await in_a_thread(
                lambda: list(client.models.generate_content_stream(model=MODEL, contents=PROMPT))
            )
            assert len(pieces) > 1
            assert PROMPT in "".join(piece.text for piece in pieces)
        client.close()


async def test_generate_and_stream_asynchronously() -> None:
    async with pool() as here:
        client = client_of(here.url, "v1beta")
        answers = await asyncio.gather(
            *(client.aio.models.generate_content(model=MODEL, contents=PROMPT) for _ in range(20))
        )
        assert all(PROMPT in (answer.text or "") for answer in answers)
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents=PROMPT)
        assert PROMPT in "".join([piece.text or "" async for piece in stream])
        await client.aio.aclose()
        client.close()


async def test_chat_count_embed_and_list() -> None:
    async with pool() as here:
        client = client_of(here.url, None)

        def work() -> None:
            chat = client.chats.create(model=MODEL)
            assert PROMPT in (chat.send_message(PROMPT).text or "")
            assert "And then?" in (chat.send_message("And then?").text or "")
            assert client.models.count_tokens(model=MODEL, contents=PROMPT).total_tokens
            embedded = client.models.embed_content(model=EMBEDDER, contents=["a", "b"])
            assert len(embedded.embeddings or []) == 2
            assert MODEL in str([model.name for model in client.models.list()])
            assert client.models.get(model=MODEL).name == f"models/{MODEL}"

        for _ in range(5):
            await in_a_thread(work)
        client.close()


async def test_errors_are_the_sdks_own() -> None:
    async with pool() as here:
        client = client_of(here.url, None)

        def work() -> None:
            for _ in range(10):
                with pytest.raises(errors.ClientError) as caught:
                    client.models.generate_content(model="gemini-unheard-of", contents=PROMPT)
                assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
            stranger = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=here.url))
            with pytest.raises(errors.ClientError) as caught:
                stranger.models.generate_content(model=MODEL, contents=PROMPT)
            assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
            assert "The API key is missing or invalid" in str(caught.value.message)
            stranger.close()

        await in_a_thread(work)
        client.close()
