"""The program's own choice of keys in a simulation: its exchanges, queues and rotator, without sockets."""

import asyncio
import random
from collections.abc import Sequence
from typing import cast

from proxycore.clock import Clock
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import Backoff
from proxycore.http.access_record import AccessRecord
from proxycore.relay.exchange import Exchange
from proxycore.relay.pool import Pool
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.retry_budget import RetryBudget
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.wait_queues import WaitQueues
from proxycore.stats.meter import Meter
from proxycore.transport.body_budget import BodyBudget
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.turns import Turns
from proxycore.transport.upstream import Upstream as Wire
from tests.support.google_quotas import MODEL
from tests.support.scenario import Request
from tests.support.simulation_schedulers import Upstream

BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
_SCOPE = RequestScope(MODEL)


class _Unmetered:
    """Counts nothing."""

    def attempted(self, _key: Key, _result: int | str, _seconds: float | None = None) -> None:
        """A call has ended."""

    def failed_over(self, _key: Key) -> None:
        """Another key follows."""


class Proxy:
    """One process of the program. The clock is that of the running loop.

    Everything in the simulation that calls the program is here.
    """

    def __init__(self, upstream: Upstream, max_wait: float, seed: int) -> None:
        self._upstream = upstream
        names = [str(number) for number in range(len(upstream.projects))]
        self._keys: Sequence[Key] = keys_of(KeySpec(name, f"secret-{name}", "") for name in names)
        time = asyncio.get_running_loop().time
        self.clock = clock = Clock(time, time)
        source = random.Random(seed)  # noqa: S311 - seeded, so that it is the same every time
        self.rotator = Rotator(self._keys, BACKOFFS, clock=clock, source=source)
        self.queues = WaitQueues(self.rotator, max_wait, LoopScheduler(clock))
        self.affinity = AffinityTable(clock, events=self.rotator.events)
        self._pool = Pool(
            rotator=self.rotator,
            queues=self.queues,
            affinity=self.affinity,
            upstream=cast(Wire, None),
            meter=cast(Meter, _Unmetered()),
            turns=cast(Turns, None),
            budget=cast(BodyBudget, None),
            retries=RetryBudget(clock),
            max_attempts=0,
            clock=clock,
            source=source,
        )

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request as the relay does."""
        name = str(request.number)
        record = AccessRecord(name, self.clock(), client=request.client or "-", model=MODEL)
        record.received_bytes = request.size
        case = Case(client=record.client, method="POST generateContent", request=name, size=request.size)
        exchange = Exchange(self._pool, _SCOPE, record, repeatable=True, spends=True, once=False, case=case)
        with exchange:
            while call := await exchange.next_call():
                refusal = await self._upstream.call(int(call.key.name), request)
                if refusal is None:
                    exchange.commit(200)
                    self.used(call.key, request)
                    return True, None
                status, fields, body = refusal.response()
                exchange.settle(BufferedResponse(ResponseHead(status, "", fields), body))
        told = exchange.explain().seconds if exchange.outcome.client_response is None else None
        return False, told

    def used(self, key: Key, request: Request) -> None:
        """Report the tokens of a prompt, as `usageMetadata` has them: the program does not count them yet."""
