"""What `/status.json` shows of requests in progress: open streams, and how long requests wait for a key."""

import asyncio
import json

import pytest

from tests.relay.test_live import LIVE, SETUP, echo, session
from tests.relay.test_live import upstream as live_upstream
from tests.support.cases_support import FLASH, PRO, STREAMED, chat, pool, prompt
from tests.support.proxy import proxy
from tests.support.scripted import SSE, STREAM, Answer, Call, error, retry
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
SPENT = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for requests per minute.", retry("30s"))


@pytest.mark.turned
async def test_a_stream_is_shown_with_its_method_its_attempts_and_when_its_last_byte_came() -> None:
    refused: list[str] = []

    def script(call: Call) -> Answer | None:
        if not refused:
            refused.append(call.key)
            return SPENT
        return Answer(fields=SSE, pieces=STREAM, pause=20.0)

    async with pool(2, script) as here:
        asked = asyncio.ensure_future(here.ask("POST", STREAMED, prompt()))
        await asyncio.sleep(5)
        (stream,) = (await here.status())["streams"]
        assert (stream["method"], stream["attempts"], stream["model"]) == ("streamGenerateContent", 2, FLASH)
        began = stream["last_byte"]
        assert stream["since"] - 1 < began < stream["since"] + 2
        await asyncio.sleep(10)
        assert (await here.status())["streams"] == [stream]
        await asyncio.sleep(10)
        (stream,) = (await here.status())["streams"]
        assert stream["last_byte"] == pytest.approx(began + 20, abs=1)
        assert (await asked).status == 200
        assert (await here.status())["streams"] == []


@pytest.mark.turned
async def test_a_path_without_a_method_is_shown_whole_and_without_secrets() -> None:
    async with pool(1, lambda _: Answer(fields=SSE, pieces=STREAM, pause=20.0)) as here:
        asked = asyncio.ensure_future(here.ask("POST", "/v1beta/openai/chat/completions", chat()))
        await asyncio.sleep(5)
        (stream,) = (await here.status())["streams"]
        assert stream["method"] == "/v1beta/openai/chat/completions"
        await asked
        asked = asyncio.ensure_future(here.ask("GET", "/v1beta/files/AQ.secret-of-1"))
        await asyncio.sleep(5)
        (stream,) = (await here.status())["streams"]
        assert "secret-of-1" not in stream["method"]
        await asked


async def test_a_live_session_is_shown_with_its_path_and_when_its_last_message_came() -> None:
    async with live_upstream(echo) as url, proxy(url, {"GOOGLE_API_KEY_1": "AQ.one"}) as here:
        async with session(here) as socket:
            await socket.send(json.dumps(SETUP))
            await socket.recv()
            await asyncio.sleep(2)
            await socket.send("{}")
            await socket.recv()
            shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
            (stream,) = shown["streams"]
            assert (stream["method"], stream["attempts"]) == (LIVE, 1)
            assert stream["since"] + 1 < stream["last_byte"] <= shown["time"] + 1


@pytest.mark.turned
async def test_the_longest_wait_is_shown_with_its_model_and_lasts_over_several() -> None:
    async with pool(1, lambda _: SPENT, MAX_WAIT="100") as here:
        assert (await here.status())["waiting_longest"] == 0
        assert (await here.status())["waiting_for"] is None
        first = asyncio.ensure_future(here.plain(PRO))
        await asyncio.sleep(3)
        later = asyncio.ensure_future(here.plain(FLASH))
        await asyncio.sleep(2)
        shown = await here.status()
        assert (shown["waiting"], shown["waiting_for"]) == (2, PRO)
        assert shown["waiting_longest"] == pytest.approx(5, abs=0.3)
        await asyncio.sleep(40)  # it was refused again meanwhile, and waits on
        shown = await here.status()
        assert shown["waiting_longest"] == pytest.approx(45, abs=1)
        await asyncio.gather(first, later)
        shown = await here.status()
        assert (shown["waiting_longest"], shown["waiting_for"]) == (0, None)
