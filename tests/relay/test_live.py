"""Live sessions: WebSockets through the proxy, message by message."""

import asyncio
import contextlib
import json
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from proxycore.demo import Health, MockServer
from tests.support.outbound import http_proxy, socks_proxy
from tests.support.process import TLS, certify, program
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.waiting import PATIENCE, quiet, until
from tests.support.wire import ask

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"setup": {"model": "models/gemini-2.5-flash-live-preview"}}
CLIENT = "the-clients-key"
LOCKED = {"OUTPUT_API_KEY": CLIENT}
ONE_KEY = {"GOOGLE_API_KEY_1": KEYS["GOOGLE_API_KEY_1"]}

pytestmark = pytest.mark.usefixtures("io_loop")
Script = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def upstream(script: Script, **options: Any) -> AsyncIterator[str]:  # noqa: ANN401 - websockets' options
    """A WebSocket server that does what a test says, with its URL as UPSTREAM_URL wants it."""
    server: Server
    async with serve(script, "127.0.0.1", 0, compression=None, max_size=None, **options) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def session(here: Proxy, path: str = LIVE, **options: Any) -> connect:  # noqa: ANN401 - the same
    url = f"ws://127.0.0.1:{here.port}{path}"
    return connect(url, proxy=None, max_size=None, compression=None, **options)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def closed(connection: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the session ended."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.recv()
    return connection.close_code, connection.close_reason


# Messages.


async def test_messages_arrive_as_they_were_sent_text_as_text_and_binary_as_binary() -> None:
    messages: list[str | bytes] = [
        "text",
        b"bytes",
        "Grüße, 世界 🌍",
        "",
        b"",
        b"\x00\xff" * 1000,
        "x" * 100_000,
        "not json {",
    ]
    async with upstream(echo) as url, proxy(url) as here, session(here) as client:
        for message in messages:
            await client.send(message)
        assert [await client.recv() for _ in messages] == messages


async def test_a_message_of_forty_megabytes_passes_both_ways() -> None:
    message = bytes(range(256)) * (40 * 4096)
    async with upstream(echo) as url, proxy(url) as here, session(here) as client:
        await client.send(message)
        assert await client.recv() == message


@pytest.mark.parametrize("path", [LIVE, f"/{LIVE}", f"//{LIVE}"], ids=["one", "two", "three"])
async def test_slashes_at_the_start_count_as_one(path: str) -> None:
    seen: list[str] = []

    async def script(connection: ServerConnection) -> None:
        assert connection.request
        seen.append(connection.request.path)

    async with upstream(script) as url, proxy(url, KEYS | LOCKED) as here:
        async with session(here, f"{path}?a=%20&key={CLIENT}&b="):
            pass
    assert seen == [f"{LIVE}?a=%20&b="]


async def test_pings_are_answered_by_both_sides() -> None:
    answered = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await (await connection.ping())
        answered.set()
        await connection.wait_closed()

    async with upstream(script) as url, proxy(url) as here, session(here) as client:
        await asyncio.wait_for(await client.ping(), PATIENCE)
        await asyncio.wait_for(answered.wait(), PATIENCE)


async def test_the_upstream_chooses_among_the_subprotocols_that_the_client_offers() -> None:
    names = [Subprotocol("two"), Subprotocol("three")]
    async with upstream(echo, subprotocols=names) as url, proxy(url) as here:
        async with session(here, subprotocols=[Subprotocol("one"), Subprotocol("two")]) as client:
            assert client.subprotocol == "two"


@pytest.mark.turned
@pytest.mark.parametrize("stalled", ["the client", "the upstream"])
async def test_who_stops_reading_stalls_the_other_and_nothing_is_lost(stalled: str) -> None:
    count, size = 400, 256 * 1024
    sent = 0
    go_on = asyncio.Event()

    async def send(connection: ClientConnection | ServerConnection) -> None:
        nonlocal sent
        for number in range(count):
            await connection.send(number.to_bytes(4) * (size // 4))
            sent += 1

    async def receive(connection: ClientConnection | ServerConnection) -> None:
        await go_on.wait()
        for number in range(count):
            assert await connection.recv() == number.to_bytes(4) * (size // 4)

    done = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await (send(connection) if stalled == "the client" else receive(connection))
        done.set()

    async with upstream(script, max_queue=1) as url, proxy(url) as here, session(here, max_queue=1) as client:
        mine = asyncio.create_task(receive(client) if stalled == "the client" else send(client))
        await until(lambda: sent > 0)
        await quiet()
        # Two connections' buffers in the kernel hold some of it; the proxy holds a message or two.
        assert sent < count
        go_on.set()
        await asyncio.wait_for(asyncio.gather(mine, done.wait()), PATIENCE)


# Ends.


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4321])
async def test_a_closing_upstream_closes_the_client_with_its_code_and_reason(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxycore")

    async def script(connection: ServerConnection) -> None:
        await connection.close(code, f"because of {KEYS['GOOGLE_API_KEY_1']}, größer")

    async with upstream(script) as url, proxy(url, ONE_KEY) as here, session(here) as client:
        assert await closed(client) == (code, "because of [key 1], größer")
        await until(lambda: bool(caplog.records))
    (record,) = caplog.records
    reason = None if code < 1002 else f"The upstream closed the session with code {code}"
    assert record.__dict__["fields"]["reason"] == reason


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_closing_client_closes_the_upstream_with_its_code_and_reason(code: int) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        ended.set_result((connection.close_code, connection.close_reason))

    async with upstream(script) as url, proxy(url) as here, session(here) as client:
        await client.close(code, "my reason")
        assert await asyncio.wait_for(ended, PATIENCE) == (code, "my reason")


async def test_an_upstream_that_breaks_off_breaks_the_client_off() -> None:
    async def script(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with upstream(script) as url, proxy(url) as here, session(here) as client:
        assert await closed(client) == (1006, "")


async def test_a_client_that_breaks_off_ends_the_upstreams_side() -> None:
    ended = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        ended.set()

    async with upstream(script) as url, proxy(url) as here, session(here) as client:
        client.transport.abort()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        await until(lambda: not here.app.context.running)


async def test_a_session_ends_with_1001_when_the_program_does(tmp_path: Path) -> None:
    async with upstream(echo) as url:
        environment = {"UPSTREAM_URL": url, "DRAIN_TIMEOUT": "0.3", "LOG_LEVEL": "debug", **ONE_KEY}
        with program(folder=tmp_path, environment=environment) as running:
            port = await asyncio.to_thread(lambda: running.port)
            async with connect(f"ws://127.0.0.1:{port}{LIVE}", proxy=None) as client:
                await client.send("the-prompt")
                running.signal(signal.SIGTERM)
                assert await client.recv() == "the-prompt"
                assert (await closed(client))[0] == 1001
            assert await asyncio.to_thread(running.exit_status) == 0
            assert "served method=GET" in running.log
            assert "status=101 key=1 attempts=1" in running.log
            assert "the-prompt" not in running.log
            assert KEYS["GOOGLE_API_KEY_1"] not in running.log


# Handshakes.


@contextlib.asynccontextmanager
async def pool(healths: Mapping[str, Health], **variables: str) -> AsyncIterator[tuple[MockServer, Proxy]]:
    mock = MockServer({f"AQ.secret-of-{name}": health for name, health in healths.items()})
    keys = {f"GOOGLE_API_KEY_{name}": f"AQ.secret-of-{name}" for name in healths}
    try:
        async with proxy(mock.listen(), keys | LOCKED | variables) as here:
            yield mock, here
    finally:
        await mock.stop()


async def test_a_refused_handshake_fails_over_to_another_key_unseen() -> None:
    healths = {"A": Health.suspended(), "B": Health.service_disabled(), "C": Health.invalid(), "D": Health()}
    async with pool(healths) as (mock, here):
        while sum(bool(key.retired or key.whole) for key in here.app.rotator.keys) < 3:
            async with session(here, f"{LIVE}?key={CLIENT}") as client:
                await client.send(json.dumps(SETUP))
                assert json.loads(await client.recv()) == {"setupComplete": {}}
        assert {call.key for call in mock.calls if call.status == 101} == {"AQ.secret-of-D"}


async def refused(here: Proxy, path: str, **options: Any) -> Response:  # noqa: ANN401 - websockets' options
    with pytest.raises(InvalidStatus) as caught:
        async with session(here, path, **options):
            pass
    return caught.value.response


async def test_refusals_are_plain_http_in_googles_shape() -> None:
    async with pool({"A": Health()}) as (mock, here):
        for path in (LIVE, f"{LIVE}?key=wrong"):
            response = await refused(here, path)
            assert (response.status_code, json.loads(response.body or b"")["error"]["code"]) == (401, 401)
        assert (await ask(here.port, "GET", f"{LIVE}?key={CLIENT}")).status == 400
        assert (await ask(here.port, "POST", f"{LIVE}?key={CLIENT}", body=b"{}")).status == 405
        assert not mock.calls


async def test_when_every_key_rests_the_handshake_says_when_to_come_again() -> None:
    async with pool({"A": Health.service_disabled()}, MAX_WAIT="0") as (_, here):
        response = await refused(here, f"{LIVE}?key={CLIENT}")
        assert (response.status_code, b"SERVICE_DISABLED" in (response.body or b"")) == (403, True)
        response = await refused(here, f"{LIVE}?key={CLIENT}")
        assert (response.status_code, response.headers["Retry-After"] > "0") == (429, True)


async def test_an_upstream_that_is_not_there_is_reported() -> None:
    async with proxy("http://127.0.0.1:9") as here:
        response = await refused(here, LIVE)
    assert (response.status_code, b"could not be reached" in (response.body or b"")) == (500, True)


async def test_a_redirect_is_not_followed() -> None:
    def away(connection: ServerConnection, _: Request) -> Response:
        response = connection.respond(302, "")
        response.headers["Location"] = "ws://127.0.0.1:9/"
        return response

    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
    async with upstream(echo, process_request=away) as url, proxy(url) as here:
        got = await ask(here.port, "GET", LIVE, *fields, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    assert got.status == 302


async def test_pages_of_other_origins_may_open_sessions_if_they_may_call() -> None:
    origins = "https://a.example"
    async with upstream(echo) as url, proxy(url, CORS_ALLOW_ORIGIN=origins) as here:
        async with session(here, origin="https://a.example"):
            pass
        assert (await refused(here, LIVE, origin="https://b.example")).status_code == 403


async def test_exactly_one_credential_goes_upstream_and_nothing_of_ours_comes_down() -> None:
    seen: list[Request] = []

    async def script(connection: ServerConnection) -> None:
        assert connection.request
        seen.append(connection.request)

    headers = {"x-goog-api-key": CLIENT, "Cookie": "a=b", "X-Goog-Api-Client": "gl-py/1", "Via": "x"}
    async with upstream(script) as url, proxy(url, ONE_KEY | LOCKED) as here:
        async with session(
            here, f"{LIVE}?key={CLIENT}", additional_headers=headers, user_agent_header="mine"
        ) as one:
            assert one.response
            assert KEYS["GOOGLE_API_KEY_1"] not in str(one.response.headers)
    sent = seen[0].headers
    assert sent.get_all("x-goog-api-key") == [KEYS["GOOGLE_API_KEY_1"]]
    assert (sent["x-goog-api-client"], sent.get_all("user-agent")) == ("gl-py/1", ["mine"])
    assert not {"cookie", "via", "authorization"} & {name.lower() for name in sent}


# Tokens and owners.


@pytest.mark.parametrize("place", ["query", "header"])
async def test_a_token_goes_on_as_it_is_and_no_key_with_it(place: str) -> None:
    async with pool({"A": Health(), "B": Health()}) as (mock, here):
        made = await ask(
            here.port, "POST", "/v1alpha/auth_tokens", ("x-goog-api-key", CLIENT), body=b'{"uses": 1}'
        )
        token = json.loads(made.body)["name"]
        path = LIVE.replace("v1beta", "v1alpha") + "Constrained"
        if place == "query":
            opened = session(here, f"{path}?access_token={token}")
        else:
            opened = session(here, path, additional_headers={"Authorization": f"Token {token}"})
        async with opened as client:
            await client.send(json.dumps(SETUP))
            assert json.loads(await client.recv()) == {"setupComplete": {}}
        call = mock.calls[-1]
        assert token in call.target + str(call.headers)
        assert "AQ.secret" not in call.target + str(call.headers)


async def test_an_invented_token_is_the_upstreams_to_refuse() -> None:
    async with pool({"A": Health()}) as (_, here):
        response = await refused(here, f"{LIVE}Constrained?access_token=auth_tokens/invented")
        assert response.status_code in {401, 403, 400}
        assert not any(key.retired or key.whole for key in here.app.rotator.keys)


async def test_a_session_is_resumed_with_the_key_that_it_began_with() -> None:
    async with pool({name: Health() for name in "ABCDE"}) as (mock, here):
        for _ in range(5):
            async with session(here, f"{LIVE}?key={CLIENT}") as client:
                await client.send(json.dumps({"setup": SETUP["setup"] | {"sessionResumption": {}}}))
                await client.recv()
                handle = json.loads(await client.recv())["sessionResumptionUpdate"]["newHandle"]
            owner = mock.calls[-1].key
            async with session(here, f"{LIVE}?key={CLIENT}") as client:
                resumed = {"setup": SETUP["setup"] | {"sessionResumption": {"handle": handle}}}
                await client.send(json.dumps(resumed))
                assert json.loads(await client.recv()) == {"setupComplete": {}}
            assert mock.calls[-1].key == owner


# Ways there.


async def test_sessions_over_tls_are_served_directly(tmp_path: Path) -> None:
    trusting = certify(tmp_path)
    async with upstream(echo) as url:
        environment = {"UPSTREAM_URL": url, **TLS, **ONE_KEY}
        with program(folder=tmp_path, environment=environment) as running:
            port = await asyncio.to_thread(lambda: running.port)
            async with connect(f"wss://127.0.0.1:{port}{LIVE}", ssl=trusting, proxy=None) as client:
                await client.send("through TLS")
                assert await client.recv() == "through TLS"
            assert "ready: https://" in running.log


async def test_the_upstreams_side_goes_over_tls_and_is_verified(tmp_path: Path) -> None:
    certify(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with upstream(echo, ssl=serving) as url:
        secure = url.replace("http", "https")
        async with proxy(secure, UPSTREAM_CA_FILE=str(tmp_path / "ca.pem")) as here, session(here) as client:
            await client.send("through TLS")
            assert await client.recv() == "through TLS"
        async with proxy(secure) as here:
            assert (await refused(here, LIVE)).status_code == 500


async def test_sessions_go_through_the_outbound_proxy() -> None:
    asked: list[bytes] = []
    over: list[str] = []
    async with (
        upstream(echo) as url,
        http_proxy(asked, b"user:pass") as port,
        socks_proxy(over) as other,
    ):
        for way in (f"http://user:pass@127.0.0.1:{port}", f"socks5://127.0.0.1:{other}"):
            async with proxy(url, UPSTREAM_PROXY=way) as here, session(here) as client:
                await client.send("around")
                assert await client.recv() == "around"
    assert (len(asked), over) == (1, ["127.0.0.1"])
