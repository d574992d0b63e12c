"""Gets requests granted by the process that keeps the ledger; while that is away, grants a share.

What is granted is counted here too, so that the share is right when the ledger can't be reached.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from proxycore.clock import Clock
from proxycore.stats.limits.account import CONCURRENT, Account, Grant
from proxycore.stats.limits.client_limits import ClientLimits
from proxycore.stats.limits.ledger import Ledger

_AHEAD = 0.25  # seconds
_AWAY = 1.0  # seconds for which it is not asked after it took longer
_RELEASED = 0.03  # seconds in which a place that was released just now is known there


class LedgerAwayError(Exception):
    """The process that keeps the ledger can't be reached."""


@dataclass(frozen=True, slots=True)
class News:
    """What became of requests: how many granted `at` a moment were not made, and how many ended.

    Negative numbers are of requests that were granted here. `tokens` are those that responses reported.
    """

    at: float
    unused: int = 0
    ended: int = 0
    tokens: int = 0


class Connection(Protocol):
    """A connection to the process that keeps the ledger."""

    async def lend(self, client: str, limits: ClientLimits, needed: int, ahead: int) -> Grant:
        """Ask for requests. Raises LedgerAwayError."""

    def tell(self, client: str, limits: ClientLimits, news: News) -> None:
        """Tell what became of requests, unless there is nothing to be counted."""


class RemoteLender:
    """Grants what the ledger behind `connection` permits.

    `ledger` counts what is granted here; `peers` returns by how many the limits are divided while the other
    can't be reached, or takes longer than `patience`, in seconds, to decide.
    """

    ahead = _AHEAD

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        peers: Callable[[], int],
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._peers = peers
        self._clock = clock
        self._patience = patience
        self._away_until = 0.0

    def ask(self, holder: object, client: str, needed: int, ahead: int) -> Grant | Awaitable[Grant]:
        """Ask for requests that are needed at once, and for some ahead of demand."""
        account = self._ledger.account(client)
        if account is None:
            return Grant(needed, self._clock())
        if self._clock() < self._away_until:
            return self._grant_share(account, holder, client, needed)
        return self._ask(account, holder, client, needed, ahead)

    def take_back(self, client: str, count: int, at: float) -> None:
        """Take back requests that were granted at a moment and not made."""
        if account := self._ledger.account(client):
            account.take_back(count, at)
            self._connection.tell(client, account.limits, News(at, unused=count))

    def release(self, holder: object, client: str, count: int) -> None:
        """Note that so many requests have ended."""
        if account := self._ledger.account(client):
            account.release(holder, count)
            self._connection.tell(client, account.limits, News(self._clock(), ended=count))

    def release_all(self, holder: object) -> None:
        """Note that all requests of a holder have ended."""
        for client, account in self._ledger:
            if held := account.held_by(holder):
                self.release(holder, client, held)

    def spend(self, client: str, tokens: int) -> None:
        """Count tokens that a response has reported."""
        if account := self._ledger.account(client):
            account.spend(tokens)
            self._connection.tell(client, account.limits, News(self._clock(), tokens=tokens))

    async def _ask(self, account: Account, holder: object, client: str, needed: int, ahead: int) -> Grant:
        try:
            grant = await self._lend(account, client, needed, ahead)
            if grant.limit == CONCURRENT:
                await asyncio.sleep(_RELEASED)
                grant = await self._lend(account, client, needed, ahead)
        except (LedgerAwayError, TimeoutError):
            self._away_until = self._clock() + _AWAY
            return self._grant_share(account, holder, client, needed)
        if grant.count:
            account.note(holder, grant.count, grant.at)
        elif grant.limit != CONCURRENT:
            account.closed = grant
        return grant

    async def _lend(self, account: Account, client: str, needed: int, ahead: int) -> Grant:
        asked = asyncio.ensure_future(self._connection.lend(client, account.limits, needed, ahead))
        done, _ = await asyncio.wait((asked,), timeout=self._patience)
        if done:
            return asked.result()
        asked.add_done_callback(lambda late: self._refuse_late(account, client, late))
        raise TimeoutError

    def _refuse_late(self, account: Account, client: str, late: "asyncio.Future[Grant]") -> None:
        """Give back what was granted after its request had been decided on without."""
        if not late.cancelled() and not late.exception() and (grant := late.result()).count:
            count = grant.count
            self._connection.tell(client, account.limits, News(grant.at, unused=count, ended=count))

    def _grant_share(self, account: Account, holder: object, client: str, needed: int) -> Grant:
        if account.closed and account.closed.opens > self._clock():
            return account.closed  # all is used, of which others have the most perhaps
        grant = account.grant(holder, needed, 0, 1 / max(1, self._peers()))
        if grant.count:
            news = News(grant.at, unused=-grant.count, ended=-grant.count)
            self._connection.tell(client, account.limits, news)
        return grant
