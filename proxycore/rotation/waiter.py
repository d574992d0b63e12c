"""A request that waits for a key, and the call that is reserved for it. Times are the clock's moments."""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from proxycore.rotation.calls import Call
from proxycore.rotation.key import Key


@dataclass(order=True, frozen=True, slots=True)
class Reservation:
    """A call that is reserved on a key for a moment."""

    at: float
    key: Key = field(compare=False)


@dataclass(order=True, slots=True)
class Waiter:
    """A request in a queue: earlier arrivals come first, however often they return to it.

    It may use the keys that are not in `avoid`, or that in `only`; `spends` is whether it spends their quota,
    `tokens` are those of its prompt, and `counts_tokens` is whether some project has a quota of them.
    `turn` is resolved with its call, or with None if there is none for it before the `deadline`.
    """

    arrival: int
    avoid: AbstractSet[Key] = field(compare=False)
    only: Key | None = field(compare=False)
    spends: bool = field(compare=False)
    tokens: int = field(compare=False)
    deadline: float = field(compare=False)
    turn: "asyncio.Future[Call | None]" = field(compare=False)
    counts_tokens: bool = field(default=False, compare=False)
    reservation: Reservation | None = field(default=None, compare=False)

    @property
    def is_restricted(self) -> bool:
        """Whether it cannot exchange its reservation with others, since it cannot use every key alike."""
        return bool(self.only or self.avoid or self.counts_tokens or not self.spends)
