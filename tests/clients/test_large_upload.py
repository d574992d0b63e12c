"""A large file through the program itself: complete, in little memory, and never past the proxy."""

import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import pytest
from google import genai

from proxycore.demo import MockServer
from tests.clients.common import CLIENT_KEY, MODEL, PROMPT, SPREAD, keys_of
from tests.clients.genai import known, with_client
from tests.support.process import Program, program

T = TypeVar("T")

MEGABYTES = 300
KEYS = {key: SPREAD[key] for key in ("AQ.healthy-1", "AQ.healthy-2", "AQ.healthy-3", "AQ.suspended")}
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random bytes, each megabyte with a different beginning."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    noise = os.urandom(2**20)
    with path.open("wb") as file:
        for number in range(MEGABYTES):
            file.write(number.to_bytes(4) + noise[4:])
    yield path
    path.unlink()  # pytest keeps the folders of some runs


class Seen:
    """All that a client sent and was sent, as its HTTP library has it."""

    def __init__(self, client: genai.Client) -> None:
        self.hosts: set[str] = set()
        self.text = ""
        http = client._api_client._httpx_client
        assert isinstance(http, httpx2.Client)
        http.event_hooks = {"request": [self.sent], "response": [self.received]}

    def sent(self, request: httpx2.Request) -> None:
        self.hosts.add(urlsplit(str(request.url)).netloc)

    def received(self, response: httpx2.Response) -> None:
        response.read()
        self.text += f"{response.headers}\n{response.text}\n"

    def check(self, url: str, mock: MockServer) -> None:
        assert self.hosts == {urlsplit(url).netloc}
        assert not any(key in self.text for key in mock.keys)


def peak_of(running: Program) -> int:
    """The most bytes that were ever resident."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextlib.asynccontextmanager
async def started(folder: Path, mock: MockServer, upstream_url: str) -> AsyncIterator[Program]:
    with program(folder=folder, environment={"UPSTREAM_URL": upstream_url, **keys_of(mock)}) as running:
        await asyncio.to_thread(lambda: running.port)
        yield running


async def watched(running: Program, mock: MockServer, work: Callable[[genai.Client], T]) -> T:
    """What this does with a client, whose traffic is recorded."""

    def with_one(client: genai.Client) -> T:
        seen = Seen(client)
        done = work(client)
        seen.check(running.url, mock)
        return done

    return await with_client(running.url, with_one)


def upload(client: genai.Client, path: Path) -> str:
    file = client.files.upload(file=path)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    assert base64.b64decode(known(file.sha256_hash)).decode() == digest
    assert file.size_bytes == path.stat().st_size
    return known(file.name)


def use(client: genai.Client, name: str) -> None:
    file = client.files.get(name=name)
    for _ in range(20):
        answer = client.models.generate_content(model=MODEL, contents=[file, PROMPT])
        assert PROMPT in known(answer.text)
    assert [each.name for each in client.files.list()].count(name) == 1


def use_and_delete(client: genai.Client, name: str) -> None:
    use(client, name)
    client.files.delete(name=name)
    assert name not in [each.name for each in client.files.list()]


def assert_came_from_the_sdk_by_way_of_the_proxy(mock: MockServer) -> None:
    for call in mock.calls:
        is_follow_up = "upload_id" in call.target
        assert call.key in mock.keys or (is_follow_up and not call.key)
        assert CLIENT_KEY not in call.target + str(call.headers)
        assert call.headers["User-Agent"].startswith("python-httpx" if is_follow_up else "google-genai-sdk/")
        assert is_follow_up or call.headers["X-Goog-Api-Client"].startswith("google-genai-sdk/")


async def test_a_large_file_is_uploaded_used_and_deleted_even_after_a_restart(
    tmp_path: Path, large_file: Path
) -> None:
    mock = MockServer(KEYS)
    mock.echo_key = True
    url = mock.listen()
    try:
        async with started(tmp_path, mock, url) as running:
            await watched(running, mock, lambda client: list(client.files.list()))
            before = running.memory()
            name = await watched(running, mock, lambda client: upload(client, large_file))
            await watched(running, mock, lambda client: use(client, name))
            assert peak_of(running) - before < 30e6
        about_it = {call.key for call in mock.calls if name in call.target + call.body.decode()}
        assert len(about_it) == 1
        async with started(tmp_path, mock, url) as running:  # it was killed, and knows nothing
            await watched(running, mock, lambda client: use_and_delete(client, name))
        assert_came_from_the_sdk_by_way_of_the_proxy(mock)
    finally:
        await mock.stop()
