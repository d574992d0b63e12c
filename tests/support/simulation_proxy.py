"""The program's own choice of keys in a simulation: its exchanges, queues and rotator, without sockets.

Everything in a simulation that calls the program is here, and in `simulation_link`.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import cast

from proxycore.clock import Clock
from proxycore.gemini.prompt_size import PromptSize
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import Backoff, until_google_midnight
from proxycore.http.access_record import AccessRecord
from proxycore.peers.publisher import Publisher
from proxycore.peers.replicator import Replicator
from proxycore.relay.exchange import Exchange
from proxycore.relay.pool import Pool
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.conversations import Conversations
from proxycore.rotation.hedging import Hedging
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.retry_budget import RetryBudget
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.token_ratios import TokenRatios
from proxycore.rotation.wait_queues import WaitQueues
from proxycore.stats.limits.client_limiter import ClientLimiter
from proxycore.stats.meter import Meter
from proxycore.transport.body_budget import BodyBudget
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.turns import Turns
from proxycore.transport.upstream import Upstream as Wire
from tests.support.google_quotas import MODEL, KeyPlan
from tests.support.scenario import Request, Scenario
from tests.support.simulation_link import Link
from tests.support.simulation_schedulers import Upstream

BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}


class _Unmetered:
    """Counts nothing."""

    def attempted(self, _key: Key, _result: int | str, _seconds: float | None = None) -> None:
        """A call has ended."""

    def failed_over(self, _key: Key) -> None:
        """Another key follows."""


def _keys(plans: Sequence[KeyPlan]) -> tuple[Key, ...]:
    """The keys, with the number of the project at the beginning of their names; each knows its project."""
    return tuple(
        keys_of(
            KeySpec(f"{number}-{one}", f"secret-{number}-{one}", f"p{number}" if plan.keys > 1 else "")
            for number, plan in enumerate(plans)
            for one in range(plan.keys)
        )
    )


def _number(key: Key) -> int:
    return int(key.name.partition("-")[0])


def _owned_by(project: int) -> str:
    return f"files/of-{project}"


class Proxies:
    """The processes of the program; each request comes to one of them. The clock is the running loop's."""

    def __init__(self, upstream: Upstream, scenario: Scenario, seed: int) -> None:
        self._random = random.Random(f"balancer {seed}")  # noqa: S311 - seeded
        clock = _clock(scenario)
        link = Link(clock, scenario.lag) if scenario.processes > 1 else None
        self._proxies = [
            Proxy(upstream, scenario, clock, f"{number}-{seed}", link.join() if link else None)
            for number in range(scenario.processes)
        ]
        if link and scenario.apart[0] < scenario.end:
            loop = asyncio.get_running_loop()
            for moment, change in zip(scenario.apart, (link.cut, link.mend), strict=True):
                loop.call_later(moment, change)

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request with one of them."""
        proxies = self._proxies
        proxy = proxies[0] if len(proxies) == 1 else self._random.choice(proxies)
        return await proxy.serve(request)


def _clock(scenario: Scenario) -> Clock:
    """The clock, on whose wall it is midnight at Google when the scenario has it, if it does."""
    time = asyncio.get_running_loop().time
    days = [project.day for project in scenario.projects if project.day]
    ahead = until_google_midnight(time()) - days[0].midnight if days else 0.0
    return Clock(time, lambda: time() + ahead)


class Proxy:
    """One process of the program, which has a `publisher` if there are several."""

    def __init__(
        self, upstream: Upstream, scenario: Scenario, clock: Clock, name: str, publisher: Publisher | None
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        keys = _keys(scenario.projects)
        source = random.Random(f"proxy {name}")  # noqa: S311 - seeded, so that it is the same every time
        rotator = Rotator(keys, BACKOFFS, clock=clock, source=source, patience=scenario.max_wait)
        queues = WaitQueues(rotator, scenario.max_wait, LoopScheduler(clock))
        affinity = AffinityTable(clock, events=rotator.events)
        if publisher:
            replicator = Replicator(
                rotator,
                queues,
                affinity,
                publish=publisher.publish,
                snapshot=publisher.snapshot,
                clock=clock,
                process_id=name,
            )
            replicator.share_calls()
            publisher.start(replicator.apply)
        for key in keys:
            affinity.learn([_owned_by(_number(key))], key)
        self._pool = Pool(
            rotator=rotator,
            queues=queues,
            affinity=affinity,
            upstream=cast(Wire, None),
            meter=cast(Meter, _Unmetered()),
            limiter=cast(ClientLimiter, None),
            turns=cast(Turns, None),
            budget=cast(BodyBudget, None),
            retries=RetryBudget(clock),
            hedging=Hedging(0.0, clock),
            token_ratios=TokenRatios(),
            conversations=Conversations(rotator, clock),
            max_attempts=0,
            clock=clock,
            source=source,
        )

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request as the relay does."""
        exchange = self._exchange(request)
        with exchange:
            while call := await exchange.next_call():
                refusal = await self._upstream.call(_number(call.key), request)
                if refusal is None:
                    exchange.commit(200)
                    exchange.count_tokens(request.tokens)
                    return True, None
                status, fields, body = refusal()
                exchange.settle(BufferedResponse(ResponseHead(status, "", fields), body))
        told = exchange.explain().seconds if exchange.outcome.client_response is None else None
        return False, told

    def _exchange(self, request: Request) -> Exchange:
        name = f"{request.number} again" if request.again else str(request.number)
        record = AccessRecord(name, self._clock(), client=request.client, model=MODEL)
        record.received_bytes = request.size
        case = Case(client=request.client, method="POST generateContent", request=name)
        resources = () if request.owner is None else (_owned_by(request.owner),)
        conversation = str(request.conversation or "")
        scope = RequestScope(MODEL, resources, lane=MODEL, conversation=conversation)
        return Exchange(
            self._pool,
            scope,
            record,
            repeatable=True,
            spends=True,
            once=False,
            case=case,
            size=PromptSize(request.size, 0),
        )
