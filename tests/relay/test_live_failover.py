"""Live sessions that the upstream refuses after the handshake: another key serves them, unseen."""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from proxycore.gemini.verdict import BenchScope, Reaction, Verdict
from tests.relay.test_live import SETUP, closed, echo, session, upstream
from tests.support.proxy import Proxy, proxy, rests
from tests.support.waiting import PATIENCE, at_once, quiet, until

KEYS = {f"GOOGLE_API_KEY_{name}": f"AQ.the-secret-of-key-{name}" for name in "123"}
EXPIRED = 1007, "API key expired. Please renew the API key."
INVALID = 1007, "API key not valid. Please pass a valid API key."
SPENT = 1011, "You exceeded your current quota, please check your plan and billing details."
COMPLETE = json.dumps({"setupComplete": {}})

pytestmark = pytest.mark.usefixtures("io_loop")
Says = Callable[[ServerConnection, str | bytes], Awaitable[None]]
"""What the upstream does with a key's session once the setup message is there."""


@pytest.fixture(autouse=True)
def calm(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may bring about a fault of ours."""
    caplog.set_level(logging.INFO, "proxycore")
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # the tests' own servers fail as they like
    yield
    assert "internal error" not in caplog.text
    assert "never retrieved" not in caplog.text
    assert not any(secret in caplog.text for secret in KEYS.values())


class Upstream:
    """Plays each key's part, and notes what each session was told."""

    def __init__(self, **parts: Says) -> None:
        self._parts = parts
        self.begun: list[str] = []  # the keys' names, in order
        self.heard: list[list[str | bytes]] = []  # by session
        self.ended = 0

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request
        name = connection.request.headers["x-goog-api-key"].rpartition("-")[2]
        heard: list[str | bytes] = []
        self.begun.append(name)
        self.heard.append(heard)
        with contextlib.suppress(ConnectionClosed):
            heard.append(await connection.recv())
            await self._parts.get(f"key{name}", serves)(connection, heard[0])
            async for message in connection:
                heard.append(message)
                await connection.send(message)
        await connection.wait_closed()
        self.ended += 1


async def serves(connection: ServerConnection, _: str | bytes) -> None:
    await connection.send(COMPLETE)


def closes(code: int, reason: str) -> Says:
    async def close(connection: ServerConnection, _: str | bytes) -> None:
        await connection.close(code, reason)

    return close


async def breaks_off(connection: ServerConnection, _: str | bytes) -> None:
    connection.transport.abort()


async def stays_silent(connection: ServerConnection, _: str | bytes) -> None:
    async for _message in connection:
        pass


@contextlib.asynccontextmanager
async def pool(part: Upstream, **variables: str) -> AsyncIterator[Proxy]:
    async with upstream(part) as url, proxy(url, KEYS | variables) as here:
        yield here


async def converse(client: ClientConnection, setup: object = SETUP) -> None:
    """Sets a session up, and fails when it does not work."""
    async with asyncio.timeout(PATIENCE):
        await client.send(json.dumps(setup))
        assert await client.recv() == COMPLETE
        for message in ("Hello", b"\x00\xff"):
            await client.send(message)
            assert await client.recv() == message


def counters(here: Proxy, name: str) -> Mapping[tuple[str, ...], float]:
    """What was counted under this name."""
    return here.app.meter.counters.of(name)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_a_session_that_two_dead_keys_refuse_works_with_the_third(binary: bool) -> None:
    async def complete(connection: ServerConnection, _: str | bytes) -> None:
        await connection.send(COMPLETE.encode() if binary else COMPLETE)

    part = Upstream(key1=closes(*EXPIRED), key2=closes(*INVALID), key3=complete)
    setup = json.dumps(SETUP)
    async with pool(part) as here:
        for _ in range(12):
            async with session(here) as client, asyncio.timeout(PATIENCE):
                await client.send(setup.encode() if binary else setup)
                assert await client.recv() == (COMPLETE.encode() if binary else COMPLETE)
                await client.send("Hello")
                assert await client.recv() == "Hello"
        await until(lambda: sum(counters(here, "requests").values()) == 12)
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"served"}
        assert sum(counters(here, "failovers").values()) == len(part.begun) - 12
    assert all(heard[0] == (setup.encode() if binary else setup) for heard in part.heard)
    assert len(part.begun) - part.begun.count("3") <= 6


