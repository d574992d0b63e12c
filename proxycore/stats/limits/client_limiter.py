"""The client limiter of a process: admits a client's requests within its limits, or says when they may come.

Where another process keeps the ledger, requests are granted ahead of demand: as many as were made in the time
for which a grant may be kept. So a busy client's requests are admitted at once. What is not needed in that
time is given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxycore.rotation.scheduler import Scheduler
from proxycore.stats.limits.account import CONCURRENT, Grant
from proxycore.stats.limits.client_limits import ClientLimits
from proxycore.stats.limits.ledger import Ledger, LimitRules
from proxycore.stats.limits.lender import LedgerLender, Lender

NOBODY = "-"
"""The name of the clients of an open proxy, which are counted by their addresses."""

_MOST_AHEAD = 1000  # requests
_MOST_CLIENTS = 10_000  # whose requests are remembered


@dataclass(slots=True)
class Admission:
    """A request that was admitted. It counts from `at` on, and holds a place if there are only so many."""

    client: str
    at: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is over a limit, by its topic, and the seconds after which it is worthwhile again."""

    limit: str
    seconds: float


@dataclass(slots=True)
class _Permits:
    """The requests that a client may make without asking. `made` are those since `since`, the last asking."""

    left: int = 0
    at: float = 0.0
    made: int = 0
    since: float = 0.0
    asked: bool = False
    refusal: Grant | None = field(default=None)
    refused_until: float = 0.0


class ClientLimiter:
    """Admits requests under the rules of `ledger`, with its grants, or with those of another `lender`.

    Belongs to the running event loop.
    """

    def __init__(self, ledger: Ledger, scheduler: Scheduler) -> None:
        self.ledger = ledger
        self.lender: Lender = LedgerLender(ledger)
        self.use_of: Callable[[str], Mapping[str, int]] = ledger.used
        self._scheduler = scheduler
        self._permits: dict[str, _Permits] = {}
        self._asking: set[asyncio.Future[None]] = set()

    @property
    def rules(self) -> LimitRules:
        """The limits of all clients."""
        return self.ledger.rules

    def snapshot(self, client: str) -> dict[str, Any] | None:
        """The limits of a client and what it has used, as JSON; None if it has none."""
        limits = self.rules.of(client) if client != NOBODY else None
        return limits.snapshot(self.use_of(client)) if limits else None

    def admit(
        self, client: str, limits: ClientLimits
    ) -> Admission | Refusal | Awaitable[Admission | Refusal]:
        """Admit a request of a client with these limits, or refuse it."""
        holds = limits.concurrent is not None
        if not self.lender.ahead:
            grant = self.lender.ask(self, client, 1, 0)
            if isinstance(grant, Grant) and (not grant.count or grant.at <= self._scheduler.now()):
                return self._decided(client, grant, holds=holds)
            return self._wait(client, grant, limits)
        permits, now = self._permits_of(client), self._scheduler.now()
        permits.made += 1
        if permits.refusal and now < permits.refused_until:
            return Refusal(permits.refusal.limit, permits.refusal.opens - now)
        permits.refusal = None
        if permits.left:
            permits.left -= 1
            admission = Admission(client, permits.at, holds)
            if not permits.asked and permits.left <= permits.made // 2:
                self._ask_ahead(client, permits)
            return admission
        ahead = 0 if permits.asked or holds else self._wanted(permits)
        return self._wait(client, self.lender.ask(self, client, 1, ahead), limits)

    def end(self, admission: Admission, *, made: bool) -> None:
        """End an admitted request; it does not count if it was not `made`."""
        if not made:
            self.lender.take_back(admission.client, 1, admission.at)
        if admission.holds:
            self.lender.release(self, admission.client, 1)

    def spend(self, client: str, tokens: int) -> None:
        """Count tokens that a response has reported."""
        self.lender.spend(client, tokens)

    async def _wait(
        self, client: str, asked: Grant | Awaitable[Grant], limits: ClientLimits
    ) -> Admission | Refusal:
        holds = limits.concurrent is not None
        try:
            grant = await asyncio.shield(waited := asyncio.ensure_future(self._granted(asked)))
        except asyncio.CancelledError:  # the client has left: what is granted is given back
            waited.add_done_callback(lambda done: self._refund(client, done, holds=holds))
            raise
        if grant.count > 1:
            self._keep(client, grant, grant.count - 1)
        elif not grant.count and grant.limit != CONCURRENT:  # a place may be free at any moment
            permits = self._permits_of(client)
            permits.refusal = grant
            may_wait_from = grant.opens - limits.early(grant.limit)
            permits.refused_until = min(may_wait_from, self._scheduler.now() + self.lender.ahead)
        return self._decided(client, grant, holds=holds)

    async def _granted(self, asked: Grant | Awaitable[Grant]) -> Grant:
        """The grant, once its moment has come."""
        grant = asked if isinstance(asked, Grant) else await asked
        if seconds := self._early(grant):
            due = asyncio.Event()
            self._scheduler.call_later(seconds, due.set)
            await due.wait()
        return grant

    def _early(self, grant: Grant) -> float:
        """Seconds until the moment that the requests are granted for."""
        return max(0.0, grant.at - self._scheduler.now()) if grant.count else 0.0

    def _decided(self, client: str, grant: Grant, *, holds: bool) -> Admission | Refusal:
        if grant.count:
            return Admission(client, grant.at, holds)
        return Refusal(grant.limit, grant.opens - self._scheduler.now())

    def _refund(self, client: str, done: "asyncio.Future[Grant]", *, holds: bool) -> None:
        if not done.cancelled() and not done.exception() and (grant := done.result()).count:
            self.lender.take_back(client, grant.count, grant.at)
            if holds:
                self.lender.release(self, client, grant.count)

    def _ask_ahead(self, client: str, permits: _Permits) -> None:
        if wanted := self._wanted(permits):
            permits.asked = True
            asking = asyncio.ensure_future(self._fetch(client, permits, wanted))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)

    async def _fetch(self, client: str, permits: _Permits, wanted: int) -> None:
        try:
            asked = self.lender.ask(self, client, 0, wanted)
            grant = asked if isinstance(asked, Grant) else await asked
        finally:
            permits.asked = False
        if grant.count:
            self._keep(client, grant, grant.count)

    def _wanted(self, permits: _Permits) -> int:
        """How many may be made while a grant may be kept, going by those since the last asking."""
        now, ahead = self._scheduler.now(), self.lender.ahead
        wanted = int(permits.made * ahead / max(now - permits.since, ahead / 2))
        permits.made, permits.since = 0, now
        return min(wanted, _MOST_AHEAD)

    def _keep(self, client: str, grant: Grant, count: int) -> None:
        permits = self._permits_of(client)
        self._give_back(client, permits)
        permits.left, permits.at = count, grant.at
        self._scheduler.call_later(self.lender.ahead, lambda: self._expire(client, permits, grant.at))

    def _expire(self, client: str, permits: _Permits, at: float) -> None:
        if permits.at == at:
            self._give_back(client, permits)

    def _give_back(self, client: str, permits: _Permits) -> None:
        if permits.left:
            self.lender.take_back(client, permits.left, permits.at)
            permits.left = 0

    def _permits_of(self, client: str) -> _Permits:
        permits = self._permits.get(client)
        if permits is None:
            if len(self._permits) >= _MOST_CLIENTS:
                self._permits = {known: one for known, one in self._permits.items() if one.left or one.asked}
            permits = self._permits[client] = _Permits()
        return permits
