"""Behind nginx and Caddy, as docs/ has them, the proxy is what it is without: piece by piece, both ways."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from proxycore.demo import Health, MockServer
from tests.bench.machine import free_port
from tests.relay.test_live import LIVE, echo, upstream
from tests.relay.test_upload import FILES, START, UPLOAD, begin, receiving, target_of
from tests.support.process import certify
from tests.support.proxy import KEYS, proxy
from tests.support.servers import document, needs, server
from tests.support.waiting import PATIENCE, until
from tests.support.wire import CHUNKED, Client, RawUpstream, Seen, answer, chunk

HOST = "proxy.example"  # what the tests' clients ask for
NOBODY = "http://127.0.0.1:9"
GENERATE = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"

pytestmark = pytest.mark.usefixtures("io_loop")
Written = Callable[[Path, int, int], tuple[str, ...]]


def nginx(folder: Path, port: int, proxy_port: int) -> tuple[str, ...]:
    """Writes its configuration; returns its command."""
    context = {
        "gemini.example;": f"{HOST};",
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:8000": f"127.0.0.1:{proxy_port}",
        "/etc/ssl/gemini.example/": f"{folder}/",
    }
    (folder / "site.conf").write_text(document("nginx.conf", context))
    main = "pid nginx.pid; events {} http { access_log off; include site.conf; }"
    (folder / "main.conf").write_text(main)
    settings = "daemon off; user root; worker_processes 1;"
    return ("nginx", "-p", str(folder), "-e", "stderr", "-c", "main.conf", "-g", settings)


def caddy(folder: Path, port: int, proxy_port: int) -> tuple[str, ...]:
    """The same for Caddy, which gets no certificate from anyone here, and listens on nothing else."""
    context = {
        "\ngemini.example {\n": f"\nhttps://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls cert.pem key.pem\n",
        "127.0.0.1:8000": f"127.0.0.1:{proxy_port}",
    }
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + document("Caddyfile", context))
    return ("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile")


both = pytest.mark.parametrize(
    "front",
    [
        pytest.param(nginx, marks=needs("nginx"), id="nginx"),
        pytest.param(caddy, marks=needs("caddy"), id="caddy"),
    ],
)


@dataclass
class Front:
    """One of them, as clients find it."""

    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trust, server_hostname=HOST, limit=2**20
        )
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def behind(front: Written, folder: Path, upstream_url: str) -> AsyncIterator[Front]:
    """The proxy behind one of them."""
    found = Front(free_port(), certify(folder, HOST))
    async with proxy(upstream_url, PUBLIC_URL=found.url) as here:
        with server(*front(folder, found.port, here.port), port=found.port, folder=folder):
            yield found


@both
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_a_piece_of_an_answer_is_there_before_the_next_is_sent(
    front: Written, kind: str, tmp_path: Path
) -> None:
    go_on = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + chunk(b"first"))
        await go_on.wait()
        writer.write(chunk(b"last") + chunk(b""))

    async with RawUpstream(script) as source, behind(front, tmp_path, source.url) as found:
        async with found.connect() as client:
            client.send("POST", GENERATE, body=b"{}")
            assert (await client.head()).status == 200
            pieces = client.chunks()
            assert await asyncio.wait_for(anext(pieces), PATIENCE) == b"first"
            go_on.set()
            assert [piece async for piece in pieces] == [b"last"]


@both
async def test_a_client_that_leaves_is_noticed_upstream(front: Written, tmp_path: Path) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"first"))
        await asyncio.Event().wait()

    async with RawUpstream(script) as source, behind(front, tmp_path, source.url) as found:
        async with found.connect() as client:
            client.send("POST", GENERATE, body=b"{}")
            await client.head()
            await anext(client.chunks())
            assert source.seen[0].closed is None
        await until(lambda: source.seen[0].closed is not None)


@both
async def test_an_upload_goes_to_the_public_address_and_arrives(front: Written, tmp_path: Path) -> None:
    mock = MockServer({secret: Health.healthy() for secret in KEYS.values()})
    async with behind(front, tmp_path, mock.listen()) as found:
        async with found.connect() as client:
            client.send("POST", FILES, *START, body=b"{}")
            started = await client.got()
        assert started.one("x-goog-upload-url").startswith(f"{found.url}/upload/v1beta/files?")
        async with found.connect() as client:
            client.send("POST", target_of(started), *UPLOAD, body=b"hello world!")
            ended = await client.got()
    assert json.loads(ended.body)["file"]["sizeBytes"] == "12"
    await mock.stop()


@both
async def test_a_piece_of_an_upload_is_there_before_the_next_is_sent(front: Written, tmp_path: Path) -> None:
    came = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result(await reader.readexactly(5))
        await reader.readexactly(5)
        writer.write(answer(200, b"{}"))

    async with receiving(receive) as url, behind(front, tmp_path, url) as found:
        async with found.connect() as client:
            begin(client, 10)
            client.writer.write(b"first")
            assert await asyncio.wait_for(came, PATIENCE) == b"first"
            client.writer.write(b"after")
            assert (await client.got()).status == 200


@both
async def test_a_live_session_passes(front: Written, tmp_path: Path) -> None:
    async with upstream(echo) as url, behind(front, tmp_path, url) as found:
        address = f"wss://{HOST}:{found.port}{LIVE}"
        session = connect(address, ssl=found.trust, proxy=None, host="127.0.0.1", port=found.port)
        async with session as client:
            for message in ("text", b"bytes"):
                await client.send(message)
                assert await client.recv() == message


@both
@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_who_comes_through_it_is_not_of_this_host(front: Written, host: str, tmp_path: Path) -> None:
    async with behind(front, tmp_path, NOBODY) as found, found.connect() as client:
        client.send("GET", "/status.json", ("Host", host))
        assert b'"keys"' not in (await client.got()).body
