"""What the proxy does when something fails, and how soon its processes know the same: seconds and counts.

    python -m tests.bench.faults

- news: from the upstream's refusal of a key until all workers of a host, or another replica, rest it;
- a worker killed under 200 streams: which break, and when all workers serve again;
- Redis killed for ten seconds under load: requests that failed, the longest, and when replicas agree again;
- an address that is refused for ten seconds, with 50 keys: refused calls, and when all are served again.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median

from proxycore.demo import Asked, Health, MockServer
from tests.bench.machine import free_port, running
from tests.support.redis_server import RedisServer, redis_server
from tests.support.wire import Client, Got, ask, connect

SERVER = Path(__file__).resolve().parents[2] / "server.py"
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
_NEWS = 20  # times that news is sent


@contextlib.asynccontextmanager
async def proxies(mock: MockServer, count: int = 1, **variables: str) -> AsyncIterator[list[tuple[int, int]]]:
    """The proxy, once or several times, before a mock: process ids and ports."""
    environment = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(mock.keys)}
    environment |= {"HOST": "127.0.0.1", "UPSTREAM_URL": mock.listen(), "LOG_LEVEL": "warning"} | variables
    started = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        for _ in range(count):
            port = free_port()
            command = [sys.executable, str(SERVER), "--port", str(port)]
            server = running(command, environment, Path(folder) / str(port), port, 0)
            started.append((await asyncio.to_thread(stack.enter_context, server), port))
        yield started
        await asyncio.to_thread(stack.close)
    await mock.stop()


async def rests(client: Client, name: str) -> bool:
    """Whether a proxy says that this key is benched."""
    client.send("GET", "/status.json", ("Host", "localhost"))
    keys = json.loads((await client.got()).body)["keys"]
    return any(key["name"] == name and key["state"] == "benched" for key in keys)


async def told(mock: MockServer, asked: int, others: list[Client]) -> float:
    """Seconds from a refusal of a key, got through the port `asked`, until all `others` rest it."""
    secrets = list(mock.keys)
    name = next(n for n, secret in enumerate(secrets) if mock.keys[secret].refusal(Asked(secret)) is None)
    mock.keys[secrets[name]] = Health.service_disabled()
    mock.calls.clear()
    while not (refused := [call for call in mock.calls if call.status == 403]):
        await ask(asked, "POST", GENERATE, body=QUESTION)
    loop = asyncio.get_running_loop()
    offset = loop.time() - mock.clock()
    while not all(await asyncio.gather(*(rests(client, str(name)) for client in others))):
        pass
    return loop.time() - offset - (refused[0].ended or 0.0)


async def news(what: str, count: int, others: int, **variables: str) -> str:
    """How soon what one process found is known to the others, through so many connections to the last."""
    mock = MockServer({f"key-{n}": Health.healthy() for n in range(_NEWS + 1)})
    async with proxies(mock, count, **variables) as started, contextlib.AsyncExitStack() as stack:
        (_, asked), (_, other) = started[0], started[-1]
        clients = [await stack.enter_async_context(connect(other)) for _ in range(others)]
        times = [await told(mock, asked, clients) for _ in range(_NEWS)]
    return f"{what}: known after {1000 * median(times):.1f} ms, at most {1000 * max(times):.1f} ms"


async def killed() -> str:
    """A worker is killed under 200 streams."""
    mock = MockServer({"key": Health.healthy()}, pace=0.5)
    async with proxies(mock, WORKERS="4") as ((pid, port),), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(port)) for _ in range(200)]
        for client in clients:
            client.send("POST", STREAM, body=QUESTION)
        for client in clients:
            await client.head()
        children = _children(pid)
        victim = max(children)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        ends = asyncio.gather(*map(_whole, clients))
        again = await asyncio.to_thread(_replaced, pid, children) - began
        failed = sum([(await ask(port, "POST", GENERATE, body=QUESTION)).status != 200 for _ in range(50)])
        broken = sum(not whole for whole in await ends)
    return (
        f"a worker of four killed under 200 streams: {broken} broke, a new one served after {again:.2f} s,"
        f" {failed} of 50 later requests failed"
    )


async def news_by_redis() -> str:
    """How soon one replica knows what another found."""
    with redis_server() as redis:
        return await news("a bench among two replicas", 2, 1, REDIS_URL=redis.url)


async def without_redis() -> str:
    """Redis is killed for ten seconds, under load on two replicas."""
    mock = MockServer({f"key-{n}": Health.healthy() for n in range(10)})
    with redis_server() as redis:
        return await _without(redis, mock)


async def _without(redis: RedisServer, mock: MockServer) -> str:
    async with proxies(mock, 2, REDIS_URL=redis.url) as started:
        ports = [port for _, port in started]
        load = Load(lambda source: ask(source.choice(ports), "POST", GENERATE, body=QUESTION), 50.0)
        await load.go_on(5.0)
        before = max(load.took)
        await asyncio.to_thread(redis.stop)
        await load.go_on(10.0)
        await asyncio.to_thread(redis.start)
        loop = asyncio.get_running_loop()
        back = loop.time()
        async with connect(ports[1]) as other:
            await told(mock, ports[0], [other])
        agreed = loop.time() - back
        await load.go_on(5.0)
        await load.end()
    return (
        f"Redis killed for ten seconds: {load.failed} of {len(load.took)} requests failed, the longest took"
        f" {1000 * max(load.took):.0f} ms ({1000 * before:.0f} ms before), both agreed {agreed:.2f} s after"
        " its return"
    )


async def refused_address() -> str:
    """All of 50 keys are refused for ten seconds, for the address's sake."""
    secrets = [f"key-{n}" for n in range(50)]
    mock = MockServer(dict.fromkeys(secrets, Health.healthy()))
    async with proxies(mock, MAX_WAIT="20") as ((_, port),):
        load = Load(lambda _: ask(port, "POST", GENERATE, body=QUESTION), 20.0)
        await load.go_on(3.0)
        mock.calls.clear()
        mock.keys = dict.fromkeys(secrets, Health.bare_429())
        await load.go_on(10.0)
        refused = sum(call.status == 429 for call in mock.calls)
        mock.keys = dict.fromkeys(secrets, Health.healthy())
        over = mock.clock()
        await load.go_on(5.0)
        await load.end()
        waited = sum(call.arrived > over for call in mock.calls)
        first = min(call.arrived for call in mock.calls if call.arrived > over) - over
    return (
        f"an address refused for ten seconds: {refused} refused calls, served again after {first:.2f} s"
        f" ({waited} calls since), {load.failed} of {len(load.took)} requests failed"
    )