async def test_when_every_key_is_refused_alike_the_client_gets_the_upstreams_code_and_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def without_search(connection: ServerConnection, setup: str | bytes) -> None:
        await (closes(*SPENT) if "googleSearch" in str(setup) else serves)(connection, setup)

    part = Upstream(key1=without_search, key2=without_search, key3=without_search)
    with_search: object = {"setup": SETUP["setup"] | {"tools": [{"googleSearch": {}}]}}
    async with pool(part, MAX_WAIT="0") as here:
        async with session(here) as client:
            await client.send(json.dumps(with_search))
            assert await closed(client) == SPENT
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"client_error"}
        assert sorted(part.begun) == ["1", "2", "3"]
        for _ in range(6):
            async with session(here) as client:
                await converse(client)
        # What the refusals were about is known once others were served meanwhile: a second at most.
        assert not any(key.usable_at > here.app.rotator._clock() for key in here.app.rotator.keys)
    line = [record for record in caplog.records if record.message == "client error"]
    assert [(one.__dict__["fields"]["status"], one.__dict__["fields"]["attempts"]) for one in line] == [
        (429, 3)
    ]


async def test_a_key_in_the_upstreams_last_reason_is_not_shown() -> None:
    reason = "API key not valid. Please pass a valid API key. AQ.the-secret-of-key-"
    part = Upstream(**{f"key{name}": closes(1007, reason + name) for name in "123"})
    async with pool(part, MAX_WAIT="0") as here, session(here) as client:
        await client.send(json.dumps(SETUP))
        code, text = await closed(client)
    last = part.begun[-1]
    assert (code, text) == (1007, f"API key not valid. Please pass a valid API key. [key {last}]")


async def test_an_upstream_that_breaks_off_before_it_begins_gets_another_try() -> None:
    part = Upstream(key1=breaks_off, key2=breaks_off)
    async with pool(part) as here:
        async with session(here) as client:
            await converse(client)
        assert not any(map(rests, here.app.rotator.keys))


async def test_an_upstream_that_always_breaks_off_breaks_the_client_off_in_the_end() -> None:
    part = Upstream(key1=breaks_off, key2=breaks_off, key3=breaks_off)
    async with pool(part) as here:
        async with session(here) as client:
            await client.send(json.dumps(SETUP))
            assert await closed(client) == (1006, "")
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"failed"}
    assert len(part.begun) > 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1007, "Request contains an invalid argument."),
        (1007, "Unknown name 'API key expired': Cannot find field."),
        (1008, "Request contains an invalid argument."),
        (1011, "Internal error encountered."),
        (4000, "API key expired. Please renew the API key."),
    ],
)
async def test_a_close_that_does_not_speak_of_the_key_is_passed_on(code: int, reason: str) -> None:
    part = Upstream(**{f"key{name}": closes(code, reason) for name in "123"})
    async with pool(part) as here:
        async with session(here) as client:
            await client.send(json.dumps(SETUP))
            assert await closed(client) == (code, reason)
        assert not any(map(rests, here.app.rotator.keys))
    assert len(part.begun) == 1


async def test_after_the_session_has_begun_nothing_is_tried_again() -> None:
    """Google ends sessions after an hour with code 1011, whatever their last words."""

    async def begins_and_ends(connection: ServerConnection, _: str | bytes) -> None:
        await connection.send(COMPLETE)
        await connection.recv()
        await connection.close(*SPENT)

    part = Upstream(key1=begins_and_ends, key2=begins_and_ends, key3=begins_and_ends)
    async with pool(part) as here:
        async with session(here) as client:
            await client.send(json.dumps(SETUP))
            assert await client.recv() == COMPLETE
            await client.send("Hello")
            assert await closed(client) == SPENT
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"served"}
        assert not any(map(rests, here.app.rotator.keys))
    assert len(part.begun) == 1


