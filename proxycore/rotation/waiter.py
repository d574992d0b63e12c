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


@dataclass(eq=False, slots=True)
class Waiter:
    """A request in a queue. Of one client, earlier arrivals come first, however often they return to it.

    It may use the keys that are not in `avoid`, or that in `only`; `spends` is whether it spends their quota.
    `tokens` are those of its prompt, and `counts_tokens` is whether some project has a quota of them.
    `turn` is resolved with its call, or with None if there is none for it before the `deadline`. `start` is
    its virtual start time, see `FairOrder`. Only a restricted waiter has a reservation of its own.
    """

    client: str
    arrival: int
    avoid: AbstractSet[Key]
    only: Key | None
    spends: bool
    tokens: int
    counts_tokens: bool
    deadline: float
    turn: "asyncio.Future[Call | None]"
    start: float = 0.0
    reservation: Reservation | None = None
    is_restricted: bool = field(init=False)
    """Whether it cannot exchange its reservation with others, since it cannot use every key alike."""

    def __post_init__(self) -> None:
        self.is_restricted = bool(self.only or self.avoid or self.counts_tokens or not self.spends)

    def may_use(self, key: Key) -> bool:
        """Return whether it can use this key."""
        return key not in self.avoid and self.only in (None, key)
