"""Tries keys that are not configured yet: whether Google accepts each, by a call that costs no quota."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from proxycore.gemini.verdict import BenchScope
from proxycore.relay.pool import Pool
from proxycore.relay.probe import verdict_on
from proxycore.transport.messages import UpstreamError

_AT_ONCE = 8
_TIMEOUT = 20.0  # seconds for one key


class Acceptance(Enum):
    """Whether Google accepts a key: also one that may not be used for now, but not one that is dead."""

    ACCEPTED = "accepted"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Trial:
    """The result for a key; `reason` is empty if nothing is wrong with it."""

    acceptance: Acceptance
    reason: str = ""


async def try_keys(pool: Pool, proxies: Mapping[str, str | None]) -> dict[str, Trial]:
    """Try keys, a few at a time, and return the result for each.

    `proxies` are their outbound proxies (None for none), by the keys themselves. Once the upstream can't be
    reached through one, the keys that are left for it are not tried.
    """
    slots, failures = asyncio.Semaphore(_AT_ONCE), dict[str | None, str]()

    async def try_one(secret: str, proxy: str | None) -> Trial:
        async with slots:
            if proxy in failures:
                return Trial(Acceptance.UNKNOWN, failures[proxy])
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await _trial(pool, secret, proxy)
            except UpstreamError as error:
                failures[proxy] = str(error)
            except TimeoutError:
                failures[proxy] = f"No response within {_TIMEOUT:g} s."
            return Trial(Acceptance.UNKNOWN, failures[proxy])

    trials = await asyncio.gather(*(try_one(secret, proxy) for secret, proxy in proxies.items()))
    return dict(zip(proxies, trials, strict=True))


async def _trial(pool: Pool, secret: str, proxy: str | None) -> Trial:
    verdict = await verdict_on(pool, secret, proxy)
    if verdict.healthy:
        return Trial(Acceptance.ACCEPTED)
    if verdict.rest is BenchScope.RETIRED:
        return Trial(Acceptance.DEAD, verdict.reason)
    is_about_key = verdict.rest is not BenchScope.NOTHING
    return Trial(Acceptance.ACCEPTED if is_about_key else Acceptance.UNKNOWN, verdict.reason)
