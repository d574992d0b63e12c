"""Live interactions with the mock, and the tokens for one of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.demo_client import MINE, OTHER, Here, started

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    """A mock whose clock is turned."""
    yield from started(io_loop)


def session(here: Here, key: str = MINE) -> connect:
    headers = {"x-goog-api-key": key}
    url = here.url.replace("http", "ws") + "/v1beta/interactions/live"
    return connect(url, proxy=None, additional_headers=headers)


async def made(here: Here) -> str:
    document = await here.json("POST", "/v1beta/interactions", {"model": "gemini-2.5-flash", "input": "hi"})
    return str(document["id"])


async def tell(client: ClientConnection, *events: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Sends one event, or several as a list; returns the first response."""
    await client.send(json.dumps(events[0] if len(events) == 1 else {"events": events}))
    return json.loads(await client.recv())


async def test_a_session_continues_an_interaction_and_echoes_its_input(here: Here) -> None:
    number = await made(here)
    said = {"event_type": "input", "content": [{"type": "text", "text": "Hello"}]}
    async with session(here) as client:
        heard = await tell(client, {"event_type": "interaction.connect", "id": number}, said)
        assert heard == {"event_type": "interaction.connected", "interaction_id": number}
        assert json.loads(await client.recv())["event_type"] == "step.start"
        assert json.loads(await client.recv())["delta"]["text"] == "You said: Hello"


async def test_a_session_makes_an_interaction_that_another_continues(here: Here) -> None:
    async with session(here) as client:
        heard = await tell(client, {"event_type": "interaction.create", "model": "gemini-2.5-flash"})
    connecting = {"event_type": "interaction.connect", "id": heard["interaction_id"]}
    async with session(here) as client:
        assert (await tell(client, connecting))["event_type"] == "interaction.connected"


async def test_an_interaction_of_another_project_is_not_found(here: Here) -> None:
    number = await made(here)
    async with session(here, OTHER) as client:
        with pytest.raises(ConnectionClosed):
            await tell(client, {"event_type": "interaction.connect", "id": number})
        assert (client.close_code, client.close_reason) == (1008, "Requested entity was not found.")


async def test_a_token_opens_a_session_until_it_is_deleted(here: Here) -> None:
    number = await made(here)
    token = (await here.json("POST", f"/v1beta/interactions/{number}/auth_tokens", {}))["auth_token"]
    async with session(here, token) as client:
        heard = await tell(client, {"event_type": "interaction.connect", "id": number})
        assert heard["event_type"] == "interaction.connected"
    await here.json("DELETE", f"/v1beta/interactions/{number}/{token}")
    with pytest.raises(InvalidStatus):
        async with session(here, token):
            pass


async def test_tokens_are_not_minted_for_what_another_project_owns(here: Here) -> None:
    number = await made(here)
    code, message = await here.refusal("POST", f"/v1beta/interactions/{number}/auth_tokens", {})
    assert (code, message) == (404, "Requested entity was not found.")
