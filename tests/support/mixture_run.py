"""Runs a mixture: the program's own classes on a turned clock, with a model of Google in place of sockets."""

import asyncio
import logging
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

from proxycore.clock import Clock
from proxycore.gemini.methods import repeatable, spends
from proxycore.gemini.prompt_size import prompt_size
from proxycore.http.access_record import AccessRecord
from proxycore.http.fields import Field
from proxycore.relay.exchange import Exchange
from proxycore.relay.outcome import AttemptResult
from proxycore.relay.pool import Pool
from proxycore.relay.request_case import case_of
from proxycore.rotation.key import Key
from proxycore.runtime.app import ProxyApplication
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import Outgoing, UpstreamError
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.upstream import Upstream
from tests.support import google_model
from tests.support.google_model import Google, KeyPlan, Poison, Request
from tests.support.mixture_wire import lane, received, written
from tests.support.mixtures import Mixture
from tests.support.proxy import settings
from tests.support.turned_loop import TurnedLoop

logger = logging.getLogger("proxycore")

SAMPLE = 0.25
"""Seconds between two records of which keys are benched."""

_BEGINNING = 1_000_000.0  # the moment of the loop's clock that is a mixture's 0
_LONGEST = 120.0  # seconds after the last arrival: who is not answered then never is
_SAMPLED = 25  # healthy keys that are looked at


@dataclass(frozen=True)
class Asked:
    """A call: its key, its moment, and its result."""

    key: str
    at: float
    answer: google_model.Answer


@dataclass
class Outcome:
    """The result of a request. `status` is what its client got; `own`: from the proxy, not Google.

    `end` is None while it is in progress, `told` seconds after which to come back.
    """

    request: Request
    end: float | None = None
    status: int = 0
    own: bool = False
    told: int | None = None
    calls: list[Asked] = field(default_factory=list)
    fault: BaseException | None = None

    @property
    def served(self) -> bool:
        """Whether a key served it."""
        return self.status == 200


class Watcher:
    """Observes a run: called for each event. This one does nothing."""

    def begins(self, run: "Run") -> None:
        """The program has started."""

    def arrives(self, outcome: Outcome) -> None:
        """A request has arrived."""

    def asks(self, outcome: Outcome, asked: Asked) -> None:
        """A call begins."""

    def observe(self, outcome: Outcome, asked: Asked) -> None:
        """The response to a call has arrived, and is about to be judged."""

    def ends(self, outcome: Outcome) -> None:
        """The client has its response."""


