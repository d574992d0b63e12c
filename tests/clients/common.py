"""A pool for official clients to call: a healthy key, and every kind of failing key around it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxycore.demo import Health, StandIn
from tests.conftest import proxy

CLIENT_KEY = "the-clients-own-key"
MODEL = "gemini-2.5-flash"

POOL = {
    "AQ.healthy": Health.healthy(),
    "AQ.expired": Health.expired(),
    "AQ.two-a-second": Health.quota(2, window=1.0),
    "AQ.day-spent": Health.day_spent(),
    "AQ.suspended": Health.suspended(),
    "AQ.invalid": Health.invalid(),
    "AQ.disabled": Health.service_disabled(),
    "AQ.overloaded": Health.in_turn(Health.overloaded(), Health.healthy(), repeat=True),
}


@dataclass
class Pool:
    """The proxy's address, and the stand-in behind it."""

    url: str
    standin: StandIn


@contextlib.asynccontextmanager
async def pool() -> AsyncIterator[Pool]:
    """The proxy before a stand-in with these keys; what clients block in has to run in a thread."""
    standin = StandIn(POOL)
    keys = {f"GOOGLE_API_KEY_{number}": secret for number, secret in enumerate(POOL)}
    try:
        async with proxy(standin.listen(), keys | {"OUTPUT_API_KEY": CLIENT_KEY}) as here:
            yield Pool(here.url, standin)
        asked = [call for call in standin.calls if call.status != 200]
        assert asked, "no key failed, so nothing was shown"
    finally:
        await standin.stop()
        # SDKs leave generators to the loop's end, which pytest-tornasync's loop does not have.
        await asyncio.get_running_loop().shutdown_asyncgens()
