"""OpenAI's Python SDK on Google's compatible path, unchanged but for address and key."""

import asyncio
import re
from collections import Counter

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from proxycore.demo import Health
from tests.clients.common import CLIENT_KEY, EMBEDDER, MODEL, PROMPT, pool

OTHER_MODEL = "gemini-2.5-pro"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]
pytestmark = pytest.mark.usefixtures("io_loop")


def client_of(url: str, key: str = CLIENT_KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1beta/openai/", max_retries=0)


async def test_chat() -> None:
    async with pool() as here, client_of(here.url) as client:
        for _ in range(20):
            answer = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": PROMPT}]
            )
            assert PROMPT in (answer.choices[0].message.content or "")
        assert all(call.headers.get_list("Authorization") for call in here.mock.calls)


async def test_streamed_chat() -> None:
    async with pool() as here, client_of(here.url) as client:
        for _ in range(10):
            stream = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": PROMPT}], stream=True
            )
            pieces = [piece async for piece in stream]
            assert len(pieces) > 2
            assert PROMPT in "".join(
                piece.choices[0].delta.content or "" for piece in pieces if piece.choices
            )


async def test_the_synchronous_client() -> None:
    async with pool() as here:

        def work() -> None:
            with openai.OpenAI(
                api_key=CLIENT_KEY, base_url=f"{here.url}/v1beta/openai/", max_retries=0
            ) as client:
                for _ in range(20):
                    answer = client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": PROMPT}]
                    )
                    assert PROMPT in (answer.choices[0].message.content or "")

        await asyncio.to_thread(work)


@pytest.mark.parametrize("name", ["/openai", "/openai/", "/openai/v1", "/v1beta/openai"])
async def test_the_short_names_of_the_path(name: str) -> None:
    async with pool() as here:
        async with openai.AsyncOpenAI(
            api_key=CLIENT_KEY, base_url=f"{here.url}{name}", max_retries=0
        ) as client:
            for _ in range(5):
                answer = await client.chat.completions.create(model=MODEL, messages=QUESTION)
                assert PROMPT in (answer.choices[0].message.content or "")
            assert f"models/{MODEL}" in [model.id async for model in client.models.list()]
            stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
            assert len([piece async for piece in stream]) > 2
        assert {call.target.rsplit("/openai/")[0] for call in here.mock.calls} == {"/v1beta"}


async def test_the_error_for_a_wrong_path_has_the_right_one() -> None:
    async with pool() as here:
        for wrong in ("/v1", "", "/v1beta", "/v1beta/openai/v1"):
            async with openai.AsyncOpenAI(
                api_key=CLIENT_KEY, base_url=f"{here.url}{wrong}", max_retries=0
            ) as client:
                with pytest.raises(
                    openai.NotFoundError, match=re.escape("Did you mean /v1beta/openai/chat/completions?")
                ):
                    await client.chat.completions.create(model=MODEL, messages=QUESTION)
        async with client_of(here.url) as client:
            for _ in range(20):
                await client.chat.completions.create(model=MODEL, messages=QUESTION)


async def test_models_and_embeddings() -> None:
    async with pool() as here, client_of(here.url) as client:
        for _ in range(5):
            assert f"models/{MODEL}" in [model.id async for model in client.models.list()]
            embedded = await client.embeddings.create(model=EMBEDDER, input=["a", "b"])
            assert len(embedded.data) == 2


async def test_errors_are_the_sdks_own() -> None:
    async with pool() as here, client_of(here.url) as client:
        for _ in range(10):
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(
                    model="gemini-unheard-of", messages=[{"role": "user", "content": PROMPT}]
                )
        async with client_of(here.url, "wrong") as stranger:
            with pytest.raises(openai.AuthenticationError, match="missing or invalid"):
                await stranger.models.list()


async def test_a_refusal_in_an_array_benches_the_key_for_the_model_of_the_body() -> None:
    spent = {f"AQ.spent-{number}": Health(models={MODEL: Health.day_spent()}) for number in range(4)}
    async with pool(spent | {"AQ.healthy": Health.healthy()}) as here, client_of(here.url) as client:
        for model in [MODEL] * 40 + [OTHER_MODEL] * 60:
            await client.chat.completions.create(model=model, messages=QUESTION)
        asked = Counter((call.model, call.key, call.status) for call in here.mock.calls)
        assert asked.pop((MODEL, "AQ.healthy", 200)) == 40
        refused = {each: count for each, count in asked.items() if each[0] == MODEL}
        assert refused == {(MODEL, key, 429): 1 for key in spent}
        others = {key: status for model, key, status in asked if model == OTHER_MODEL}
        assert others == dict.fromkeys(here.mock.keys, 200)
