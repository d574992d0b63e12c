"""The script that grants in a real Redis: never more than a limit, and no place is left empty for long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from proxycore.peers.redis_limits import RedisLimits
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import Ledger, LimitRules
from proxycore.stats.limits.remote_lender import News
from tests.support.clocks import TurnedClock
from tests.support.redis_server import MISSING, redis_server

pytestmark = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.skipif(MISSING, reason="redis-server is not installed"),
]
LIMITS = ClientLimits((Rate(Counted.REQUESTS, 3, Period.SECOND), Rate(Counted.REQUESTS, 300, Period.HOUR)))


class Replica:
    """A connection to the limits in Redis of a host whose clock stands still."""

    def __init__(self, url: str) -> None:
        self.clock = TurnedClock()
        self._url = url
        self.limits = RedisLimits(url, Ledger(LimitRules({"ann": LIMITS}), self.clock), self.clock)

    async def wait(self) -> float | None:
        """How long the next request has to wait; None if it is refused."""
        grant = await self.limits.lend("ann", LIMITS, 1, 0)
        return grant.at - self.clock() if grant.count else None

    async def counts(self, period: Period) -> Counter[int]:
        """What is counted in Redis of the requests in a period, by milliseconds."""
        async with Redis.from_url(self._url, decode_responses=True) as redis:
            flat = await redis.hgetall("gemini-key-proxy:limits:client:ann")
        name = f"requests/{period}|"
        found = {str(field).removeprefix(name): int(count) for field, count in flat.items()}
        return Counter({int(begin): count for begin, count in found.items() if begin.isdecimal()})


async def started() -> AsyncIterator[Replica]:
    with redis_server() as redis:
        here = Replica(redis.url)
        await here.limits.start()
        yield here
        await here.limits.close()


async def test_requests_wait_for_places_that_open_soon_and_no_period_has_more_than_the_limit() -> None:
    seen: Counter[int] = Counter()
    waits: list[float] = []
    async for here in started():
        while len(waits) < 8 or max(waits) == 0:
            wait = await here.wait()
            seen |= await here.counts(Period.SECOND)
            if wait is None:
                await asyncio.sleep(0.02)
            else:
                waits.append(wait)
        assert (await here.counts(Period.HOUR)).total() == len(waits)
    assert 0 <= min(waits) <= max(waits) < 0.45
    moments = sorted(seen.elements())
    assert len(moments) == len(waits)
    for begin, end in zip(moments, moments[3:], strict=False):
        assert end - begin > 1000


async def test_a_request_that_waited_and_was_not_made_gives_its_place_back() -> None:
    async for here in started():
        waits: list[float] = []
        while not waits or waits[-1] == 0:
            if (wait := await here.wait()) is None:
                await asyncio.sleep(0.02)
            else:
                waits.append(wait)
        here.limits.tell("ann", LIMITS, News(here.clock() + waits[-1], unused=1))
        await here.limits.close()
        assert (await here.counts(Period.HOUR)).total() == len(waits) - 1
        assert min((await here.counts(Period.SECOND)).values()) == 0
