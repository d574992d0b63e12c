"""The link to other hosts: synchronises this host's store with those of other replicas, through Redis.

Every update is stored there with an expiry, for hosts that start later, and published. Upstream keys are
never sent there, only their fingerprints, with a random salt that the first replica puts into Redis.

No two hosts have the same clock, and any may be wrong. In Redis, and on the way there and back, times are by
Redis's own clock: each replica knows how far that is ahead of its own.

No request waits for Redis. While it is slow or unreachable, every host continues with what it knows; once it
is back, both sides send each other what they missed.
"""

import asyncio
import contextlib
import logging
import secrets as random_secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxycore.peers.store import Store
from proxycore.peers.update import Update, decode_all, fingerprint

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

logger = logging.getLogger(__name__)

_PREFIX = "gemini-key-proxy:"
_CHANNEL = f"{_PREFIX}news"
_SALT = f"{_PREFIX}salt"
_SALT_LASTS = 30 * 86400  # seconds after the end of the last replica
_LONGEST = 2 * 86400.0  # seconds that an update is stored
_PATIENCE = 0.5  # seconds that a start waits for what the other hosts know
_TIMEOUT = 1.0  # seconds that Redis may take
_RETRY_PAUSE = 0.3  # seconds between two tries to reach it
_DRIFT = 0.005  # seconds that two clocks may come apart before it is noted
_EARLY = 1.0  # seconds by which an update may seem to be found before it was published
_QUEUE = 50_000  # updates
_BATCH = 500


class _DataLostError(Exception):
    """Redis has lost its data, so that what is known here has to be written again."""


