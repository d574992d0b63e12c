"""Stores that share a Redis hold the same, and go on with what they know when it is away."""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from redis import Redis
from redis import asyncio as asyncio_redis

from proxycore.demo import Health, MockServer
from proxycore.peers import redis_link as replicas
from proxycore.peers.redis_link import RedisLink
from proxycore.peers.store import Store
from proxycore.peers.update import Update, fingerprint
from tests.support.clocks import CLOCK
from tests.support.process import Program, program
from tests.support.redis_server import MISSING, RedisServer, redis_server
from tests.support.waiting import PATIENCE, until
from tests.support.wall import Wall
from tests.support.wire import HOME, ask

pytestmark = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.skipif(MISSING, reason="redis-server is not installed"),
]
ONE, TWO = "AQ.secret-one", "AQ.secret-two"
SECRETS = [ONE, TWO]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@contextlib.asynccontextmanager
async def replica(
    redis: RedisServer, secrets: list[str], clock: Callable[[], float] = CLOCK
) -> AsyncIterator[Store]:
    store = Store(clock)
    link = RedisLink(redis.url, secrets, store, clock)
    await link.start()
    try:
        yield store
    finally:
        await link.close()


def bench(secret: str, about: str = "m", seconds: float = 60.0) -> Update:
    now = CLOCK()
    until = now + seconds
    return Update("model", fingerprint(secret), about, ["quota exhausted", 1], now, until, (until,))


def knows(store: Store, secret: str, about: str = "m") -> bool:
    return any((update.key, update.about) == (fingerprint(secret), about) for update in store.snapshot())


