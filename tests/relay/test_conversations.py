"""The turns of a conversation go to one project over real sockets, unless AFFINITY is off."""

import json
from typing import Any

import pytest

from proxycore.demo import Health
from tests.relay.test_owned import GENERATE, keys_of, pool
from tests.support.clocks import TurnedClock
from tests.support.proxy import Proxy, settings
from tests.support.wire import Got, ask

pytestmark = pytest.mark.usefixtures("io_loop")
LONG = "A long instruction that is the same for every conversation. " * 150
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
CHAT = "/v1beta/openai/chat/completions"
INTERACTIONS = "/v1beta/interactions"
MODEL = "gemini-2.5-flash"


def turns(target: str, first: str, count: int, system: str = LONG) -> dict[str, Any]:
    """The request for the turn of this number."""
    texts = [(number % 2 == 0, f"{first} {number}") for number in range(2 * count - 1)]
    if target == CHAT:
        said = [{"role": "user" if mine else "assistant", "content": text} for mine, text in texts]
        return {"model": MODEL, "messages": [{"role": "system", "content": system}, *said]}
    if target == INTERACTIONS:
        kinds = [("user_input" if mine else "model_output", text) for mine, text in texts]
        steps = [{"type": kind, "content": [{"type": "text", "text": text}]} for kind, text in kinds]
        return {"model": MODEL, "input": steps, "system_instruction": system, "store": False}
    contents = [{"role": "user" if mine else "model", "parts": [{"text": text}]} for mine, text in texts]
    return {"contents": contents, "systemInstruction": {"parts": [{"text": system}]}}


async def converse(here: Proxy, target: str, first: str, count: int = 8, system: str = LONG) -> list[Got]:
    bodies = [json.dumps(turns(target, first, n + 1, system)).encode() for n in range(count)]
    return [await ask(here.port, "POST", target, body=body) for body in bodies]


@pytest.mark.parametrize("target", [GENERATE, STREAM, CHAT, INTERACTIONS])
async def test_the_turns_of_a_conversation_go_to_one_key_and_conversations_to_all(target: str) -> None:
    async with pool(4) as (mock, here):
        for number in range(64):  # that a key gets none of so many happens once in 25 million times
            first = f"Conversation {number}."
            assert {got.status for got in await converse(here, target, first, 3)} == {200}
            assert len(keys_of(mock, f'"{first} 0"')) == 1
        assert len({call.key for call in mock.calls}) == 4


async def test_without_affinity_turns_go_anywhere() -> None:
    async with pool(4, AFFINITY="off") as (mock, here):
        await converse(here, GENERATE, "A.", 30)
        assert len({call.key for call in mock.calls}) > 1


async def test_small_prompts_go_anywhere() -> None:
    async with pool(4) as (mock, here):
        await converse(here, GENERATE, "A.", 30, system="Be brief.")
        assert len({call.key for call in mock.calls}) > 1


async def test_when_its_key_is_refused_another_serves_the_conversation_and_the_client_sees_nothing() -> None:
    clock = TurnedClock()
    async with pool(4, clock) as (mock, here):
        await converse(here, GENERATE, "A.", 2)
        (first,) = {call.key for call in mock.calls}
        mock.keys[first] = Health.day_spent()
        mock.calls.clear()
        assert {got.status for got in await converse(here, GENERATE, "A.", 10)} == {200}
        assert [call.key for call in mock.calls].count(first) == 1
        assert len({call.key for call in mock.calls}) == 2


async def test_a_reload_switches_affinity() -> None:
    async with pool(4) as (mock, here):
        keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(mock.keys)}
        here.app.reload(settings(here.app.upstream.origin, keys, AFFINITY="off"))
        await converse(here, GENERATE, "A.", 30)
        assert len({call.key for call in mock.calls}) > 1
        here.app.reload(settings(here.app.upstream.origin, keys))
        mock.calls.clear()
        await converse(here, GENERATE, "B.")
        assert len({call.key for call in mock.calls}) == 1
