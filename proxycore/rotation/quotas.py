"""The quotas of one project for one model. Pure.

There may be as many as projects times models, so they are small: mostly each has a single quota.
"""

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any

from proxycore.rotation.call_log import CallLog
from proxycore.rotation.quota import Quota


class Quotas(Mapping[str, Quota]):
    """Quotas by Google's names for them; `each` has them all."""

    __slots__ = ("each",)

    def __init__(self) -> None:
        self.each: tuple[Quota, ...] = ()

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[str]:
        return (quota.name for quota in self.each)

    def __getitem__(self, name: str) -> Quota:
        for quota in self.each:
            if quota.name == name:
                return quota
        raise KeyError(name)

    def __setitem__(self, name: str, quota: Quota) -> None:
        quota.name = intern(name)  # every response brings a copy
        former = self.get(name)
        kept = tuple(quota if one is former else one for one in self.each)
        self.each = kept if former else (*kept, quota)

    def to_json(self) -> dict[str, Any]:
        """Return what peers are sent, as JSON."""
        return {quota.name: quota.to_json() for quota in self.each}

    @classmethod
    def from_json(cls, value: Mapping[str, object], now: float) -> "Quotas":
        """Return the quotas that a peer sent. Raises ValueError when one of them is none."""
        quotas = cls()
        for name, quota in value.items():
            quotas[str(name)] = Quota.from_json(quota, now)
        return quotas

    def follow(self, peers: "Quotas") -> None:
        """Take over what a peer knows of the quotas."""
        for name, quota in peers.items():
            if known := self.get(name):
                known.follow(quota)
            else:
                self[name] = quota

    def absorb(self, other: "Quotas") -> None:
        """Add the quotas of another project, which was found to be the same, unless they are known."""
        for name, quota in other.items():
            if name not in self:
                self[name] = quota

    def snapshot(self, log: CallLog, now: float) -> dict[str, Any]:
        """Return them as JSON for the status page (`Quota.snapshot`)."""
        return {quota.name: quota.snapshot(log, now) for quota in self.each}
