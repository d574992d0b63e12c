"""The limits of clients among replicas: what is used is counted in Redis, by one script that also grants.

Each client has a hash, which expires with the longest period of its limits:

    <rate>|<part>    what was counted in one of Google's days, by its number, or in a part of the rate's
                     period, by its begin: a 200th, or a millisecond if that makes no more parts
    held|<host>      requests of a host in progress, as long as alive|<host> is not over

Times in it are Redis's own, so that the clocks of hosts do not matter.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxycore.clock import Clock
from proxycore.rotation.bench import end_of_day
from proxycore.stats.limits.account import Grant
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import Ledger
from proxycore.stats.limits.remote_lender import LedgerAwayError, News

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

_PREFIX = "gemini-key-proxy:limits:"
_HOSTS = f"{_PREFIX}hosts"
_TIMEOUT = 1.0  # seconds that Redis may take
_BEAT = 1.0  # seconds between two signs of life
_ALIVE = 5.0  # seconds for which a host without one still counts
_PARTS = 200  # of a period, if more is counted in it
_DAY = 86400.0  # seconds: the number of Google's day is that of its end
_KEEP = 60.0  # seconds by which a hash outlives the longest period

# KEYS: the client's hash. ARGV: host, needed, ahead, concurrent or -1, milliseconds that a host is alive and
# that the hash is kept; then of each rate its name, amount, milliseconds of a part (0: a day), those of the
# period or the number of the day, milliseconds to its end, whether it counts
# requests, and by how many milliseconds one may come early.
# Returns the number granted, the time, and the moment that they are granted for; or 0, the time, when it is
# worthwhile to ask again, and the limit that is reached.
_GRANT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local host, needed, ahead, concurrent = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local counts, held, alive = {}, {}, {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local name, part = flat[i]:match('^(.-)|(.*)$')
  if name == 'held' then held[part] = tonumber(flat[i + 1])
  elseif name == 'alive' then alive[part] = tonumber(flat[i + 1])
  else
    counts[name] = counts[name] or {}
    table.insert(counts[name], {tonumber(part), tonumber(flat[i + 1]), flat[i]})
  end
end
local room, limit, opens, starts, windows = needed + ahead, '', now, now, {}
for i = 7, #ARGV, 7 do
  local name, amount, grain = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local first = tonumber(ARGV[i + 3])
  local current = first
  if grain > 0 then
    current = math.floor(now / grain) * grain
    first = current - first
  end
  local used, kept = 0, {}
  for _, count in ipairs(counts[name] or {}) do
    if count[1] < first then redis.call('HDEL', KEYS[1], count[3])
    elseif grain > 0 or count[1] == first then
      used = used + count[2]
      table.insert(kept, count)
    end
  end
  if ARGV[i + 5] == '1' then table.insert(windows, {name, grain, first}) end
  local left = amount - used
  if left <= 0 then
    local at = now + tonumber(ARGV[i + 4])
    if grain > 0 then
      table.sort(kept, function(one, other) return one[1] < other[1] end)
      for _, count in ipairs(kept) do
        used = used - count[2]
        at = count[1] + tonumber(ARGV[i + 3]) + grain
        if used < amount then break end
      end
    end
    if needed > 0 and at - now < tonumber(ARGV[i + 6]) then
      room, starts = 1, math.max(starts, at)
    elseif limit == '' or at > opens then limit, opens = name, at end
  elseif ARGV[i + 5] == '1' then
    room = math.min(room, math.max(math.floor(left / 16), math.min(needed, left)))
  end
end
if concurrent >= 0 then
  local busy = 0
  for other, count in pairs(held) do
    if other == host or (alive[other] or 0) > now then busy = busy + math.max(0, count) end
  end
  if busy >= concurrent and limit == '' then limit, opens = 'concurrent', now + 1000 end
  room = math.min(room, needed, concurrent - busy)
end
if limit ~= '' or room <= 0 then return {0, now, string.format('%.0f', opens), limit} end
for _, window in ipairs(windows) do
  local name, grain, part = unpack(window)
  if grain > 0 then part = math.floor(starts / grain) * grain end
  redis.call('HINCRBY', KEYS[1], name .. '|' .. string.format('%.0f', part), room)
end
if concurrent >= 0 then
  redis.call('HINCRBY', KEYS[1], 'held|' .. host, room)
  redis.call('HSET', KEYS[1], 'alive|' .. host, string.format('%.0f', now + tonumber(ARGV[5])))
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return {room, now, string.format('%.0f', starts), ''}
"""


@dataclass(slots=True)
class _Command:
    """A command, and who waits for the reply to it."""

    words: tuple[Any, ...]
    reply: "asyncio.Future[Any] | None" = None

    def end(self, reply: object) -> None:
        if self.reply is None or self.reply.done():
            return
        if isinstance(reply, Exception):
            self.reply.set_exception(LedgerAwayError(str(reply)))
        else:
            self.reply.set_result(reply)