class Run:
    """One run of a mixture. `rests` has for each healthy key and lane the looks at which it rested."""

    def __init__(self, mixture: Mixture, watcher: Watcher | None = None) -> None:
        self.mixture = mixture
        self.outcomes: list[Outcome] = []
        self.rests: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.plans = {key.name: key for key in mixture.keys}
        source = random.Random(f"google {mixture.seed}")  # noqa: S311 - seeded
        self.google = Google(mixture.everywhere, mixture.latency, source)
        self.looks: Counter[str] = Counter()  # by key, calls of the program's own
        self.faults: list[str] = []
        self._watcher = watcher or Watcher()

    def run(self) -> "Run":
        """Runs it to its end."""
        loop = TurnedLoop(sockets=False)
        loop.set_exception_handler(lambda _, context: self.faults.append(repr(context)))
        try:
            looks = mock.patch("proxycore.transport.fetch.Attempt", partial(_Look, self))
            with looks, _quiet(watched=type(self._watcher) is not Watcher), _no_luck(self.mixture.seed):
                loop.run_until_complete(self._run())
        finally:
            loop.close()
        return self

    def now(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time() - _BEGINNING

    def key(self, name: str) -> Key:
        """The program's key of this name."""
        return next(key for key in self.app.rotator.keys if key.name == name)

    async def _run(self) -> None:
        loop, mixture = asyncio.get_running_loop(), self.mixture
        clock = Clock(loop.time, loop.time)
        source = random.Random(f"program {mixture.seed}")  # noqa: S311 - seeded
        self.app = ProxyApplication(settings("http://127.0.0.1:9", _variables(mixture)), clock, source)
        self.pool: Pool = self.app.pool
        self._watcher.begins(self)
        tasks = [asyncio.ensure_future(self._sample())]
        looks = asyncio.ensure_future(self.app.probe.run())
        for request in mixture.requests():
            await asyncio.sleep(request.at - self.now())
            task = asyncio.ensure_future(self._request(request))
            if request.leaves < math.inf:
                loop.call_later(request.leaves, task.cancel)
            tasks.append(task)
        _, unfinished = await asyncio.wait(tasks, timeout=_LONGEST)
        for task in (*unfinished, looks):
            task.cancel()
        self.app.upstream.close()

    async def _request(self, request: Request) -> None:
        method, path, body, scope = written(request.poison, request.model)
        record = AccessRecord(
            f"r{request.number}", self.pool.clock(), client=request.client, model=scope.model
        )
        record.received_bytes = len(body)
        outcome = Outcome(request)
        self.outcomes.append(outcome)
        self._watcher.arrives(outcome)
        exchange = Exchange(
            self.pool,
            scope,
            record,
            repeatable=repeatable(method, path),
            spends=spends(method, path),
            once=False,
            case=case_of(received(request), path, record),
            size=prompt_size(body),
        )

        try:
            if await self._is_served(exchange, outcome):
                outcome.status = 200
            else:
                conclude(exchange, outcome)
        except asyncio.CancelledError:
            outcome.status = 499
        except Exception as error:  # noqa: BLE001 - it is told as a failure of the mixture
            outcome.fault = error
        outcome.end = self.now()
        self._watcher.ends(outcome)

    async def _is_served(self, exchange: Exchange, outcome: Outcome) -> bool:
        with exchange:
            while call := await exchange.next_call():
                answer = await self._call(outcome, exchange, call.key)
                if answer is None:
                    return True
                exchange.settle(answer)
        return False

    async def _call(self, outcome: Outcome, exchange: Exchange, key: Key) -> AttemptResult | None:
        now = self.now()
        answer = self.google.answer(self.plans[key.name], outcome.request, now)
        asked = Asked(key.name, now, answer)
        outcome.calls.append(asked)
        self._watcher.asks(outcome, asked)
        await asyncio.sleep(answer.seconds)
        self._watcher.observe(outcome, asked)
        status, fields, body = answer.response
        if status == 0:
            return UpstreamError(
                "The upstream broke off the connection before the response was complete.", sent=True
            )
        if status == 200:
            exchange.commit(200)
            return None
        return BufferedResponse(ResponseHead(status, "", fields), body)

    async def _sample(self) -> None:
        """Records periodically which healthy keys are benched."""
        healthy = [(plan, self.key(plan.name)) for plan in self.mixture.keys if plan.healthy][:_SAMPLED]
        lanes = [lane(written(Poison.PLAIN, model)[3]) for model in self.mixture.models]
        while self.now() < self.mixture.seconds:
            await asyncio.sleep(SAMPLE)
            now = self.pool.clock()
            for plan, key in healthy:
                for one in lanes:
                    if key.ready_at(one) > now:
                        self.rests[plan.name, one].append(self.now())


class _Look:
    """A probe by the program of whether a key is still dead: it lists one model."""

    def __init__(
        self, run: Run, _upstream: Upstream, _outgoing: Outgoing, field: Field, *, fresh: bool
    ) -> None:
        request = Request(-1, "look", run.now(), Poison.PLAIN, "")
        plan = next(plan for plan in run.mixture.keys if secret_of(plan) in field[1])
        self._answer = run.google.answer(plan, request, run.now())
        self._fresh = fresh
        run.looks[plan.name] += 1

    async def head(self) -> ResponseHead:
        """The answer's head, after a while."""
        await asyncio.sleep(self._answer.seconds)
        status, fields, _ = self._answer.response
        if status == 0:
            raise UpstreamError(
                "The upstream broke off the connection before the response was complete.", sent=True
            )
        return ResponseHead(status, "", fields)

    async def read(self, _most: int) -> bytes:
        """The answer's body."""
        return self._answer.response.body

    def end(self) -> None:
        """The call is abandoned."""


def secret_of(plan: KeyPlan) -> str:
    """The key itself."""
    return f"upstream-secret-{plan.name:>05}"


def conclude(exchange: Exchange, outcome: Outcome) -> None:
    """The response to the client after an exchange without a committed one."""
    answer = exchange.outcome.client_response
    if answer is None:
        outcome.told = exchange.explain().seconds
        outcome.own, outcome.status = True, 401 if outcome.told is None else 429
    elif isinstance(answer, UpstreamError):
        outcome.own, outcome.status = True, 500
    else:
        outcome.status = answer.head.status


def _variables(mixture: Mixture) -> dict[str, str]:
    projects = [key.project for key in mixture.keys]

    def name(plan: KeyPlan) -> str:
        shared = mixture.named and projects.count(plan.project) > 1
        return f"{plan.name}__{plan.project}" if shared else plan.name

    return {f"GOOGLE_API_KEY_{name(plan)}": secret_of(plan) for plan in mixture.keys}


@contextmanager
def _quiet(*, watched: bool) -> Iterator[None]:
    """Disables the log, unless the run is watched."""
    former, logger.disabled = logger.disabled, not watched
    try:
        yield
    finally:
        logger.disabled = former


@contextmanager
def _no_luck(seed: int) -> Iterator[None]:
    """Whatever draws from the module's own random source draws the same every time."""
    source = random.Random(f"module {seed}")  # noqa: S311 - seeded
    with (
        mock.patch.object(random, "uniform", source.uniform),
        mock.patch.object(random, "random", source.random),
    ):
        yield
