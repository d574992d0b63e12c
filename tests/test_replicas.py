"""Boards that share a Redis know the same, and go on with what they know when it is away."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from redis import Redis

from proxycore.board import Board
from proxycore.notice import Notice
from proxycore.replicas import Replicas
from tests.conftest import until
from tests.redis_server import MISSING, RedisServer, redis_server

pytestmark = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.skipif(MISSING, reason="redis-server is not installed"),
]
SECRETS = {"1": "AQ.secret-one", "2": "AQ.secret-two"}
RENAMED = {"two": "AQ.secret-two", "other": "AQ.secret-other"}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@contextlib.asynccontextmanager
async def replica(redis: RedisServer, secrets: Mapping[str, str]) -> AsyncIterator[Board]:
    board = Board(time.time)
    work = await Replicas(redis.url, secrets).start(board)
    try:
        yield board
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def bench(key: str, about: str = "m", seconds: float = 60.0) -> Notice:
    now = time.time()
    return Notice("model", key, about, ["quota spent", now + seconds, 1], now, now + seconds)


def knows(board: Board, key: str, about: str = "m") -> bool:
    return any((notice.key, notice.about) == (key, about) for notice in board.notices())


async def test_a_notice_reaches_the_other_by_the_name_that_the_key_has_there(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one, replica(redis, RENAMED) as other:
        one.post(
            [bench("1"), bench("2"), Notice("outage", "", "m", ["x", 1, 2], time.time(), time.time() + 60)]
        )
        await until(lambda: knows(other, "two") and knows(other, ""))
        assert len(other.notices()) == 2  # the other key is none of its own
        other.post([bench("two", "n")])
        await until(lambda: knows(one, "2", "n"))


async def test_a_newcomer_starts_with_what_the_others_know(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one:
        one.post([bench("1", f"model-{number}") for number in range(1500)])
        await until(lambda: len(_stored(redis)) >= 1500)
    async with replica(redis, SECRETS) as new:
        assert len(new.notices()) == 1500


async def test_no_key_and_no_name_is_in_redis_and_everything_expires(redis: RedisServer) -> None:
    async with replica(redis, {"SECRETNAME": "AQ.secret-one"}) as one:
        one.post([bench("SECRETNAME")])
        await until(lambda: len(_stored(redis)) == 1)
        with Redis(port=redis.port) as client:
            names = client.keys()
            assert isinstance(names, list)
            for name in names:
                everything = name + b" " + (client.get(name) or b"")
                assert b"AQ." not in everything
                assert b"SECRETNAME" not in everything
                assert client.ttl(name) > 0
            assert len(names) == 2  # the notice and the salt


async def test_a_redis_that_is_away_at_the_start_is_told_once_and_joined_when_it_comes(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxycore")
    redis.stop()
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.post([bench("1")])
        await until(lambda: len(caplog.records) == 2)
        await asyncio.sleep(1)
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        assert "REDIS_URL: Redis can't be used (" in caplog.text
        redis.start()
        back = time.monotonic()
        await until(lambda: knows(other, "1"))
        assert time.monotonic() - back < 1.5
        await until(lambda: len(caplog.records) == 4)
        assert {record.levelname for record in caplog.records[2:]} == {"INFO"}


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_a_redis_that_goes_and_comes_back_is_told_once_each_and_all_agree_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "proxycore")
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.post([bench("1", "before")])
        await until(lambda: knows(other, "1", "before"))
        (redis.stop if how == "killed" else redis.hang)()
        one.post([bench("1", "from-one")])
        other.post([bench("2", "from-other")])
        await until(lambda: len(caplog.records) == 2)
        (redis.start if how == "killed" else redis.go_on)()
        back = time.monotonic()
        await until(lambda: knows(other, "1", "from-one") and knows(one, "2", "from-other"))
        assert time.monotonic() - back < 1.5
        await until(lambda: len(caplog.records) == 4)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO", "INFO"]


async def test_a_redis_that_was_emptied_is_filled_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with replica(redis, SECRETS) as one:
        one.post([bench("1")])
        await until(lambda: len(_stored(redis)) == 1)
        with Redis(port=redis.port) as client:
            client.flushall()
        await until(lambda: len(_stored(redis)) == 1)
        assert "it lost its data" in caplog.text
    async with replica(redis, SECRETS) as new:
        assert knows(new, "1")


async def test_messages_that_make_no_sense_do_no_harm(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.post([bench("1")])
        await until(lambda: knows(other, "1"))
        with Redis(port=redis.port) as client:
            for message in (b"", b"\xff\n\n", b"[1,2]", b"{}"):
                client.publish("gemini-key-proxy:news", message)
                client.set("gemini-key-proxy:notice:odd", message)
        one.post([bench("2")])
        await until(lambda: knows(other, "2"))


async def test_a_wrong_password_is_told_and_not_shown(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://:hidden-password@127.0.0.1:{redis.port}"
    with Redis(port=redis.port) as client:
        client.config_set("requirepass", "another-password")
    work = await Replicas(url, SECRETS).start(Board(time.time))
    await until(lambda: bool(caplog.records))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert "REDIS_URL" in caplog.text
    assert "hidden-password" not in caplog.text


def _stored(redis: RedisServer) -> list[bytes]:
    with Redis(port=redis.port) as client:
        return list(client.scan_iter("gemini-key-proxy:notice:*", count=1000))
