"""Clients at three times their limits: workers and replicas together grant exactly what is theirs."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.support.process import Program, program
from tests.support.redis_server import MISSING, RedisServer, redis_server
from tests.support.waiting import PATIENCE, until
from tests.support.wire import CHUNKED, RawUpstream, Seen, always, answer, ask, chunk, connect

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=600)]
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
SERVED = answer(200, b'{"usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 20}}')
ADMIN = ("x-goog-api-key", "the-key-of-the-admin")
NAMES = ("ANN", "BOB", "CAT")


def key_of(name: str) -> tuple[str, str]:
    return ("x-goog-api-key", f"the-long-key-of-{name}")


def settings(upstream: str, limits: str, **more: str) -> dict[str, str]:
    keys = {f"OUTPUT_API_KEY_{name}": key_of(name)[1] for name in NAMES}
    limited = {f"CLIENT_{name}": limits for name in NAMES}
    named = {"UPSTREAM_URL": upstream, "GOOGLE_API_KEY_1": "AQ.one", "ADMIN_API_KEY": ADMIN[1]}
    return named | keys | limited | more


async def all_serve(port: int, workers: int) -> None:
    """Until all workers do."""
    for _ in range(int(PATIENCE * 20)):
        status = json.loads((await ask(port, "GET", "/status.json", ADMIN)).body)
        if status["workers"] == workers:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not all workers serve")


async def statuses(ports: Sequence[int], name: str, count: int, at_once: int) -> list[int]:
    """Send so many requests of a client, spread over the ports."""
    slots = asyncio.Semaphore(at_once)

    async def one(number: int) -> int:
        async with slots:
            got = await ask(ports[number % len(ports)], "POST", GENERATE, key_of(name), body=b"{}")
        if got.status == 429:
            assert 1 <= int(got.one("retry-after")) <= 25 * 3600
        return got.status

    return await asyncio.gather(*(one(number) for number in range(count)))


async def served(ports: Sequence[int], limit: int) -> Counter[str]:
    """How many requests of each client are served, when they send three times as many as they may."""
    found: Counter[str] = Counter()
    for _ in range(2):  # what one process holds at the end of the first round is given back
        for name, got in zip(
            NAMES,
            await asyncio.gather(*(statuses(ports, name, limit * 3 // 2, 20) for name in NAMES)),
            strict=True,
        ):
            assert set(got) <= {200, 429}
            found[name] += got.count(200)
        await asyncio.sleep(0.6)
    return found


def assert_theirs(found: Counter[str], limit: int) -> None:
    for name in NAMES:
        assert 0.98 * limit <= found[name] <= 1.02 * limit, found


@pytest.mark.parametrize("limit", [20, 150])
async def test_four_workers_grant_what_is_theirs(limit: int, tmp_path: Path) -> None:
    async with RawUpstream(always(SERVED)) as google:
        environment = settings(google.url, f"requests={limit}/hour", WORKERS="4")
        with program(folder=tmp_path, environment=environment) as here:
            await all_serve(here.port, 4)
            assert_theirs(await served([here.port], limit), limit)
            await asyncio.sleep(1)
            status = json.loads((await ask(here.port, "GET", "/status.json", ADMIN)).body)
    used = {one["name"]: one["limits"]["rates"][0]["used"] for one in status["clients"] if one["limits"]}
    assert used == dict.fromkeys(NAMES, limit)


@contextlib.asynccontextmanager
async def two_replicas(
    folder: Path, limits: str, workers: int
) -> AsyncIterator[tuple[RedisServer, list[int]]]:
    """Two programs with these limits that share a Redis, and their ports, once all workers serve."""
    with redis_server() as redis:
        async with RawUpstream(always(SERVED)) as google:
            environment = settings(google.url, limits, WORKERS=str(workers), REDIS_URL=redis.url)
            with (
                program(folder=folder, environment=environment) as one,
                program(folder=folder, environment=environment) as other,
            ):
                ports = [one.port, other.port]
                for port in ports:
                    await all_serve(port, workers)
                yield redis, ports


@pytest.mark.skipif(MISSING, reason="redis-server is not installed")
@pytest.mark.parametrize("limit", [20, 150])
async def test_two_replicas_of_two_workers_grant_what_is_theirs(limit: int, tmp_path: Path) -> None:
    async with two_replicas(tmp_path, f"requests={limit}/hour", 2) as (_, ports):
        assert_theirs(await served(ports, limit), limit)


@pytest.mark.skipif(MISSING, reason="redis-server is not installed")
async def test_without_redis_each_replica_keeps_its_share(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, "requests=40/hour", 1) as (redis, ports):
        await asyncio.sleep(2.5)  # until each has seen the other
        assert (await statuses(ports[:1], "ANN", 10, 1)).count(200) == 10
        redis.stop()
        await asyncio.sleep(1.5)
        assert (await statuses(ports[:1], "ANN", 30, 5)).count(200) == 10
        assert (await statuses(ports[1:], "ANN", 30, 5)).count(200) == 20


@pytest.mark.skipif(MISSING, reason="redis-server is not installed")
async def test_tokens_and_places_are_shared_among_replicas(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, "tokens=100/day concurrent=1", 1) as (_, ports):
        got = []
        for number in range(4):
            got += await statuses([ports[number % 2]], "ANN", 1, 1)
            await asyncio.sleep(0.2)
        assert got == [200, 200, 429, 429]


def children_of(here: Program) -> list[int]:
    pid = here.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_places_are_shared_among_workers_kept_when_the_hub_dies_and_freed_when_a_worker_dies(
    tmp_path: Path,
) -> None:
    async def endless(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"data: {}\r\n\r\n"))
        await asyncio.Event().wait()

    async with RawUpstream(endless) as google:
        environment = settings(google.url, "concurrent=3", WORKERS="2")
        with program(folder=tmp_path, environment=environment) as here:
            await all_serve(here.port, 2)
            hub, *workers = sorted(children_of(here))
            async with connect(here.port) as one, connect(here.port) as two, connect(here.port) as three:
                for client in (one, two, three):
                    client.send("POST", GENERATE, key_of("ANN"), body=b"{}")
                    assert (await client.head()).status == 200
                assert await statuses([here.port], "ANN", 10, 5) == [429] * 10
                one.close()
                await until(lambda: sum(seen.closed is not None for seen in google.seen) == 1)
                async with connect(here.port) as four:
                    four.send("POST", GENERATE, key_of("ANN"), body=b"{}")
                    assert (await four.head()).status == 200
                    os.kill(hub, signal.SIGKILL)
                    await asyncio.sleep(1.5)  # until another one knows of what is in progress
                    assert await statuses([here.port], "ANN", 10, 5) == [429] * 10
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
                google.script = always(SERVED)
                await asyncio.sleep(1)
            assert [(await statuses([here.port], "ANN", 1, 1))[0] for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("workers", [1, 2])
async def test_limits_go_on_after_the_program_was_killed(workers: int, tmp_path: Path) -> None:
    async with RawUpstream(always(SERVED)) as google:
        limits = "requests=3/hour tokens=200/day"
        environment = settings(google.url, limits, WORKERS=str(workers), STATE_FILE="state.db")
        with program(folder=tmp_path, environment=environment) as here:
            await all_serve(here.port, workers)
            assert await statuses([here.port], "ANN", 5, 1) == [200] * 3 + [429] * 2
            assert await statuses([here.port], "BOB", 1, 1) == [200]
            await asyncio.sleep(2)  # which is as much as may be lost
        with program(folder=tmp_path, environment=environment) as here:
            await all_serve(here.port, workers)
            assert await statuses([here.port], "ANN", 2, 1) == [429] * 2
            assert await statuses([here.port], "BOB", 3, 1) == [200] * 2 + [429]