class Load:
    """Requests that arrive at random, `rate` a second: how long each took (seconds), how many failed."""

    def __init__(self, send: Callable[[random.Random], Awaitable[Got]], rate: float) -> None:
        self.took: list[float] = []
        self.failed = 0
        self._send = send
        self._rate = rate
        self._source = random.Random(1)  # noqa: S311 - the same load every time
        self._tasks: set[asyncio.Task[None]] = set()

    async def go_on(self, seconds: float) -> None:
        """Sends for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            task = asyncio.ensure_future(self._request())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(self._source.expovariate(self._rate))

    async def end(self) -> None:
        """Waits for the last answers."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _request(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.failed += (await self._send(self._source)).status != 200
        self.took.append(loop.time() - began)


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _replaced(pid: int, former: set[int]) -> float:
    """When there is a new child that waits for connections: idle in epoll, as one is that has started."""
    while not (new := _children(pid) - former) or "epoll" not in Path(f"/proc/{new.pop()}/wchan").read_text():
        time.sleep(0.002)
    return time.monotonic()


async def _whole(client: Client) -> bool:
    try:
        async for _ in client.chunks():
            pass
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


async def everything() -> None:
    """Prints a line for each."""
    for work in (
        news("a bench among four workers", 1, 8, WORKERS="4"),
        news_by_redis(),
        killed(),
        without_redis(),
        refused_address(),
    ):
        sys.stdout.write(await work + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(everything())
