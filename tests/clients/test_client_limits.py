"""Official SDKs against a client's own limit: each waits or fails as it does with Google."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import openai
import pytest
from google import genai
from google.genai import errors, types
from openai.types.chat import ChatCompletionMessageParam

from proxycore.demo import Health, MockServer
from tests.clients.common import (
    CLIENT_KEY,
    JAVASCRIPT,
    MODEL,
    NODE,
    PROMPT,
    Pool,
    all_right,
    keys_of,
    outcomes,
)
from tests.support.proxy import Proxy, proxy

pytestmark = pytest.mark.usefixtures("io_loop")
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]


@contextlib.asynccontextmanager
async def limited(limits: str) -> AsyncIterator[Proxy]:
    """The proxy before a healthy key, for a client with these limits."""
    mock = MockServer({"AQ.healthy": Health.healthy()})
    try:
        async with proxy(mock.listen(), keys_of(mock), CLIENT_DEFAULT=limits) as here:
            yield here
    finally:
        await mock.stop()


def refusals(here: Proxy) -> float:
    """How many requests were refused for a limit."""
    return sum(here.app.meter.counters.of("client.refusals").values())


def google(here: Proxy, **options: object) -> genai.Client:
    http = types.HttpOptions.model_validate({"base_url": here.url, **options})
    return genai.Client(api_key=CLIENT_KEY, http_options=http)


def gpt(here: Proxy, retries: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=CLIENT_KEY, base_url=f"{here.url}/v1beta/openai/", max_retries=retries)


async def test_googles_sdk_fails_with_the_error_of_a_spent_quota() -> None:
    async with limited("requests=1/day") as here:
        client = google(here)
        ask = client.aio.models.generate_content
        assert (await ask(model=MODEL, contents=PROMPT)).text
        with pytest.raises(errors.ClientError) as refused:
            await ask(model=MODEL, contents=PROMPT)
        await client.aio.aclose()
        client.close()
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "limit of 1 requests per day" in str(refused.value.message)
    kinds = [detail["@type"].rpartition(".")[2] for detail in refused.value.details["error"]["details"]]
    assert kinds == ["QuotaFailure", "RetryInfo"]


async def test_googles_sdk_waits_if_it_may_retry() -> None:
    async with limited("requests=1/second") as here:
        client = google(here, retry_options={"attempts": 6, "initial_delay": 0.3})
        for _ in range(3):
            assert (await client.aio.models.generate_content(model=MODEL, contents=PROMPT)).text
        await client.aio.aclose()
        client.close()
        assert refusals(here) >= 1


async def test_googles_sdk_fails_where_a_model_is_not_allowed() -> None:
    async with limited("models=gemini-*-pro") as here:
        client = google(here)
        with pytest.raises(errors.ClientError) as refused:
            await asyncio.to_thread(client.models.generate_content, model=MODEL, contents=PROMPT)
        client.close()
    assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")


async def test_openais_sdk_waits_as_it_is_told() -> None:
    async with limited("requests=1/second") as here:
        async with gpt(here, retries=5) as client:
            for _ in range(3):
                answer = await client.chat.completions.create(model=MODEL, messages=QUESTION)
                assert PROMPT in (answer.choices[0].message.content or "")
        assert refusals(here) >= 1


async def test_openais_sdk_fails_with_its_rate_limit_error() -> None:
    async with limited("requests=1/day") as here:
        async with gpt(here, retries=0) as client:
            await client.chat.completions.create(model=MODEL, messages=QUESTION)
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert "limit of 1 requests per day" in str(refused.value)


@pytest.mark.usefixtures("npm_packages")
async def test_the_sdks_for_javascript_wait_or_fail() -> None:
    async with limited("requests=1/second") as here:
        said = await outcomes(Pool(here.url, MockServer({})), NODE, JAVASCRIPT / "limits.mjs")
        assert said == all_right("AI SDK waits", "AI SDK fails", "OpenAI waits", "OpenAI fails")
        assert refusals(here) >= 4
