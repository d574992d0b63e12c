"""The keeper of a host's ledger: a single process, or the hub of several.

On its own it grants by its ledger, which it publishes so that it outlives a restart. With Redis it grants
what is left for all replicas.
"""

import asyncio
from collections.abc import Callable

from proxycore.clock import Clock
from proxycore.peers.limit_facts import ALONE, LimitFacts
from proxycore.peers.limit_link import LimitServer
from proxycore.peers.redis_limits import RedisLimits
from proxycore.peers.store import Store
from proxycore.stats.limits.ledger import Ledger
from proxycore.stats.limits.lender import LedgerLender, Lender
from proxycore.stats.limits.remote_lender import RemoteLender

_PATIENCE = 0.5  # seconds that Redis may take to decide


class LimitKeeper:
    """Keeps `ledger`; what of it outlives a restart goes into `store`.

    `url` returns that of Redis by the present settings.
    """

    def __init__(self, ledger: Ledger, store: Store, *, url: Callable[[], str | None], clock: Clock) -> None:
        self.lender: Lender = LedgerLender(ledger)
        self.ledger = ledger
        self.server = LimitServer(lambda: self.lender)
        self._facts = LimitFacts(ledger, store, self._host, clock)
        self._url = url
        self._clock = clock
        self._redis: RedisLimits | None = None
        self._publishing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Count what is in the store, and publish what is counted from now on."""
        self._facts.start()
        self._publishing = asyncio.create_task(self._facts.run())

    async def connect(self) -> None:
        """Connect to Redis by the present setting, unless that has not changed."""
        url = self._url()
        if self._redis and url == self._redis.url:
            return
        await self._disconnect()
        if url:
            redis = self._redis = RedisLimits(url, self.ledger, self._clock)
            await redis.start()
            self.lender = RemoteLender(
                redis, self.ledger, lambda: redis.peers, self._clock, patience=_PATIENCE
            )

    async def close(self) -> None:
        """Publish what is counted, and disconnect."""
        if self._publishing:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
        self._facts.publish_changes()
        await self._disconnect()

    def _host(self) -> str:
        return self._redis.host if self._redis else ALONE

    async def _disconnect(self) -> None:
        self.lender = LedgerLender(self.ledger)
        if self._redis:
            await self._redis.close()
            self._redis = None
