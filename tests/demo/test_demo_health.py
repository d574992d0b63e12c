"""How states of the mock's keys are put together: shares, moments, outages, and errors in streams."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Health
from tests.support.demo_client import GENERATE, HELLO, MINE, OTHER, STREAM, Here, started
from tests.support.waiting import at_once, until
from tests.support.wire import Got, connect

INTERACTIONS, CHAT = "/v1beta/interactions", "/v1beta/openai/chat/completions"
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


async def test_a_share_of_requests_is_refused_the_same_ones_every_time(here: Here) -> None:
    async def statuses() -> list[int]:
        here.mock.keys[MINE] = Health.sometimes(0.3, Health.invalid(), seed=7)
        return [(await here.generate()).status for _ in range(60)]

    first = await statuses()
    assert 5 < first.count(400) < 35
    assert set(first) == {200, 400}
    assert await statuses() == first


async def test_a_health_can_end_at_a_moment(here: Here) -> None:
    here.mock.keys[MINE] = Health.until(here.clock.now + 4, Health.expired(), Health.overloaded())
    assert (await here.generate()).status == 400
    here.clock.turn(3.9)
    assert (await here.generate()).status == 400
    here.clock.turn(0.1)
    assert (await here.generate()).status == 503


async def test_the_first_of_several_healths_that_refuses_decides(here: Here) -> None:
    here.mock.keys[MINE] = Health.together(Health.quota(2), Health.forbidden(), Health.invalid())
    assert [(await here.generate()).status for _ in range(3)] == [403, 403, 429]


@pytest.mark.parametrize("name", ["bare_429", "forbidden", "invalid"])
async def test_an_outage_affects_all_keys_while_it_lasts(here: Here, name: str) -> None:
    here.mock.keys[OTHER] = Health.overloaded()
    here.mock.outage = getattr(Health, name)()
    expected = {"bare_429": 429, "forbidden": 403, "invalid": 400}[name]
    for key in (MINE, OTHER):
        assert (await here.ask("POST", GENERATE, HELLO, key=key)).status == expected
    assert (await here.ask("POST", GENERATE, HELLO, key="AQ.unknown")).status == 400
    here.mock.outage = None
    assert (await here.ask("POST", GENERATE, HELLO, key=MINE)).status == 200
    assert (await here.ask("POST", GENERATE, HELLO, key=OTHER)).status == 503


async def test_a_refusal_can_be_delayed(here: Here) -> None:
    here.mock.keys[MINE] = Health.slow(0.1, Health.timed_out())
    began = asyncio.get_running_loop().time()
    assert (await here.generate()).status == 504
    assert asyncio.get_running_loop().time() - began > 0.09
    here.mock.keys[MINE] = Health.slow(30, Health.timed_out())
    async with connect(here.port) as client:
        client.send("POST", GENERATE, ("X-Goog-Api-Key", MINE), body=json.dumps(HELLO).encode())
        await until(lambda: here.mock.open == 1)
    await at_once(lambda: here.mock.open == 0, 0.5)  # and not after the 30 seconds
    assert here.last.cut


def events(got: Got) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in got.body.decode().split("\r\n\r\n") if line]


@pytest.mark.parametrize(("name", "code"), [("model_overloaded", 503), ("bare_429", 429), ("invalid", 400)])
async def test_the_first_event_of_a_stream_can_be_an_error(here: Here, name: str, code: int) -> None:
    here.mock.keys[MINE] = Health.in_stream(getattr(Health, name)())
    got = await here.ask("POST", f"{STREAM}?alt=sse", HELLO)
    assert (got.status, got.one("content-type"), got.whole) == (200, "text/event-stream", True)
    (event,) = events(got)
    assert event["error"]["code"] == code
    array = await here.ask("POST", STREAM, HELLO)
    (event,) = json.loads(array.body)
    assert (array.status, event["error"]["code"]) == (200, code)
    assert (await here.generate()).status == code  # which is no stream


async def test_an_error_can_come_after_content(here: Here) -> None:
    here.mock.keys[MINE] = Health.in_stream(Health.model_overloaded(), 3)
    got = events(await here.ask("POST", f"{STREAM}?alt=sse", HELLO))
    assert ["error" in event for event in got] == [False, False, False, True]
    got = json.loads((await here.ask("POST", STREAM, HELLO)).body)
    assert ["error" in event for event in got] == [False, False, False, True]


async def test_an_error_in_a_stream_can_be_bare_json(here: Here) -> None:
    here.mock.keys[MINE] = Health.in_stream(Health.model_overloaded(), 1, raw=True)
    got = await here.ask("POST", f"{STREAM}?alt=sse", HELLO)
    event, _, tail = got.body.decode().partition("\r\n\r\n")
    assert event.startswith("data: ")
    assert tail.startswith('{\n  "error": {\n    "code": 503,')


async def test_other_surfaces_have_errors_in_streams_too(here: Here) -> None:
    here.mock.keys[MINE] = Health.in_stream(Health.day_spent())
    asked = {"model": "gemini-2.5-flash", "messages": [{"content": "x"}], "stream": True}
    chat = await here.ask("POST", CHAT, asked, ("Authorization", f"Bearer {MINE}"), key="")
    assert chat.status == 200
    assert json.loads(chat.body.decode().strip().removeprefix("data: "))["error"]["code"] == 429
    interaction = {"model": "gemini-2.5-flash", "input": "hi", "stream": True}
    got = await here.ask("POST", INTERACTIONS, interaction)
    name, data = got.body.decode().strip().split("\n")
    event = json.loads(data.removeprefix("data: "))
    assert (got.status, name, event["event_type"]) == (200, "event: error", "error")
    assert event["error"]["code"] == "quota_exceeded"
