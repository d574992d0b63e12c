"""Live interactions: WebSockets on `/v…/interactions/live`, which belong to an interaction's project."""

import json
from collections.abc import Callable

import pytest
from websockets.asyncio.server import ServerConnection

from tests.relay.test_live import CLIENT, LOCKED, closed, refused, session, upstream
from tests.relay.test_live_failover import KEYS
from tests.support.proxy import proxy, rests
from tests.support.wire import ask

PATH = "/v1beta/interactions/live"

pytestmark = pytest.mark.usefixtures("io_loop")


def connect_event(name: str) -> dict[str, str]:
    return {"event_type": "interaction.connect", "id": name}


MESSAGES: dict[str, Callable[[str], object]] = {
    "an event": connect_event,
    "a list": lambda name: {"events": [connect_event(name), {"event_type": "input", "content": []}]},
    "a batch": lambda name: {"ack_output_seq_num": 3, "events": [connect_event(name)]},
}


class Interactions:
    """An upstream that knows the interactions of each key's project."""

    def __init__(self, **owned: str) -> None:
        self.owned = owned  # by interaction: the key's name
        self.opened: list[tuple[str, str]] = []  # the key's name and the path
        self.told: list[str] = []  # the key's name, by first message

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request
        key = connection.request.headers["x-goog-api-key"][-1]
        self.opened.append((key, connection.request.path))
        message = json.loads(await connection.recv())
        self.told.append(key)
        event = message.get("events", [message])[0]
        if event["event_type"] == "interaction.create":
            self.owned[f"made-by-{key}"] = key
            said = {"event_type": "interaction.created", "interaction_id": f"made-by-{key}"}
            await connection.send(json.dumps(said))
        elif self.owned.get(event["id"]) != key:
            await connection.close(1008, "Requested entity was not found.")
            return
        async for other in connection:
            await connection.send(other)


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha", "v2beta3"])
@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES)
async def test_a_session_goes_to_the_key_that_owns_its_interaction(
    version: str, make: Callable[[str], object]
) -> None:
    part = Interactions(a="2", b="3")
    async with upstream(part) as url, proxy(url, KEYS | LOCKED) as here:
        for name, key in part.owned.items():
            here.app.affinity.learn([f"interactions/{name}"], here.app.rotator.keys[int(key) - 1])
        for name in ("a", "b", "a", "b"):
            path = f"/{version}/interactions/live"
            async with session(here, path, additional_headers={"x-goog-api-key": CLIENT}) as client:
                await client.send(json.dumps(make(name)))
                await client.send('{"event_type": "input"}')
                assert await client.recv() == '{"event_type": "input"}'
    assert part.told == ["2", "3", "2", "3"]
    assert {path for _, path in part.opened} == {path}


async def test_the_key_of_an_interaction_that_is_not_known_is_looked_for() -> None:
    part = Interactions(a="3")
    async with upstream(part) as url, proxy(url, KEYS) as here:
        for _ in range(3):
            async with session(here, PATH) as client:
                await client.send(json.dumps(connect_event("a")))
                await client.send("more")
                assert await client.recv() == "more"
        assert not any(map(rests, here.app.rotator.keys))
    assert part.told.count("3") == 3
    assert part.told[-2:] == ["3", "3"]


async def test_one_that_nobody_knows_is_told_as_the_upstream_tells_it() -> None:
    part = Interactions()
    async with upstream(part) as url, proxy(url, KEYS) as here:
        async with session(here, PATH) as client:
            await client.send(json.dumps(connect_event("nobodys")))
            assert await closed(client) == (1008, "Requested entity was not found.")
        assert not any(map(rests, here.app.rotator.keys))
    assert sorted(part.told) == ["1", "2", "3"]


async def test_what_a_session_makes_is_found_again_by_sessions_and_requests() -> None:
    part = Interactions()
    async with upstream(part) as url, proxy(url, KEYS) as here:
        async with session(here, PATH) as client:
            await client.send(json.dumps({"event_type": "interaction.create", "model": "gemini-live"}))
            made = json.loads(await client.recv())["interaction_id"]
        owner = here.app.affinity.of(f"interactions/{made}")
        assert owner
        assert made == f"made-by-{owner.name}"


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_session_that_makes_an_interaction_counts_for_its_model(wrapped: bool) -> None:
    part = Interactions()
    event = {"event_type": "interaction.create", "model": "models/gemini-live"}
    async with upstream(part) as url, proxy(url, KEYS) as here, session(here, PATH) as client:
        await client.send(json.dumps({"events": [event]} if wrapped else event))
        await client.recv()
        assert [record.model for record in here.app.meter._open] == ["gemini-live"]


async def test_anything_but_a_websocket_is_refused_there() -> None:
    async with proxy("http://127.0.0.1:9", KEYS | LOCKED) as here:
        mine = ("x-goog-api-key", CLIENT)
        assert (await ask(here.port, "GET", PATH, mine)).status == 400
        assert (await ask(here.port, "GET", PATH)).status == 401
        assert (await ask(here.port, "POST", PATH, mine, body=b"{}")).status == 405
        assert (await refused(here, PATH)).status_code == 401
        assert (await refused(here, "/v1beta/interactions/live/x")).status_code == 401


@pytest.mark.parametrize("message", ["", "{", "[]", "null", '{"events": []}', '{"events": [7]}', "\ud7ff"])
async def test_messages_that_say_nothing_are_passed_on(message: str) -> None:
    heard: list[str | bytes] = []

    async def script(connection: ServerConnection) -> None:
        async for said in connection:
            heard.append(said)
            await connection.send(said)

    for data in (message, message.encode(), b"\xff" + message.encode()):
        async with upstream(script) as url, proxy(url, KEYS) as here, session(here, PATH) as client:
            await client.send(data)
            assert await client.recv() == data
