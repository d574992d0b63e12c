"""The board shared with other replicas through Redis.

Every notice is stored with an expiry, for newcomers, and published. Keys of the upstream never go there:
their fingerprints do, salted with something random that the first replica puts into Redis.

No two hosts have the same clock, and any may be wrong. In Redis, and on the way there and back, times are by
Redis's own clock: each replica knows how far that is ahead of its own.

Nobody waits for Redis. When it is slow or away everyone goes on with what they know, and when it is back
both sides tell each other what they missed.
"""

import asyncio
import contextlib
import secrets as random_secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from proxycore.board import Board, Reader
from proxycore.bulletin import notices_in
from proxycore.log import logger
from proxycore.notice import Notice, fingerprint

_PREFIX = "gemini-key-proxy:"
_CHANNEL = f"{_PREFIX}news"
_SALT = f"{_PREFIX}salt"
_SALT_LASTS = 30 * 86400  # seconds after the end of the last replica
_LONGEST = 2 * 86400.0  # seconds that a notice is stored
_PATIENCE = 0.5  # seconds that a start waits for what the others know
_TIMEOUT = 1.0  # seconds that Redis may take
_REST = 0.3  # seconds between two tries to reach it
_DRIFT = 0.005  # seconds that two clocks may come apart before it is noted
_EARLY = 1.0  # seconds by which a notice may seem to be found before it was told
_QUEUE = 50_000  # notices
_BATCH = 500


