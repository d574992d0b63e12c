"""The ledger: the accounts of all clients, and the limits that the settings give them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxycore.clock import Clock
from proxycore.stats.limits.account import Account, Facts
from proxycore.stats.limits.client_limits import ClientLimits

_MOST_ACCOUNTS = 10_000  # with an open proxy, every address has one


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The limits of the clients that have their own, by name, and those of all others; None: no limits."""

    named: Mapping[str, ClientLimits] = field(default_factory=dict)
    default: ClientLimits | None = None

    def __bool__(self) -> bool:
        return bool(self.named) or self.default is not None

    def of(self, client: str) -> ClientLimits | None:
        """The limits of a client, None if it has none."""
        return self.named.get(client, self.default)


class Ledger:
    """The accounts of clients under `rules`."""

    def __init__(self, rules: LimitRules, clock: Clock) -> None:
        self.rules = rules
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._written: dict[str, Facts] = {}  # by client, until it has an account
        self._changed: set[str] = set()

    def change(self, rules: LimitRules) -> None:
        """Apply new limits; what is counted stays."""
        self.rules = rules
        for client, account in list(self._accounts.items()):
            limits = rules.of(client)
            if limits is None or not limits.counts:
                del self._accounts[client]
            else:
                account.change(limits)

    def account(self, client: str) -> Account | None:
        """The account of a client, to grant from; None if it has no limits."""
        account = self._accounts.get(client)
        if account is None:
            limits = self.rules.of(client)
            if limits is None or not limits.counts:
                return None
            account = self._open(client, limits)
        self._changed.add(client)
        return account

    def used(self, client: str) -> dict[str, int]:
        """What a client has used of each rate, by its topic."""
        account = self._accounts.get(client) or (self.account(client) if client in self._written else None)
        return account.used() if account else {}

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        """All accounts with their clients."""
        return iter(self._accounts.items())

    def update_day_ends(self) -> None:
        """Recompute the ends of days by the wall clock as it is set now."""
        for account in self._accounts.values():
            account.update_day_ends()

    # What outlives a restart.

    def changes(self) -> list[tuple[str, Facts]]:
        """The clients whose accounts have changed since the last call, and what is counted."""
        changed, self._changed = self._changed, set()
        return [(client, account.facts()) for client, account in self if client in changed]

    def restore(self, client: str, counts: Sequence[Any], moments: Sequence[float]) -> None:
        """Count what was written down of a client, unless more has been counted since.

        Raises TypeError or ValueError when it is malformed.
        """
        facts: Facts = [(str(topic), [int(n) for n in numbers]) for topic, numbers in counts], list(moments)
        if sum(len(numbers) for _, numbers in facts[0]) != len(facts[1]):
            raise ValueError("not as many counts as moments")
        if account := self._accounts.get(client):
            account.restore(*facts)
        elif len(self._written) < _MOST_ACCOUNTS or client in self._written:
            self._written[client] = facts

    def _open(self, client: str, limits: ClientLimits) -> Account:
        if len(self._accounts) >= _MOST_ACCOUNTS:
            self._sweep()
        account = self._accounts[client] = Account(limits, self._clock)
        if facts := self._written.pop(client, None):
            account.restore(*facts)
        return account

    def _sweep(self) -> None:
        """Close the accounts with nothing in them, or a tenth of them, the oldest first."""
        idle = [client for client, account in self if account.idle]
        for client in idle or list(self._accounts)[: _MOST_ACCOUNTS // 10]:
            del self._accounts[client]