class RedisLink:
    """The link of `store` to Redis at `url`. `secrets` are the upstream keys, `clock` is the store's."""

    def __init__(self, url: str, secrets: Iterable[str], store: Store, clock: Callable[[], float]) -> None:
        self._url = url
        self._store = store
        self._clock = clock
        self._ahead: float | None = None  # seconds that Redis's clock is ahead of ours; None: not known
        self._secrets = tuple(secrets)
        self._salted: dict[str, str] = {}  # fingerprints as they are in Redis, by those of this host
        self._plain: dict[str, str] = {}
        self._queue: asyncio.Queue[Update] = asyncio.Queue(_QUEUE)
        self._salt = b""
        self._synced = asyncio.Event()
        self._is_away = False
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Synchronise from now on; waits up to half a second for what the other hosts know."""
        self._work = asyncio.create_task(self._stay_connected())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._synced.wait(), _PATIENCE)

    async def close(self) -> None:
        """End the connection. Updates that are still queued are not sent any more."""
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _stay_connected(self) -> None:
        task = asyncio.current_task()
        # A failure at the same time can hide that it was cancelled.
        while not (task and task.cancelling()):
            try:
                await self._sync()
            except Exception as error:  # noqa: BLE001 - whatever it is, no request suffers for it
                self._log_away(error)
                await asyncio.sleep(_RETRY_PAUSE)

    async def _sync(self) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 - a fifth of the start's time, for REDIS_URL alone

        redis = Redis.from_url(self._url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        async with redis, redis.pubsub() as subscription:
            await self._agree_on_salt(redis)
            await self._agree_on_time(redis)
            await subscription.subscribe(_CHANNEL)
            self._queue = asyncio.Queue(_QUEUE)
            self._store.subscribe(self._enqueue)
            try:
                await self._catch_up(redis)
                self._synced.set()
                if self._is_away:
                    self._is_away = False
                    logger.info("Redis reconnected: shared state is up to date")
                await _until_one_fails(self._read(subscription), self._write(redis), self._watch(redis))
            finally:
                self._store.unsubscribe(self._enqueue)

    def _enqueue(self, updates: Sequence[Update]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            for update in updates:
                self._queue.put_nowait(update)

    def _log_away(self, error: BaseException) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("REDIS_URL: Redis is unavailable (%s); continuing with local state", error)

    async def _agree_on_salt(self, redis: "Redis") -> None:
        await redis.set(_SALT, random_secrets.token_hex(16), nx=True, ex=_SALT_LASTS)
        salt = await redis.getex(_SALT, ex=_SALT_LASTS)
        if not isinstance(salt, bytes):
            raise _DataLostError("its data was lost")
        self._salt = salt
        self._salted = {fingerprint(secret): fingerprint(secret, salt) for secret in self._secrets}
        self._plain = {salted: plain for plain, salted in self._salted.items()}

    async def _agree_on_time(self, redis: "Redis") -> None:
        before = self._clock()
        seconds, microseconds = await redis.time()
        took = self._clock() - before
        ahead = seconds + microseconds / 1e6 - (before + took / 2)
        if self._ahead is None or abs(ahead - self._ahead) > _DRIFT + took:
            # In steps that a float has exactly: a moment that comes back from another host is the same again.
            self._ahead = round(ahead * 1024) / 1024

    async def _catch_up(self, redis: "Redis") -> None:
        stored: dict[tuple[str, str, str], float] = {}
        cursor = -1
        while cursor:
            cursor, names = await redis.scan(max(cursor, 0), match=f"{_PREFIX}update:*", count=_BATCH)
            if names:
                lines = [line for line in await redis.mget(names) if isinstance(line, bytes)]
                updates = self._decoded(lines)
                stored |= {update.topic: update.stamp for update in updates}
                self._store.publish(updates, self._enqueue)
        self._enqueue(
            [update for update in self._store.snapshot() if stored.get(update.topic, 0.0) < update.stamp]
        )

    async def _read(self, subscription: "PubSub") -> None:
        while True:
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_TIMEOUT)
            if message:
                self._store.publish(self._decoded(message["data"].split(b"\n")), self._enqueue)

    async def _write(self, redis: "Redis") -> None:
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
            now = self._clock()
            lines = []
            pipeline = redis.pipeline(transaction=False)
            for update in batch:
                salted = self._salt_key(update)
                lasts = int(1000 * min(update.until - now, _LONGEST))
                if salted and lasts > 0:
                    line = salted.encode()
                    pipeline.set(f"{_PREFIX}update:{':'.join(salted.topic)}", line, px=lasts)
                    lines.append(line)
            if lines:
                pipeline.publish(_CHANNEL, b"\n".join(lines))
                await pipeline.execute()

    async def _watch(self, redis: "Redis") -> None:
        """Check every second that Redis responds and has its data, else raise; follow its clock."""
        while True:
            await asyncio.sleep(_TIMEOUT)
            if await redis.getex(_SALT, ex=_SALT_LASTS) != self._salt:
                raise _DataLostError("its data was lost")
            await self._agree_on_time(redis)

    def _salt_key(self, update: Update) -> Update | None:
        """Return an update as it is in Redis; None if it is about a key that this host does not have."""
        update = update.moved(self._ahead or 0.0)
        if not update.key:
            return update
        salted = self._salted.get(update.key)
        return replace(update, key=salted) if salted else None

    def _decoded(self, lines: Sequence[bytes]) -> list[Update]:
        updates = [self._by_our_clock(update) for update in decode_all(lines)]
        named = [(update, self._plain.get(update.key, "")) for update in updates]
        return [replace(update, key=plain) for update, plain in named if plain or not update.key]

    def _by_our_clock(self, update: Update) -> Update:
        update = update.moved(-(self._ahead or 0.0))
        # Nothing was found in the future: Redis's clock was set, and not every host knows yet.
        early = update.stamp - self._clock()
        return update.moved(-early) if early > _EARLY else update


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
            # Not every cancellation takes effect: redis-py may finish a command in spite of it.
            await asyncio.wait(tasks, timeout=_RETRY_PAUSE)
        await asyncio.gather(*tasks, return_exceptions=True)  # their results do not matter