class Replicas:
    """The link to Redis at `url`. `secrets` are the upstream keys, `clock` tells the board's moments."""

    def __init__(self, url: str, secrets: Iterable[str], clock: Callable[[], float]) -> None:
        self._url = url
        self._clock = clock
        self._ahead: float | None = None  # seconds that Redis's clock is ahead of ours; None: not known
        self._secrets = tuple(secrets)
        self._salted: dict[str, str] = {}  # what a key is called there, by what it is called on this host
        self._plain: dict[str, str] = {}
        self._queue: asyncio.Queue[Notice] = asyncio.Queue(_QUEUE)
        self._salt = b""
        self._caught_up = asyncio.Event()
        self._away = False

    async def start(self, board: Board) -> "asyncio.Task[None]":
        """Begins to share the board; waits a moment for what the others know."""
        work = asyncio.create_task(self._share(board))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._caught_up.wait(), _PATIENCE)
        return work

    async def _share(self, board: Board) -> None:
        """Keeps the board and Redis alike, until it is cancelled."""
        task = asyncio.current_task()
        # A failure at the same time can hide that it was cancelled.
        while not (task and task.cancelling()):
            try:
                await self._stay(board)
            except Exception as error:  # noqa: BLE001 - whatever it is, no request suffers for it
                self._tell_away(error)
                await asyncio.sleep(_REST)

    async def _stay(self, board: Board) -> None:
        redis = Redis.from_url(self._url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)

        def tell(notices: Sequence[Notice]) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                for notice in notices:
                    self._queue.put_nowait(notice)

        async with redis, redis.pubsub() as news:
            await self._agree_on_salt(redis)
            await self._agree_on_time(redis)
            await news.subscribe(_CHANNEL)
            self._queue = asyncio.Queue(_QUEUE)
            board.read_by(tell)
            try:
                await self._catch_up(redis, board, tell)
                self._caught_up.set()
                if self._away:
                    self._away = False
                    logger.info("Redis is back: what was missed is known again")
                await _until_one_fails(self._read(news, board, tell), self._write(redis), self._watch(redis))
            finally:
                board.left_by(tell)

    def _tell_away(self, error: BaseException) -> None:
        if not self._away:
            self._away = True
            logger.warning("REDIS_URL: Redis can't be used (%s): going on with what is known here", error)

    async def _agree_on_salt(self, redis: Redis) -> None:
        await redis.set(_SALT, random_secrets.token_hex(16), nx=True, ex=_SALT_LASTS)
        salt = await redis.getex(_SALT, ex=_SALT_LASTS)
        if not isinstance(salt, bytes):
            raise RedisError("it lost its data")
        self._salt = salt
        self._salted = {fingerprint(secret): fingerprint(secret, salt) for secret in self._secrets}
        self._plain = {salted: plain for plain, salted in self._salted.items()}

    async def _agree_on_time(self, redis: Redis) -> None:
        before = self._clock()
        seconds, microseconds = await redis.time()
        took = self._clock() - before
        ahead = seconds + microseconds / 1e6 - (before + took / 2)
        if self._ahead is None or abs(ahead - self._ahead) > _DRIFT + took:
            # In steps that a float has exactly: a moment that comes back from another host is the same again.
            self._ahead = round(ahead * 1024) / 1024

    async def _catch_up(self, redis: Redis, board: Board, tell: Reader) -> None:
        stored: dict[tuple[str, str, str], float] = {}
        cursor = -1
        while cursor:
            cursor, names = await redis.scan(max(cursor, 0), match=f"{_PREFIX}notice:*", count=_BATCH)
            if names:
                lines = [line for line in await redis.mget(names) if isinstance(line, bytes)]
                notices = self._heard(lines)
                stored |= {notice.topic: notice.stamp for notice in notices}
                board.post(notices, tell)
        tell([notice for notice in board.notices() if stored.get(notice.topic, 0.0) < notice.stamp])

    async def _read(self, news: PubSub, board: Board, tell: Reader) -> None:
        while True:
            message = await news.get_message(ignore_subscribe_messages=True, timeout=_TIMEOUT)
            if message:
                board.post(self._heard(message["data"].split(b"\n")), tell)

    async def _write(self, redis: Redis) -> None:
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
            now = self._clock()
            lines = []
            pipeline = redis.pipeline(transaction=False)
            for notice in batch:
                told = self._disguised(notice)
                lasts = int(1000 * min(notice.until - now, _LONGEST))
                if told and lasts > 0:
                    line = told.encode()
                    pipeline.set(f"{_PREFIX}notice:{':'.join(told.topic)}", line, px=lasts)
                    lines.append(line)
            if lines:
                pipeline.publish(_CHANNEL, b"\n".join(lines))
                await pipeline.execute()

    async def _watch(self, redis: Redis) -> None:
        """Notices when Redis hangs while there is nothing to tell, or was emptied, or its clock was set."""
        while True:
            await asyncio.sleep(_TIMEOUT)
            if await redis.getex(_SALT, ex=_SALT_LASTS) != self._salt:
                raise RedisError("it lost its data")
            await self._agree_on_time(redis)

    def _disguised(self, notice: Notice) -> Notice | None:
        """A notice as it is written there, None if it is about a key of others."""
        told = notice.moved(self._ahead or 0.0)
        if not notice.key:
            return told
        salted = self._salted.get(notice.key)
        return replace(told, key=salted) if salted else None

    def _heard(self, lines: Sequence[bytes]) -> list[Notice]:
        notices = [self._by_our_clock(notice) for notice in notices_in(lines)]
        named = [(notice, self._plain.get(notice.key, "")) for notice in notices]
        return [replace(notice, key=plain) for notice, plain in named if plain or not notice.key]

    def _by_our_clock(self, notice: Notice) -> Notice:
        notice = notice.moved(-(self._ahead or 0.0))
        # Nothing was found in the future: Redis's clock was set, and not everybody knows yet.
        early = notice.stamp - self._clock()
        return notice.moved(-early) if early > _EARLY else notice


async def _until_one_fails(*works: Coroutine[Any, Any, None]) -> None:
    # A TaskGroup of Python 3.11 leaves its task marked as cancelled, when a member fails.
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            # Not every cancellation is heard: redis-py may finish a command in spite of it.
            await asyncio.wait(tasks, timeout=_REST)
        await asyncio.gather(*tasks, return_exceptions=True)  # nobody asks how the others ended
