"""Probes retired keys with a request for one model's name, which costs no quota.

The first is sent after a minute, later ones after up to a day while the key is refused again and again: no
client's request is spent on a key that is most likely dead. A key that may list models may still be unable to
do more, so its strikes stay as they are: only a model's response clears them.
"""

import asyncio
import logging
import random

from proxycore.gemini.judge import judge
from proxycore.gemini.verdict import Verdict
from proxycore.http.credentials import credential
from proxycore.relay.pool import Pool
from proxycore.rotation.calls import Call
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key
from proxycore.transport.buffered_response import BUFFERED_BYTES
from proxycore.transport.fetch import fetch_whole
from proxycore.transport.messages import Outgoing, UpstreamError

logger = logging.getLogger(__name__)

_TARGET = "/v1beta/models?pageSize=1"
_INTERVAL = 5.0  # seconds between two checks for due keys, ±50 %: processes check at different times


class Probe:
    """Probes retired keys when they are due."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * _INTERVAL)  # noqa: S311 - nothing secret
            await self.probe_due()

    async def probe_due(self) -> None:
        """Probe the keys that are due, one after the other."""
        for key in self._pool.rotator.keys:
            if key.retired and key.retired.benched_until <= self._pool.clock():
                await self._probe(key)

    async def _probe(self, key: Key) -> None:
        pool = self._pool
        pool.rotator.put_off_probe(key)  # first of all, so that no other process tries it, too
        try:
            await probe_key(pool, key)
        except UpstreamError as error:
            logger.warning("key %s could not be probed: %s %s", key.name, error, error.detail)
            return
        if key.retired:
            logger.warning("key %s was probed and is still refused; it stays retired", key.name)


async def probe_key(pool: Pool, key: Key, request: str = "") -> Verdict:
    """Probe a key with a call that costs no quota, put the response into effect, and return its verdict.

    `request` is the id of the request that asks for that, if one does. Raises UpstreamError if there was no
    response.
    """
    call = Call(key, "", pool.clock(), spends=False)
    try:
        status, verdict = await _ask(pool, key.secret, key.proxy)
    except UpstreamError as error:
        pool.meter.attempted(key, error.label)
        raise
    pool.meter.attempted(key, status)
    pool.rotator.apply(call, verdict, Case(request=request))
    return verdict


async def verdict_on(pool: Pool, secret: str, proxy: str | None) -> Verdict:
    """Probe a key that is not one of the pool's: return the verdict on it, and put nothing into effect.

    `proxy` is the URL of its outbound proxy. Raises UpstreamError if there was no response.
    """
    return (await _ask(pool, secret, proxy))[1]


async def _ask(pool: Pool, secret: str, proxy: str | None) -> tuple[int, Verdict]:
    outgoing, field = Outgoing("GET", _TARGET, [], b""), credential(secret, _TARGET)
    result = await fetch_whole(pool.upstream, outgoing, field, BUFFERED_BYTES, proxy=proxy)
    status = result.head.status
    return status, judge(status, result.head.fields, result.body or b"", now=pool.clock.wall())
