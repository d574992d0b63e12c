"""Live sessions with what neither side should say: refusals, handshakes and closes of every make."""

import asyncio
import base64
import json
import logging
import struct
from collections.abc import Iterator

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.utils import accept_key

from tests.relay.test_live import LIVE, upstream
from tests.support.proxy import KEYS, proxy
from tests.support.waiting import until
from tests.support.wire import Client, Got, RawUpstream, Seen, connect

ONE_KEY = {"GOOGLE_API_KEY_1": KEYS["GOOGLE_API_KEY_1"]}
SECRET = ONE_KEY["GOOGLE_API_KEY_1"]
NONCE = base64.b64encode(bytes(16)).decode()
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": NONCE,
}

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=30)]


@pytest.fixture(autouse=True)
def calm(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may bring about a fault of ours."""
    caplog.set_level(logging.INFO)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # the tests' own servers fail as they like
    yield
    assert "Traceback" not in caplog.text
    assert "internal error" not in caplog.text
    assert "never retrieved" not in caplog.text


async def opened(client: Client, target: str = LIVE) -> None:
    """Opens a session, and fails when that can't be done."""
    client.send("GET", target, *HANDSHAKE.items())
    async with asyncio.timeout(10):
        assert (await client.head()).status == 101


REFUSALS = {
    "no HTTP": b"hello\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nhi",
    "204 with a length": b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n",
    "two lengths": b"HTTP/1.1 400 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "a length of 5000 digits": b"HTTP/1.1 400 X\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\nhi",
    "no acceptance": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "an interim response": b"HTTP/1.1 102 X\r\n\r\n",
}


async def refused(data: bytes) -> Got:
    """What a client gets when the upstream answers a handshake so, and closes."""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    async with RawUpstream(script) as source, proxy(source.url, ONE_KEY, MAX_ATTEMPTS="1") as here:
        async with connect(here.port) as client:
            client.send("GET", LIVE, *HANDSHAKE.items())
            return await client.got()


@pytest.mark.parametrize("data", REFUSALS.values(), ids=REFUSALS)
async def test_a_malformed_response_to_a_handshake_is_told_as_such(data: bytes) -> None:
    got = await refused(data)
    error = json.loads(got.body)["error"]
    assert (got.status, error["status"]) == (500, "UNAVAILABLE")
    assert error["message"].startswith("The upstream's response is malformed: it")


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 400 X\r\nContent-Length: 3\r\n\r"], ids=["nothing", "half a head"]
)
async def test_a_response_to_a_handshake_that_breaks_off_is_told_as_such(data: bytes) -> None:
    message = json.loads((await refused(data)).body)["error"]["message"]
    assert message == "The upstream broke off the connection before the response was complete."


async def test_a_refusal_shows_no_key_anywhere() -> None:
    head = f"HTTP/1.1 400 the key {SECRET}\r\nX-A: {SECRET}\r\nContent-Length: {len(SECRET)}\r\n\r\n"
    got = await refused((head + SECRET).encode())
    assert (got.status, got.reason, got.one("x-a"), got.body) == (400, "Bad Request", "[key 1]", b"[key 1]")


TARGETS = ["/ws/x#frag", "/ws/x;a=b?c;d#e", "/ws/x@y:z/", '/ws/[x]{y}|\\^`"<>', "/ws/%zz?%"]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_sessions_target_goes_on_byte_for_byte(target: str) -> None:
    seen: list[str] = []

    async def script(connection: ServerConnection) -> None:
        assert connection.request
        seen.append(connection.request.path)

    async with upstream(script) as url, proxy(url, ONE_KEY) as here, connect(here.port) as client:
        await opened(client, target)
        await until(lambda: bool(seen))
    assert seen == [target]