async def test_all_that_a_client_says_before_its_session_begins_reaches_the_key_that_serves_it() -> None:
    said: list[str | bytes] = [json.dumps(SETUP), *(b"audio %d" % n for n in range(30)), "the end"]

    async def listens_and_closes(connection: ServerConnection, _: str | bytes) -> None:
        for _count in range(10):
            await connection.recv()
        await connection.close(*EXPIRED)

    async def listens_and_begins(connection: ServerConnection, setup: str | bytes) -> None:
        heard.append(setup)
        while heard[-1] != "the end":
            heard.append(await connection.recv())
        await connection.send(COMPLETE)

    heard: list[str | bytes] = []
    part = Upstream(key1=listens_and_closes, key2=listens_and_closes, key3=listens_and_begins)
    async with pool(part) as here, session(here) as client:
        for message in said:
            await client.send(message)
        assert await client.recv() == COMPLETE
        await client.send("and on")
        assert await client.recv() == "and on"
    assert heard == said


async def test_a_huge_setup_message_goes_to_the_next_key_too() -> None:
    setup = {"setup": SETUP["setup"] | {"systemInstruction": {"parts": [{"text": "x" * 5_000_000}]}}}
    part = Upstream(key1=closes(*EXPIRED), key2=closes(*INVALID))
    async with upstream(part) as url, proxy(url, KEYS) as here:
        for _ in range(3):
            async with session(here) as client:
                await converse(client, setup)
    assert {heard[0] for heard in part.heard} == {json.dumps(setup)}


@pytest.mark.turned
async def test_a_client_is_not_read_on_while_much_is_kept_for_it() -> None:
    part = Upstream(key1=stays_silent, key2=stays_silent, key3=stays_silent)
    piece, sent = b"a" * 256 * 1024, 0

    async def send(client: ClientConnection) -> None:
        nonlocal sent
        await client.send(json.dumps(SETUP))
        while True:
            await client.send(piece)
            sent += 1

    async with pool(part) as here, session(here) as client:
        sending = asyncio.create_task(send(client))
        await until(lambda: sent > 3)
        await quiet()
        assert sum(record.received_bytes for record in here.app.meter._open) <= 1024 * 1024 + 2 * len(piece)
        sending.cancel()
        # What is still on its way would hide that the client has left, so a reset tells.
        connection = client.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
        await until(lambda: part.ended == 1)


@pytest.mark.parametrize("leaves", ["closes", "goes away"])
@pytest.mark.parametrize("phase", ["before it says anything", "before it begins", "after a refusal"])
async def test_a_client_that_disconnects_ends_the_upstreams_side_at_once(phase: str, leaves: str) -> None:
    other = closes(*EXPIRED) if phase == "after a refusal" else stays_silent
    part = Upstream(key1=other, key2=other, key3=stays_silent)
    async with pool(part) as here, session(here) as client:
        if phase != "before it says anything":
            await client.send(json.dumps(SETUP))
            await until(lambda: bool(part.begun) and (phase == "before it begins" or part.begun[-1] == "3"))
            await until(lambda: bool(part.heard[-1]))
        ended = part.ended
        if leaves == "closes":
            await client.close()
        else:
            client.transport.abort()
            await at_once(lambda: part.ended == ended + 1)
        await until(lambda: part.ended == len(part.begun) and not here.app.context.running)
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"left"}
        assert all(not rests(key) for key in here.app.rotator.keys if key.name == "3")