class RedisLimits:
    """A connection to the limits in Redis at `url`, for the accounts of `ledger`. `clock` is the host's."""

    def __init__(self, url: str, ledger: Ledger, clock: Clock) -> None:
        self.peers = 1  # replicas, this one included, when Redis was last reached
        self.url = url
        self._ledger = ledger
        self._clock = clock
        self.host = secrets.token_hex(8)
        self._ahead = 0.0  # seconds that Redis's clock is ahead of ours
        self._redis: Redis | None = None  # while it can be reached
        self._sha = ""
        self._queue: list[_Command] = []  # in order: what became of requests is known before the next grant
        self._work: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and stay connected from now on."""
        connected = asyncio.Event()
        self._work = asyncio.create_task(self._stay_connected(connected.set))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connected.wait(), _TIMEOUT / 2)

    async def close(self) -> None:
        """Send what is left to be told, and end the connection."""
        if self._sending:
            await asyncio.gather(self._sending, return_exceptions=True)
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def lend(self, client: str, limits: ClientLimits, needed: int, ahead: int) -> Grant:
        """Ask for requests. Raises LedgerAwayError."""
        redis = self._redis
        if redis is None:
            raise LedgerAwayError
        now = self._clock()
        day_ends = end_of_day(now, self._clock)
        places = -1 if limits.concurrent is None else limits.concurrent
        arguments: list[Any] = [self.host, needed, ahead, places, _ms(_ALIVE), _ms(_lifetime(limits))]
        for rate in limits.rates:
            is_day, requests = rate.period is Period.DAY, int(rate.counted is Counted.REQUESTS)
            arguments += [rate.topic, rate.amount]
            arguments += [0, self._day(day_ends)] if is_day else [_grain(rate), _ms(rate.period.seconds)]
            arguments += [_ms(day_ends - now), requests, _ms(rate.early)]
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(redis, _Command(("EVALSHA", self._sha, 1, _key(client), *arguments), reply))
        count, told, at, limit = await reply
        self._ahead = told / 1000 - now
        moment = now + (int(at) - told) / 1000
        return Grant(count, moment) if count else Grant(0, now, limit.decode(), moment)

    def tell(self, client: str, limits: ClientLimits, news: News) -> None:
        """Tell what became of requests, unless there is nothing to be counted."""
        changes: dict[str, int] = {}
        if limits.concurrent is not None and news.ended:
            changes[f"held|{self.host}"] = -news.ended
        for rate in limits.rates:
            is_tokens = rate.counted is Counted.TOKENS
            if count := news.tokens if is_tokens else -news.unused:
                changes[f"{rate.topic}|{self._part(rate, news.at)}"] = count
        if changes and self._redis:
            key = _key(client)
            for field, count in changes.items():
                self._put(self._redis, _Command(("HINCRBY", key, field, count)))
            self._put(self._redis, _Command(("PEXPIRE", key, _ms(_lifetime(limits)))))

    def _put(self, redis: "Redis", command: "_Command") -> None:
        self._queue.append(command)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(redis))

    async def _send(self, redis: "Redis") -> None:
        """Send what is queued, all of it in one go; what comes meanwhile is sent together after that."""
        while self._queue:
            batch, self._queue = self._queue, []
            pipeline = redis.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command.words)
            try:
                replies = await pipeline.execute()
            except Exception as error:  # noqa: BLE001 - whatever it is, no request suffers for it
                self._redis = None  # until the next sign of life
                replies = [error] * len(batch)
            for command, reply in zip(batch, replies, strict=True):
                command.end(reply)

    async def _stay_connected(self, connected: Callable[[], None]) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 - a fifth of the start's time, for REDIS_URL alone

        async with Redis.from_url(
            self.url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        ) as redis:
            while True:
                try:
                    await self._beat(redis)
                    connected()
                except Exception:  # noqa: BLE001 - whatever it is, no request suffers for it; `redis_link` logs it
                    self._redis = None
                await asyncio.sleep(_BEAT)

    async def _beat(self, redis: "Redis") -> None:
        """Give a sign of life, and count the hosts that have. Begin to use Redis when it is back."""
        seconds, microseconds = await redis.time()
        now = seconds + microseconds / 1e6
        self._ahead = now - self._clock()
        pipeline = redis.pipeline(transaction=False)
        pipeline.zadd(_HOSTS, {self.host: now})
        pipeline.zremrangebyscore(_HOSTS, 0, now - _ALIVE)
        pipeline.zcard(_HOSTS)
        pipeline.expire(_HOSTS, int(_KEEP))
        alive = _ms(now + _ALIVE)
        for client, account in self._ledger:
            if account.limits.concurrent is not None and (account.in_progress or not self._redis):
                fields: dict[Any, Any] = {f"alive|{self.host}": alive}
                if not self._redis:  # Redis may not know what has happened since
                    fields[f"held|{self.host}"] = account.in_progress
                pipeline.hset(_key(client), mapping=fields)
                pipeline.pexpire(_key(client), _ms(_lifetime(account.limits)))
        self.peers = (await pipeline.execute())[2]
        if not self._redis:
            self._sha = await redis.script_load(_GRANT)
            self._redis = redis

    def _part(self, rate: Rate, at: float) -> int:
        """The number of the part of time in which something is counted."""
        if rate.period is Period.DAY:
            return self._day(end_of_day(at, self._clock))
        return round((at + self._ahead) * 1000) // (grain := _grain(rate)) * grain

    def _day(self, ends: float) -> int:
        return round(self._clock.to_wall(ends) / _DAY)


def _key(client: str) -> str:
    return f"{_PREFIX}client:{client}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _grain(rate: Rate) -> int:
    """Milliseconds of a part of the period."""
    return 1 if rate.amount <= _PARTS else _ms(rate.period.seconds) // _PARTS


def _lifetime(limits: ClientLimits) -> float:
    longest = max((rate.period.seconds for rate in limits.rates), default=0.0)
    return 1.1 * longest + _KEEP