BAD_HANDSHAKES: dict[str, tuple[str, str]] = {
    "subprotocols that are no tokens": ("Sec-WebSocket-Protocol", "a b;c"),
    "subprotocols in another alphabet": ("Sec-WebSocket-Protocol", "\xe9"),
    "a subprotocol twice": ("Sec-WebSocket-Protocol", "a, a"),
    "no key": ("Sec-WebSocket-Key", ""),
    "a key of another length": ("Sec-WebSocket-Key", "eA=="),
    "no upgrade": ("Upgrade", ""),
    "no connection": ("Connection", ""),
    "another version": ("Sec-WebSocket-Version", "12"),
}


@pytest.mark.parametrize(("name", "value"), BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
async def test_a_malformed_handshake_is_told_before_the_upstream_is_asked(name: str, value: str) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with RawUpstream(script) as source, proxy(source.url, ONE_KEY) as here:
        async with connect(here.port) as client:
            client.send("GET", LIVE, *(HANDSHAKE | {name: value}).items())
            got = await client.got()
        assert (got.status, json.loads(got.body)["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert source.seen == []


def closing(code: int, reason: bytes = b"why") -> bytes:
    return struct.pack(">H", code) + reason


CLOSES = {
    **{
        str(code): (closing(code), (1000, "why"))
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    },
    **{f"{code} as it is": (closing(code), (code, "why")) for code in (1001, 1007, 1011, 1014, 3000, 4999)},
    "a long reason": (closing(1000, b"x" * 123), (1000, "x" * 123)),
    "no text": (closing(1000, b"\xff\xfe"), (1000, "")),
}


@pytest.mark.parametrize(("payload", "seen_there"), CLOSES.values(), ids=CLOSES)
async def test_a_clients_close_of_any_make_closes_the_upstream(
    payload: bytes, seen_there: tuple[int, str]
) -> None:
    ends: list[tuple[int | None, str | None]] = []

    async def script(connection: ServerConnection) -> None:
        try:
            await connection.recv()
        except ConnectionClosed:
            ends.append((connection.close_code, connection.close_reason))

    async with upstream(script) as url, proxy(url, ONE_KEY) as here, connect(here.port) as client:
        await opened(client)
        client.writer.write(bytes([0x88, 0x80 | len(payload)]) + bytes(4) + payload)
        await until(lambda: bool(ends))
    assert ends == [seen_there]


UPSTREAM_CLOSES = {
    **{str(code): (closing(code), b"") for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)},
    "no text": (closing(1000, b"\xff\xfe"), b""),
    "a single byte": (b"\x03", b""),
    "nothing": (b"", b"\x88\x02\x03\xe8"),
    "a key": (closing(1008, f"bad {SECRET}".encode()), b"\x88\x0d" + closing(1008, b"bad [key 1]")),
}


@pytest.mark.parametrize(("payload", "shown"), UPSTREAM_CLOSES.values(), ids=UPSTREAM_CLOSES)
async def test_an_upstreams_close_of_any_make_ends_the_session(payload: bytes, shown: bytes) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        accept = accept_key(seen.all("sec-websocket-key")[0]).encode()
        writer.write(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + bytes([0x88, len(payload)]) + payload)
        await asyncio.Event().wait()

    async with (
        RawUpstream(script) as source,
        proxy(source.url, ONE_KEY) as here,
        connect(here.port) as client,
    ):
        await opened(client)
        async with asyncio.timeout(10):
            frame = await client.reader.read(len(shown) or 1)
    assert frame == shown


FRAMES = {
    "text that is no UTF-8": b"\x81\x81" + bytes(4) + b"\xff",
    "a reserved bit": b"\xf1\x80" + bytes(4),
    "an unknown kind": b"\x83\x80" + bytes(4),
    "a continuation of nothing": b"\x80\x81" + bytes(4) + b"a",
    "a length of 2 to the 63rd": b"\x82\xff\x80" + bytes(11),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_a_frame_of_no_make_ends_the_session(frame: bytes) -> None:
    ended = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        ended.set()

    async with upstream(script) as url, proxy(url, ONE_KEY) as here, connect(here.port) as client:
        await opened(client)
        client.writer.write(frame)
        async with asyncio.timeout(10):
            await client.reader.read()
            await ended.wait()