async def test_an_update_reaches_the_other_if_it_has_that_key(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one, replica(redis, [TWO, "AQ.secret-other"]) as other:
        outage = Update("outage", "", "m", "x", CLOCK(), CLOCK() + 60, (1.0, 2.0))
        one.publish([bench(ONE), bench(TWO), outage])
        # Its moments may come in a little different: each tells times by Redis's clock as it has seen it.
        await until(lambda: {update.kind for update in other.snapshot()} == {"model", "outage"})
        assert knows(other, TWO)
        assert len(other.snapshot()) == 2
        other.publish([bench(TWO, "n")])
        await until(lambda: knows(one, TWO, "n"))


def left(store: Store, about: str, now: float) -> float:
    """Seconds until a bench for the first key is over, by a board whose clock says `now`."""
    update = next(update for update in store.snapshot() if update.about == about)
    assert update.moments == (update.until,)
    return update.until - now


async def test_hosts_whose_clocks_differ_mean_the_same_time(redis: RedisServer) -> None:
    apart = -7200.25

    def slow() -> float:
        return CLOCK() + apart

    async with replica(redis, SECRETS) as one, replica(redis, SECRETS, slow) as other:
        one.publish([bench(ONE, "m")])
        other.publish([bench(ONE, "n").moved(apart)])
        await until(lambda: knows(other, ONE, "m") and knows(one, ONE, "n"))
        for about in ("m", "n"):
            differ = left(one, about, CLOCK()) - left(other, about, slow())
            assert differ == pytest.approx(0, abs=0.5)
        # An update of the same topic from the other is the newer one, though its clock is slow.
        cleared = replace(bench(ONE, "m").moved(apart), value=None)
        other.publish([cleared])
        await until(lambda: any(update.value is None for update in one.snapshot()))
    async with replica(redis, SECRETS) as new:
        assert left(new, "n", CLOCK()) == pytest.approx(60, abs=5)


async def test_a_moment_that_comes_back_from_another_host_is_the_same_again(redis: RedisServer) -> None:
    def ahead() -> float:
        return CLOCK() + 12_345.678

    first = replace(bench(ONE), moments=(CLOCK(), CLOCK() + 1 / 3))
    async with replica(redis, SECRETS) as one:
        async with replica(redis, SECRETS, ahead) as other:
            one.publish([first])
            await until(lambda: knows(other, ONE))
            heard = other.snapshot()[0]
            other.publish([replace(heard, stamp=heard.stamp + 0.5, value=None)])
            await until(lambda: one.snapshot()[0].value is None)
        assert one.snapshot()[0].moments == first.moments


async def test_a_clock_that_goes_wrong_is_noticed(redis: RedisServer) -> None:
    shift = 0.0

    def shifted() -> float:
        return CLOCK() + shift

    async with replica(redis, SECRETS) as one, replica(redis, SECRETS, shifted) as other:
        shift = 3600.0
        await until(lambda: _told_and_heard(one, other, shifted))


def _told_and_heard(one: Store, other: Store, clock: Callable[[], float]) -> bool:
    one.publish([bench(ONE)])
    return knows(other, ONE) and left(other, "m", clock()) == pytest.approx(60, abs=5)


async def test_what_was_found_in_the_future_was_found_now(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.publish([bench(ONE)])
        await until(lambda: knows(other, ONE))
        with Redis(port=redis.port) as client:
            line = client.get(_stored(redis)[0])
            assert isinstance(line, bytes)
            late = replace(Update.decode(line), about="late").moved(3600.0)
            client.publish("gemini-key-proxy:news", late.encode())
        await until(lambda: knows(one, ONE, "late") and knows(other, ONE, "late"))
        assert left(one, "late", CLOCK()) == pytest.approx(60, abs=5)


async def test_a_newcomer_starts_with_what_the_others_know(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "_PATIENCE", PATIENCE)  # half a second is little on a slow machine
    async with replica(redis, SECRETS) as one:
        one.publish([bench(ONE, f"model-{number}") for number in range(1500)])
        await until(lambda: len(_stored(redis)) >= 1500)
    async with replica(redis, SECRETS) as new:
        assert len(new.snapshot()) == 1500


async def test_no_key_is_in_redis_not_even_its_plain_fingerprint_and_everything_expires(
    redis: RedisServer,
) -> None:
    async with replica(redis, SECRETS) as one:
        one.publish([bench(ONE)])
        await until(lambda: len(_stored(redis)) == 1)
        with Redis(port=redis.port) as client:
            names = client.keys()
            assert isinstance(names, list)
            for name in names:
                everything = name + b" " + (client.get(name) or b"")
                assert b"AQ." not in everything
                assert fingerprint(ONE).encode() not in everything
                assert client.ttl(name) > 0
            assert len(names) == 2  # the update and the salt


async def test_a_redis_that_is_away_at_the_start_is_logged_once_and_joined_later(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "proxycore")
    redis.stop()
    tries = Mock(side_effect=asyncio_redis.Redis.from_url)
    monkeypatch.setattr(asyncio_redis.Redis, "from_url", tries)
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.publish([bench(ONE)])
        await until(lambda: len(caplog.records) == 2)
        await until(lambda: tries.call_count >= 8)  # several by each of them
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        assert "REDIS_URL: Redis is unavailable (" in caplog.text
        redis.start()
        await until(lambda: knows(other, ONE))
        await until(lambda: len(caplog.records) == 4)
        assert {record.levelname for record in caplog.records[2:]} == {"INFO"}


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_a_redis_that_goes_and_comes_back_is_logged_once_each_and_all_agree_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "proxycore")
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.publish([bench(ONE, "before")])
        await until(lambda: knows(other, ONE, "before"))
        (redis.stop if how == "killed" else redis.hang)()
        one.publish([bench(ONE, "from-one")])
        other.publish([bench(TWO, "from-other")])
        await until(lambda: len(caplog.records) == 2)
        (redis.start if how == "killed" else redis.go_on)()
        await until(lambda: knows(other, ONE, "from-one") and knows(one, TWO, "from-other"))
        await until(lambda: len(caplog.records) == 4)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO", "INFO"]


async def test_a_redis_that_was_emptied_is_filled_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with replica(redis, SECRETS) as one:
        one.publish([bench(ONE)])
        await until(lambda: len(_stored(redis)) == 1)
        with Redis(port=redis.port) as client:
            client.flushall()
        await until(lambda: len(_stored(redis)) == 1)
        assert "its data was lost" in caplog.text
    async with replica(redis, SECRETS) as new:
        assert knows(new, ONE)


async def test_messages_that_make_no_sense_do_no_harm(redis: RedisServer) -> None:
    async with replica(redis, SECRETS) as one, replica(redis, SECRETS) as other:
        one.publish([bench(ONE)])
        await until(lambda: knows(other, ONE))
        with Redis(port=redis.port) as client:
            for message in (b"", b"\xff\n\n", b"[1,2]", b"{}"):
                client.publish("gemini-key-proxy:news", message)
                client.set("gemini-key-proxy:update:odd", message)
        one.publish([bench(TWO)])
        await until(lambda: knows(other, TWO))


async def test_a_wrong_password_is_logged_and_not_shown(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://:hidden-password@127.0.0.1:{redis.port}"
    with Redis(port=redis.port) as client:
        client.config_set("requirepass", "another-password")
    link = RedisLink(url, SECRETS, Store(CLOCK), CLOCK)
    await link.start()
    await until(lambda: bool(caplog.records))
    await link.close()
    assert "REDIS_URL" in caplog.text
    assert "hidden-password" not in caplog.text


async def test_what_one_program_is_refused_another_does_not_try(redis: RedisServer, tmp_path: Path) -> None:
    mock = MockServer({"AQ.off": Health.service_disabled(), "AQ.fine": Health.healthy()})
    environment = {"UPSTREAM_URL": mock.listen(), "REDIS_URL": redis.url}
    keys = [{"GOOGLE_API_KEY_1": "AQ.off", "GOOGLE_API_KEY_2": "AQ.fine"}, {"GOOGLE_API_KEY_X": "AQ.off"}]

    async def benched(port: int) -> bool:
        return b'"state": "benched"' in (await ask(port, "GET", "/status.json", HOME)).body

    async def generate(port: int) -> int:
        body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
        return (await ask(port, "POST", "/v1beta/models/gemini-2.5-flash:generateContent", body=body)).status

    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(program(folder=tmp_path, environment=environment | more)) for more in keys
        ]
        one, other = await asyncio.to_thread(lambda: [each.port for each in started])
        while not await benched(one):
            assert await generate(one) == 200
        async with asyncio.timeout(PATIENCE):
            while not await benched(other):
                pass
        asked = len(mock.calls)
        assert await generate(other) == 429
        assert len(mock.calls) == asked
    await mock.stop()


async def test_a_program_whose_wall_clock_is_wrong_lets_no_key_of_another_rest_for_longer(
    redis: RedisServer, tmp_path: Path
) -> None:
    mock = MockServer({"AQ.off": Health.service_disabled()})
    environment = {"UPSTREAM_URL": mock.listen(), "REDIS_URL": redis.url, "GOOGLE_API_KEY_1": "AQ.off"}
    wall = Wall(tmp_path)
    wall.set(7200.0)

    async def rests(port: int) -> float | None:
        shown = json.loads((await ask(port, "GET", "/status.json", HOME)).body)
        bench = shown["keys"][0]["bench"]
        return float(bench["until"] - shown["time"]) if bench else None

    with (
        program(folder=tmp_path, environment=environment | wall.environment) as wrong,
        program(folder=tmp_path, environment=environment) as right,
    ):
        one, other = await asyncio.to_thread(lambda: [each.port for each in (wrong, right)])
        body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
        await ask(one, "POST", "/v1beta/models/gemini-2.5-flash:generateContent", body=body)
        async with asyncio.timeout(PATIENCE):
            while not (seconds := await rests(other)):
                pass
        assert seconds == pytest.approx(await rests(one), abs=5)
        assert 280 < seconds < 305
    await mock.stop()


async def test_a_reload_joins_the_others_and_leaves_them(redis: RedisServer, tmp_path: Path) -> None:
    mock = MockServer({"AQ.off": Health.service_disabled(), "AQ.fine": Health.healthy()})
    body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
    keys = "GOOGLE_API_KEY_1=AQ.off\nGOOGLE_API_KEY_2=AQ.fine\n"
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        (folder / ".env").write_text(keys)
    environment = {"UPSTREAM_URL": mock.listen(), "WATCH_ENV_FILE": "off"}

    async def benched(port: int) -> bool:
        return b'"state": "benched"' in (await ask(port, "GET", "/status.json", HOME)).body

    async def reload(started: Program, lines: str, folder: Path) -> None:
        (folder / ".env").write_text(keys + lines)
        times = started.log.count("reloaded") + 1
        started.signal(signal.SIGHUP)
        await until(lambda: started.log.count("reloaded") == times)

    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(program(folder=folder, environment=environment)) for folder in folders]
        one, other = await asyncio.to_thread(lambda: [each.port for each in started])
        while not await benched(one):
            await ask(one, "POST", "/v1beta/models/gemini-2.5-flash:generateContent", body=body)
        assert not await benched(other)
        for each, folder in zip(started, folders, strict=True):
            await reload(each, f"REDIS_URL={redis.url}\n", folder)
        # What one has found before is told as well.
        async with asyncio.timeout(PATIENCE):
            while not await benched(other):
                pass
        await reload(started[1], "", folders[1])
        order, kind = b'{"action": "release", "key": "1"}', ("Content-Type", "application/json")
        await ask(one, "POST", "/status.json", HOME, kind, body=order)
        async with replica(redis, ["AQ.off", "AQ.fine"]) as witness:
            await until(lambda: any(update.value is None for update in witness.snapshot()))
        assert await benched(other)
    await mock.stop()


def _stored(redis: RedisServer) -> list[bytes]:
    with Redis(port=redis.port) as client:
        return list(client.scan_iter("gemini-key-proxy:update:*", count=1000))
