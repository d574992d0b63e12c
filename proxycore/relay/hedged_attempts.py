"""The attempts of one exchange, of which one is hedged: if it is late, a second one runs beside it.

    the first is late              a second project is asked, if there is one with quota to spare
    one of them speaks             its response goes to the client, and the other's connection closes at once
    one of them is refused         that is settled as usual, and the other one goes on; unless the response is
                                   about the request: then it goes to the client
    both of them are               the exchange goes on as after any attempt

To speak is to be committed: a 2xx head, and for a stream a first event that is no error.
"""

import asyncio
import re
from collections.abc import Callable

from proxycore.gemini.methods import ApiCall
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import HEALTHY, Verdict
from proxycore.http.credentials import credential
from proxycore.relay.exchange import Exchange
from proxycore.relay.outcome import AttemptResult
from proxycore.relay.relay_attempt import RelayAttempt
from proxycore.relay.response_handler import ResponseHandler
from proxycore.rotation.calls import Call
from proxycore.rotation.hedging import HedgeResult, Kind
from proxycore.transport.messages import Outgoing

_STREAMED = re.compile(rb'"stream"\s{0,4}:\s{0,4}true')  # in a request to an OpenAI path
_SEARCHED = 512  # bytes at either end of a body


def is_hedgeable(scope: RequestScope, call: ApiCall) -> bool:
    """Whether a request may be sent to a second project: it generates, and names nothing that one owns."""
    bound = scope.resources or scope.possible_resources or scope.group
    return call.spends and call.repeatable and not bound


class HedgedAttempts:
    """The attempts of `exchange`, whose request has to be hedgeable; at most one of them is hedged."""

    def __init__(self, handler: ResponseHandler, exchange: Exchange, outgoing: Outgoing) -> None:
        self.handler = handler
        self.exchange = exchange
        self.outgoing = outgoing
        self._hedging = handler.pool.hedging
        self._kind: Kind = exchange.lane, _is_streamed(handler)
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None  # done when an attempt is
        self._running: list[_Contender] = []
        self._hedge: _Contender | None = None
        self._hedge_result = HedgeResult.ABANDONED
        self._hedging.earn()

    async def run(self, call: Call) -> bool:
        """Make an attempt with this call, and perhaps a second one; settle those that fail.

        Returns whether a response went to the client, complete or not.
        """
        patience = None if self._hedge else self._hedging.patience(self._kind)
        first = _Contender(self, call)
        self._running = [first]
        try:
            if patience is not None:
                return await self._race(first, patience)
            if result := await first.run():
                self.exchange.settle(result)
            return result is None
        finally:
            for one in self._running:
                one.leave()
            self._running = []

    def commit(self, one: "_Contender", verdict: Verdict) -> None:
        """Leave the other attempt, since the response of this one goes to the client."""
        self.exchange.turn_to(one.call)
        if one is self._hedge:
            self._hedge_result = HedgeResult.WON
        for other in self._running:
            if verdict is HEALTHY and other is not self._hedge:
                # If the first attempt is left, its time is longer than this; that it is late is what counts.
                self._hedging.learn(self._kind, other.seconds)
            if other is not one:
                other.leave()
        self._running = [one]

    async def _race(self, first: "_Contender", patience: float) -> bool:
        first.begin(self._wake)
        timer = self._loop.call_later(patience, self._ask_another, first)
        try:
            return await self._end()
        finally:
            timer.cancel()
            if self._hedge:
                self.handler.pool.meter.hedged(self._hedge_result)

    def _ask_another(self, first: "_Contender") -> None:
        if first.is_silent and self._hedging.affordable and (call := self.exchange.hedge()):
            self._hedging.spend()
            self._hedge = _Contender(self, call)
            self._hedge.begin(self._wake)
            self._running.append(self._hedge)

    async def _end(self) -> bool:
        """Wait until a response went to the client, or is for the client, or all attempts have failed."""
        while self._running and not self.exchange.outcome.decided:
            self._waiter = self._loop.create_future()
            await self._waiter
            for one in [one for one in self._running if one.is_done]:
                result = one.result()
                if result is None:
                    return True
                self._running.remove(one)
                if one is self._hedge:
                    self._hedge_result = HedgeResult.REFUSED
                self.exchange.turn_to(one.call)
                self.exchange.settle(result)
        return False

    def _wake(self, _: "asyncio.Task[AttemptResult | None]") -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class _Contender(RelayAttempt):
    """One of two attempts of which only one is committed."""

    __slots__ = ("_attempts", "_task", "call")

    def __init__(self, attempts: HedgedAttempts, call: Call) -> None:
        outgoing = attempts.outgoing
        field = credential(call.key.secret, outgoing.target)
        super().__init__(attempts.handler, outgoing, field, call.key, attempts.exchange)
        self.call = call
        self._attempts = attempts
        self._task: asyncio.Task[AttemptResult | None] | None = None

    @property
    def seconds(self) -> float:
        """The seconds since it began."""
        return self._loop.time() - self._began

    @property
    def is_done(self) -> bool:
        """Whether it has begun and ended."""
        return self._task is not None and self._task.done()

    @property
    def is_silent(self) -> bool:
        """Whether nothing is known of its response."""
        return not self._committed and not self.is_done

    def begin(self, wake: "Callable[[asyncio.Task[AttemptResult | None]], None]") -> None:
        """Run it in a task, and call `wake` when that is done."""
        self._task = self._loop.create_task(self.run())
        self._task.add_done_callback(wake)

    def result(self) -> AttemptResult | None:
        """Return the result, as `run` does, once it is done."""
        assert self._task is not None  # noqa: S101 - it has begun
        return self._task.result()

    def leave(self) -> None:
        """End it at once: its connection closes, and nothing that it has received has any effect."""
        self._attempt.end()
        if self._task:
            self._task.cancel()

    def _commit(self, verdict: Verdict) -> None:
        if not self._handler.state.over:
            self._attempts.commit(self, verdict)
        super()._commit(verdict)


def _is_streamed(handler: ResponseHandler) -> bool:
    body = handler.body.data
    return handler.call.streams or any(map(_STREAMED.search, (body[:_SEARCHED], body[-_SEARCHED:])))
