"""The wait queues of all models: how a request gets its next call, at once or when it is its turn."""

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from proxycore.gemini.lane import counted_as
from proxycore.rotation.bench import LANE_PLACES
from proxycore.rotation.calls import Call
from proxycore.rotation.events import (
    BenchChanged,
    ConcurrencyRaised,
    DayEndsMoved,
    Event,
    Events,
    KeysReplaced,
    OutageChanged,
    ProjectAssigned,
    QuotaLearned,
    SearchChanged,
)
from proxycore.rotation.expected_returns import ExpectedReturns
from proxycore.rotation.key import Key, Project
from proxycore.rotation.pool_rates import PoolRates
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import Scheduler
from proxycore.rotation.wait_queue import WaitQueue
from proxycore.rotation.waiter import Waiter


class WaitQueues:
    """A queue for each model that requests wait for. `max_wait` is the seconds that one may wait in all.

    The scheduler has to go by the rotator's clock.
    """

    def __init__(self, rotator: Rotator, max_wait: float, scheduler: Scheduler) -> None:
        self.max_wait = max_wait
        self.expected = ExpectedReturns(scheduler.now, rotator.events)
        self._rotator = rotator
        self._scheduler = scheduler
        self._queues: dict[str, WaitQueue] = {}
        self._weights: dict[str, float] = {}
        self._rates = PoolRates(rotator, scheduler.now)
        self._subscribe(rotator.events)

    @property
    def waiting(self) -> int:
        """How many requests wait, in all queues."""
        return sum(map(len, self._queues.values()))

    def has_waiters(self, model: str) -> bool:
        """Return whether requests wait for a key for this lane."""
        return bool(self._queues.get(model))

    def set_max_wait(self, max_wait: float) -> None:
        """Let requests that arrive from now on wait for so many seconds in all."""
        self.max_wait = max_wait

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Share the pool in proportion to these weights, by name of client: more than 0, else 1."""
        self._weights.clear()
        self._weights.update(weights)

    def try_acquire(
        self,
        model: str,
        avoid: AbstractSet[Key],
        only: Key | None = None,
        *,
        spends: bool = True,
        prefer: Project | None = None,
        tokens: int = 0,
    ) -> Call | None:
        """Return a call with a ready key, of `prefer` if possible; None if there is none or others wait."""
        if self._queues.get(model):
            return None
        return self._rotator.acquire(model, avoid, only, prefer, spends=spends, tokens=tokens)

    async def wait(
        self,
        model: str,
        arrival: int,
        avoid: AbstractSet[Key],
        seconds: float,
        only: Key | None = None,
        *,
        spends: bool = True,
        tokens: int = 0,
        client: str = "",
    ) -> Call | None:
        """Return this request's call once its turn has come; None if that is too late.

        Turns are fair between clients, and of one client in order of arrival. It returns at once when it is
        known that the turn would not come within `seconds`.
        """
        rotator = self._rotator
        if seconds <= 0:
            return rotator.acquire_out_of_order(model, avoid, only, spends=spends, tokens=tokens)
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = WaitQueue(
                model,
                rotator,
                self._scheduler,
                expected=self.expected,
                rates=self._rates,
                weights=self._weights,
            )
        future, deadline = asyncio.get_running_loop().create_future(), self._scheduler.now() + seconds
        counts_tokens = rotator.counted_tokens(model, tokens) > 0
        waiter = Waiter(client, arrival, avoid, only, spends, tokens, counts_tokens, deadline, future)
        try:
            call = await queue.wait(waiter)
            return call or rotator.acquire_out_of_order(model, avoid, only, spends=spends, tokens=tokens)
        finally:
            if not queue:
                self._queues.pop(model, None)

    def retry_after(self, model: str, at: float, client: str = "") -> int:
        """Return `Retry-After` in whole seconds for a client that could be served `at` a moment if alone.

        Others that were told before come first; the client is expected back then.
        """
        now, at = self._scheduler.now(), max(at, self._scheduler.now())
        seconds = self.expected.place(model, client, at, self._rates.of(model))
        self.expected.add(model, now + seconds, client)
        return seconds

    def refresh(self, model: str | None) -> None:
        """Make the reservations for this lane anew soon, since something has changed; for all with None."""
        for lane, queue in self._queues.items():
            if model in {None, lane, counted_as(lane)}:
                queue.refresh()

    def _subscribe(self, events: Events) -> None:
        events.subscribe(BenchChanged, self._bench_changed)
        events.subscribe(QuotaLearned, self._lane_changed)
        events.subscribe(ConcurrencyRaised, self._lane_changed)
        events.subscribe(SearchChanged, self._lane_changed)
        for all_lanes in (DayEndsMoved, KeysReplaced, OutageChanged, ProjectAssigned):
            events.subscribe(all_lanes, self._all_changed)

    def _bench_changed(self, event: BenchChanged) -> None:
        self.refresh(event.about if event.place in LANE_PLACES else None)

    def _lane_changed(self, event: QuotaLearned | ConcurrencyRaised | SearchChanged) -> None:
        self.refresh(event.lane)

    def _all_changed(self, _: Event) -> None:
        self.refresh(None)