@pytest.mark.turned
async def test_a_slow_upstream_has_all_the_time_that_it_takes() -> None:
    go_on = asyncio.Event()

    async def begins_late(connection: ServerConnection, _: str | bytes) -> None:
        await go_on.wait()
        await connection.send(COMPLETE)

    part = Upstream(key1=begins_late, key2=begins_late, key3=begins_late)
    async with pool(part) as here, session(here) as client:
        working = asyncio.create_task(converse(client))
        await until(lambda: bool(part.heard) and bool(part.heard[0]))
        await quiet()
        go_on.set()
        await working
    assert len(part.begun) == 1


@pytest.mark.turned
async def test_keys_that_refuse_before_the_client_has_said_anything_are_skipped() -> None:
    async def script(connection: ServerConnection) -> None:
        assert connection.request
        name = connection.request.headers["x-goog-api-key"][-1]
        begun.append(name)
        if name in "12":
            await connection.close(*EXPIRED)
            return
        await echo(connection)

    begun: list[str] = []
    async with upstream(script) as url, proxy(url, KEYS) as here:
        for _ in range(4):
            async with session(here) as client:
                await quiet()
                await client.send(json.dumps(SETUP))
                assert await client.recv() == json.dumps(SETUP)
    assert begun.count("3") == 4


async def test_the_subprotocol_that_was_chosen_stays_when_the_key_changes() -> None:
    part = Upstream(key1=closes(*EXPIRED), key2=closes(*EXPIRED))
    names = [Subprotocol("two"), Subprotocol("three")]
    async with upstream(part, subprotocols=names) as url, proxy(url, KEYS) as here:
        for _ in range(3):
            offered = [Subprotocol("one"), Subprotocol("three"), Subprotocol("two")]
            async with session(here, subprotocols=offered) as client:
                await converse(client)
                assert client.subprotocol in names


def spend(here: Proxy, *names: str, seconds: float = 34.0) -> None:
    """These keys have no quota left for the model of `SETUP`, for so many seconds, as an answer has told."""
    rotator = here.app.rotator
    spent = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, seconds)
    for key in rotator.keys:
        if key.name in names:
            rotator.apply(rotator.call(key, "gemini-2.5-flash-live-preview", spends=True), spent)


async def test_a_key_whose_quota_for_the_model_is_known_to_be_spent_is_skipped() -> None:
    part = Upstream()
    async with pool(part) as here:
        spend(here, "1", "2")
        for _ in range(6):
            async with session(here) as client:
                await converse(client)
    assert {name for name, heard in zip(part.begun, part.heard, strict=True) if heard} == {"3"}


async def test_a_model_that_is_not_found_is_told_as_the_upstream_tells_it() -> None:
    told = 1008, "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent."
    part = Upstream(**{f"key{name}": closes(*told) for name in "123"})
    async with pool(part) as here, session(here) as client:
        await client.send(json.dumps(SETUP))
        assert await closed(client) == told


async def test_no_more_attempts_are_made_than_a_request_may_cost() -> None:
    part = Upstream(**{f"key{name}": closes(*EXPIRED) for name in "123"})
    async with pool(part, MAX_ATTEMPTS="2") as here, session(here) as client:
        await client.send(json.dumps(SETUP))
        assert await closed(client) == EXPIRED
    assert len(part.begun) == 2


async def test_with_every_key_benched_a_session_is_closed_with_what_to_do() -> None:
    part = Upstream()
    async with pool(part, MAX_WAIT="0") as here:
        spend(here, "1", "2", "3")
        async with session(here) as client:
            await client.send(json.dumps(SETUP))
            code, reason = await closed(client)
        assert (code, "Retry in" in (reason or "")) == (1013, True)
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"refused"}
    assert not any(part.heard)


MISTAKEN = "Request contains an invalid argument."


def refuses(message: str, *names: str) -> Callable[[ServerConnection, Request], Response | None]:
    """Refuses the handshakes of these keys."""

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers["x-goog-api-key"][-1] not in names:
            return None
        error = {"code": 400, "message": message}
        response = connection.respond(400, json.dumps({"error": error | {"status": "INVALID_ARGUMENT"}}))
        response.headers["Content-Type"] = "application/json"
        return response

    return answer


