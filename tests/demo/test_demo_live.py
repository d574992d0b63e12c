"""Live sessions with the mock of the Gemini API, over WebSockets."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClientConnection, websocket_connect

from proxycore.demo import Health
from tests.support.demo_client import MINE, OTHER, Here, started
from tests.support.waiting import PATIENCE, until

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
CONSTRAINED = "//ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained"
MODEL = "models/gemini-2.5-flash-live-preview"
ABSENT = (
    "models/gemini-2.5-pro is not found for API version v1beta, or is not supported for bidiGenerateContent."
    " Call ListModels to see the list of available models and their supported methods."
)
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


@contextlib.asynccontextmanager
async def session(
    here: Here, path: str = PATH, fields: dict[str, str] | None = None, offered: list[str] | None = None
) -> AsyncIterator[WebSocketClientConnection]:
    headers = fields if fields is not None else {} if "?" in path else {"X-Goog-Api-Key": MINE}
    request = HTTPRequest(f"{here.url.replace('http', 'ws')}{path}", headers=headers)
    client = await websocket_connect(request, subprotocols=offered, max_message_size=2**28)
    try:
        yield client
    finally:
        client.close()


async def tell(client: WebSocketClientConnection, message: object) -> None:
    await client.write_message(json.dumps(message))


async def heard(client: WebSocketClientConnection) -> Any:  # noqa: ANN401 - JSON
    message = await client.read_message()
    assert message is not None
    return json.loads(message)


async def set_up(client: WebSocketClientConnection, **more: object) -> None:
    await tell(client, {"setup": {"model": MODEL, **more}})
    assert await heard(client) == {"setupComplete": {}}


async def refused(here: Here, path: str, **fields: str) -> tuple[int, str]:
    with pytest.raises(HTTPClientError) as caught:
        await session(here, path, fields).__aenter__()
    got = await here.ask("GET", path, None, *fields.items(), ("Upgrade", "websocket"), key="")
    assert got.status == caught.value.code
    return got.status, json.loads(got.body)["error"]["message"].partition(".")[0]


@pytest.mark.parametrize("path", [PATH, f"/{PATH}", CONSTRAINED, f"/{PATH}?key={MINE}"])
async def test_it_echoes_its_input(here: Here, path: str) -> None:
    async with session(here, path) as client:
        await set_up(client)
        turns = [
            {"role": "user", "parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"text": "there"}]},
        ]
        await tell(client, {"clientContent": {"turns": turns, "turnComplete": True}})
        turn: object = {"role": "model", "parts": [{"text": "You said: Hello there"}]}
        assert await heard(client) == {"serverContent": {"modelTurn": turn, "turnComplete": True}}
        audio = {"data": base64.b64encode(b"a" * 1000).decode(), "mimeType": "audio/pcm"}
        for told, said in (
            ({"text": "Hi"}, "Hi"),
            ({"audio": audio}, "1000 bytes"),
            ({"mediaChunks": [audio] * 2}, "2000 bytes"),
        ):
            await tell(client, {"realtimeInput": told})
            turn = {"parts": [{"text": f"You said: {said}"}]}
            assert await heard(client) == {"serverContent": {"modelTurn": turn}}
        call = here.last
        assert (call.key, f"models/{call.model}", call.status) == (MINE, MODEL, 101)


async def test_its_json_is_sent_in_text_or_binary_frames(here: Here) -> None:
    async with session(here) as client:
        await tell(client, {"setup": {"model": MODEL}})
        assert isinstance(await client.read_message(), bytes)
        here.mock.live_binary = False
        await tell(client, {"realtimeInput": {"text": "Hi"}})
        assert isinstance(await client.read_message(), str)


async def test_names_may_come_in_snake_case_as_pythons_sdk_sends_them(here: Here) -> None:
    async with session(here) as client:
        await client.write_message(json.dumps({"setup": {"model": MODEL, "session_resumption": {}}}))
        assert "setupComplete" in json.loads(await client.read_message() or b"")
        assert "sessionResumptionUpdate" in json.loads(await client.read_message() or b"")
        turns = [{"role": "user", "parts": [{"text": "Hello"}]}]
        await client.write_message(json.dumps({"client_content": {"turns": turns, "turn_complete": True}}))
        assert "You said: Hello" in str(await client.read_message())


@pytest.mark.parametrize("frame", ["no JSON, żółć", b"\x00\xff\xfe", b"", "", b"a" * 2**25])
async def test_messages_that_are_not_json_are_echoed_unchanged(here: Here, frame: str | bytes) -> None:
    async with session(here) as client:
        await client.write_message(frame, binary=isinstance(frame, bytes))
        assert await client.read_message() == frame


async def test_a_bad_credential_is_refused_before_the_upgrade(here: Here) -> None:
    unregistered = "Method doesn't allow unregistered callers (callers without established identity)"
    two = "API key for authentication is used with other authentication credentials"
    unsupported = "Request had invalid authentication credentials"
    assert await refused(here, f"{PATH}?a=b") == (403, unregistered)
    assert await refused(here, f"{PATH}?key=AQ.x") == (400, "API key not valid")
    assert await refused(here, f"{PATH}?key={MINE}", **{"X-Goog-Api-Key": MINE}) == (401, two)
    assert await refused(here, f"{PATH}?access_token=auth_tokens/x") == (401, unsupported)
    assert await refused(here, PATH, Authorization=f"Bearer {MINE}") == (401, unsupported)
    here.mock.keys[MINE] = Health.leaked()
    assert await refused(here, f"{PATH}?key={MINE}") == (403, "Your API key was reported as leaked")
    assert (here.mock.open, here.mock.sessions) == (0, set())


async def test_an_ephemeral_token_of_the_mock_is_a_credential(here: Here) -> None:
    token = (await here.json("POST", "/v1alpha/auth_tokens", {"uses": 1}))["name"]
    async with session(here, f"{CONSTRAINED}?access_token={token}") as client:
        await set_up(client)
    assert here.last.key == MINE  # whose token it is
    async with session(here, CONSTRAINED, {"Authorization": f"Token {token}"}) as client:
        await set_up(client)
    here.mock.keys[MINE] = Health.suspended()
    assert (await refused(here, f"{CONSTRAINED}?access_token={token}"))[0] == 403


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (
            {"setup": {"model": "models/gemini-2.5-pro"}},
            1008,
            ABSENT[:123],
        ),
        ({"clientContent": {}}, 1007, "The first message has to be a setup."),
    ],
)
async def test_a_session_that_cannot_begin_is_closed_with_a_reason(
    here: Here, first: object, code: int, reason: str
) -> None:
    async with session(here) as client:
        await tell(client, first)
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == (code, reason)


async def test_a_session_can_only_be_resumed_with_a_key_of_its_project(here: Here) -> None:
    async with session(here) as client:
        await set_up(client, sessionResumption={})
        update = (await heard(client))["sessionResumptionUpdate"]
        assert update["resumable"]
    resumption = {"handle": update["newHandle"]}
    async with session(here) as client:
        await set_up(client, sessionResumption=resumption)
    async with session(here, fields={"X-Goog-Api-Key": OTHER}) as client:
        await tell(client, {"setup": {"model": MODEL, "sessionResumption": resumption}})
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == (1008, "BidiGenerateContent session not found")


async def test_the_first_subprotocol_that_is_offered_is_taken(here: Here) -> None:
    async with session(here, offered=["one", "two"]) as client, session(here) as other:
        assert (client.selected_subprotocol, other.selected_subprotocol) == ("one", None)


async def test_a_session_is_a_call_that_ends_with_what_the_client_closed_with(here: Here) -> None:
    async with session(here) as client:
        await until(lambda: here.last.status == 101)
        assert here.mock.open == 1
        client.close(4001, "enough")
        await until(lambda: here.mock.open == 0)
        call = here.last
        assert (call.close_code, call.close_reason, call.cut, call.ended) == (
            4001,
            "enough",
            False,
            here.clock.now,
        )


async def test_a_client_that_disconnects_without_a_close_frame_cuts_the_session(here: Here) -> None:
    async with session(here) as client:
        client.protocol.stream.close()  # type: ignore[union-attr] # there is one while it is open
        await until(lambda: here.mock.open == 0)
        assert (here.last.close_code, here.last.cut) == (None, True)


async def test_it_can_be_made_to_close(here: Here) -> None:
    async with session(here) as client:
        await set_up(client)
        here.mock.live_close = (1011, "Internal error encountered.")
        await tell(client, {"realtimeInput": {"text": "Hi"}})
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == here.mock.live_close
        await until(lambda: here.mock.open == 0)


async def test_stopping_cuts_sessions(here: Here) -> None:
    async with session(here) as client:
        await set_up(client)
        await here.mock.stop()
        assert here.mock.open == 0
        async with asyncio.timeout(PATIENCE):
            assert await client.read_message() is None


# Refused at the handshake, or once it has said what it is for

QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on"
    " this error, head to: h"
)
CLOSES = {
    "invalid": (1007, "API key not valid. Please pass a valid API key."),
    "expired": (1007, "API key expired. Please renew the API key."),
    "denied": (1008, "Your project has been denied access. Please contact support."),
    "leaked": (1008, "Your API key was reported as leaked. Please use another API key."),
    "forbidden": (1008, "The caller does not have permission"),
    "day_spent": (1011, QUOTA),
    "bare_429": (1011, "Resource has been exhausted (e.g. check quota)."),
    "model_overloaded": (1011, "The model is overloaded. Please try again later."),
}


@pytest.mark.parametrize("name", CLOSES)
async def test_a_session_can_be_refused_after_its_setup_message(here: Here, name: str) -> None:
    here.mock.keys[MINE] = Health.at_setup(getattr(Health, name)())
    async with session(here) as client:
        await tell(client, {"setup": {"model": MODEL}})
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == CLOSES[name]
    await until(lambda: here.mock.open == 0)


@pytest.mark.parametrize(("name", "status"), [("denied", 403), ("expired", 400), ("day_spent", 429)])
async def test_a_session_can_be_refused_at_its_handshake(here: Here, name: str, status: int) -> None:
    here.mock.keys[MINE] = Health.at_handshake(getattr(Health, name)())
    assert (await refused(here, f"{PATH}?key={MINE}"))[0] == status


async def test_sessions_are_counted_in_the_quota_of_their_model(here: Here) -> None:
    here.mock.keys[MINE] = Health.quota(1)
    async with session(here) as client:
        await set_up(client)
    async with session(here) as client:
        await tell(client, {"setup": {"model": MODEL}})
        assert await client.read_message() is None
        assert client.close_code == 1011
    here.clock.turn(60)
    async with session(here) as client:
        await set_up(client)


@pytest.mark.parametrize("tool", ["googleSearch", "google_search"])
async def test_a_session_that_searches_is_refused_on_the_free_tier(here: Here, tool: str) -> None:
    here.mock.keys[MINE] = Health.free_tier()
    async with session(here) as client:
        await set_up(client, tools=[{"functionDeclarations": []}])
    async with session(here) as client:
        await tell(client, {"setup": {"model": MODEL, "tools": [{tool: {}}]}})
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == (1011, QUOTA)
