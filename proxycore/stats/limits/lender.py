"""What grants requests to the client limiter of a process."""

from collections.abc import Awaitable
from typing import Protocol

from proxycore.stats.limits.account import Grant
from proxycore.stats.limits.ledger import Ledger


class Lender(Protocol):
    """Grants requests, and is told what became of them. `holder` is the process that they are for."""

    ahead: float
    """Seconds for which grants may be kept, and refusals remembered; 0: every request is asked for."""

    def ask(self, holder: object, client: str, needed: int, ahead: int) -> Grant | Awaitable[Grant]:
        """Ask for requests that are needed at once, and for some ahead of demand."""

    def take_back(self, client: str, count: int, at: float) -> None:
        """Take back requests that were granted at a moment and not made."""

    def release(self, holder: object, client: str, count: int) -> None:
        """Note that so many requests have ended."""

    def release_all(self, holder: object) -> None:
        """Note that all requests of a holder have ended."""

    def spend(self, client: str, tokens: int) -> None:
        """Count tokens that a response has reported."""


class LedgerLender:
    """Grants what the ledger of this process permits."""

    ahead = 0.0

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def ask(self, holder: object, client: str, needed: int, ahead: int) -> Grant:
        """Grant requests, or refuse them."""
        account = self._ledger.account(client)
        # Its limits were removed by a reload that the holder has not heard of yet.
        return account.grant(holder, needed, ahead) if account else Grant(needed, 0.0)

    def take_back(self, client: str, count: int, at: float) -> None:
        """Take back requests that were granted at a moment and not made."""
        if account := self._ledger.account(client):
            account.take_back(count, at)

    def release(self, holder: object, client: str, count: int) -> None:
        """Note that so many requests have ended."""
        if account := self._ledger.account(client):
            account.release(holder, count)

    def release_all(self, holder: object) -> None:
        """Note that all requests of a holder have ended."""
        for _, account in self._ledger:
            account.release(holder, account.held_by(holder))

    def spend(self, client: str, tokens: int) -> None:
        """Count tokens that a response has reported."""
        if account := self._ledger.account(client):
            account.spend(tokens)