async def test_a_handshake_that_another_key_is_refused_later_changes_nothing_of_what_the_client_is_told() -> (
    None
):
    for _ in range(4):
        part = Upstream(key1=closes(*EXPIRED))
        async with (
            upstream(part, process_request=refuses(INVALID[1], "2", "3")) as url,
            proxy(url, KEYS, MAX_WAIT="0") as here,
            session(here) as client,
        ):
            await client.send(json.dumps(SETUP))
            assert await closed(client) == EXPIRED


async def test_a_handshake_that_is_refused_when_the_client_has_a_response_closes_its_session() -> None:
    part = Upstream()
    resumed = {"setup": SETUP["setup"] | {"sessionResumption": {"handle": "h-3"}}}
    refusing: list[str] = []

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        return refuses(MISTAKEN, *refusing)(connection, request)

    async with upstream(part, process_request=answer) as url, proxy(url, KEYS, MAX_WAIT="0") as here:
        async with session(here) as client:
            (name,) = part.begun
            refusing.extend({"1", "2", "3"} - {name})
            other = next(key for key in here.app.rotator.keys if key.name != name)
            here.app.affinity.learn(["handle/h-3"], other)
            await client.send(json.dumps(resumed))
            code, reason = await closed(client)
            assert (code, reason) == (1008, MISTAKEN)
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"client_error"}


async def test_an_upstream_that_is_gone_when_another_key_is_tried_is_reported() -> None:
    part = Upstream()
    resumed = {"setup": SETUP["setup"] | {"sessionResumption": {"handle": "h-4"}}}
    async with upstream(part) as url, proxy(url, KEYS) as here:
        async with session(here) as client:
            (name,) = part.begun
            other = next(key for key in here.app.rotator.keys if key.name != name)
            here.app.affinity.learn(["handle/h-4"], other)
            here.app.upstream.origin = "http://127.0.0.1:9"
            await client.send(json.dumps(resumed))
            assert await closed(client) == (1011, "The upstream could not be reached.")
        await until(lambda: bool(counters(here, "requests")))
        assert {outcome for outcome, *_ in counters(here, "requests")} == {"failed"}


async def test_a_session_waits_for_a_key_that_is_ready_in_time() -> None:
    part = Upstream()
    async with pool(part, MAX_WAIT="10") as here:
        spend(here, "1", "2", "3", seconds=0.3)
        async with session(here) as client:
            await converse(client)


async def test_a_session_that_names_something_of_one_project_stays_with_its_key() -> None:
    resumed = {"setup": SETUP["setup"] | {"sessionResumption": {"handle": "h-1"}}}
    part = Upstream(key1=closes(*EXPIRED), key2=serves, key3=serves)
    async with pool(part, MAX_WAIT="0") as here:
        here.app.affinity.learn(["handle/h-1"], here.app.rotator.keys[0])
        async with session(here) as client:
            await client.send(json.dumps(resumed))
            assert await closed(client) == EXPIRED
    assert [name for name, heard in zip(part.begun, part.heard, strict=True) if heard] == ["1"]


async def test_a_handle_whose_key_is_not_known_is_looked_for_with_every_key() -> None:
    resumed = {"setup": SETUP["setup"] | {"sessionResumption": {"handle": "h-2"}}}
    stranger = closes(1008, "BidiGenerateContent session not found")
    part = Upstream(key1=stranger, key2=stranger)
    async with pool(part) as here:
        for _ in range(4):
            async with session(here) as client:
                await converse(client, resumed)
        assert not any(map(rests, here.app.rotator.keys))
    served = [name for name, heard in zip(part.begun, part.heard, strict=True) if len(heard) > 1]
    assert served == ["3"] * 4
    told = [name for name, heard in zip(part.begun, part.heard, strict=True) if heard]
    assert len(told) <= 6
