"""The memory budget of all held request bodies together. Pure, except for futures.

    reserve            there is room                       the share grows at once
                       there is none                       the share waits, in order of arrival
    release            the body is no longer needed        waiting shares are served

Small bodies do not wait behind large ones: they have a queue and some room of their own. A waiting share
keeps the room that it has. So if all room in use belongs to waiting shares, the one that arrived last is
refused and the others continue: no share waits for ever.
"""

import asyncio
import itertools
from bisect import insort
from dataclasses import dataclass, field

MEGABYTE = 1024 * 1024
"""Bytes of a megabyte, as settings and messages count."""

SMALL = 64 * 1024
"""Bytes up to which a body is small."""

_LEAST_SPARE, _SPARE = MEGABYTE, 1 / 16  # bytes, and a fraction of the limit: room for small bodies only


class BodyBudget:
    """Room for `limit` bytes, and some more for small bodies. `held` is how many bytes are in use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._small: list[_Waiter] = []  # in order of arrival
        self._large: list[_Waiter] = []  # the same
        self._active = 0  # shares that hold something and do not wait, so that they will release it
        self._arrivals = itertools.count()

    def resize(self, limit: int) -> None:
        """Change the limit. What is held above a lower one stays until it is released."""
        self.limit = limit
        self._serve()

    @property
    def waiting(self) -> int:
        """How many shares wait for room."""
        return len(self._small) + len(self._large)

    def share(self) -> "Share":
        """A share for a body that begins to arrive."""
        return Share(self, next(self._arrivals))

    def _grow(self, share: "Share", size: int) -> "asyncio.Future[bool] | None":
        if self._fits(share, size):
            self._grant(share, size)
            return None
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if size > self.limit:
            future.set_result(False)
            return future
        waiter = _Waiter(share.arrival, share, size, future)
        insort(self._small if size <= SMALL else self._large, waiter)
        self._active -= share.size > 0
        share.waiter = waiter
        self._serve()
        return future

    def _fits(self, share: "Share", size: int) -> bool:
        after = self.held + size - share.size
        if size <= SMALL:
            return after <= self.limit + max(_LEAST_SPARE, int(self.limit * _SPARE))
        first = not self._large or share.arrival <= self._large[0].arrival
        return first and after <= self.limit

    def _grant(self, share: "Share", size: int) -> None:
        self._active += share.size == 0 < size
        self.held += size - share.size
        share.size = size

    def _release(self, share: "Share") -> None:
        if share.waiter is not None:
            self._resolve(share.waiter, granted=False)
        self._active -= share.size > 0
        self.held -= share.size
        share.size = 0
        self._serve()

    def _serve(self) -> None:
        for queue in (self._large, self._small):
            while queue and self._fits(queue[0].share, queue[0].size):
                self._resolve(queue[0], granted=True)
        if not self._active:
            holding = [waiter for waiter in (*self._large, *self._small) if waiter.share.size]
            if holding:
                self._resolve(max(holding), granted=False)

    def _resolve(self, waiter: "_Waiter", *, granted: bool) -> None:
        (self._small if waiter.size <= SMALL else self._large).remove(waiter)
        share = waiter.share
        share.waiter = None
        self._active += share.size > 0
        if granted:
            self._grant(share, waiter.size)
        if not waiter.future.done():
            waiter.future.set_result(granted)


class Share:
    """The part of the budget that one body uses: `size` bytes."""

    __slots__ = ("_budget", "arrival", "size", "waiter")

    def __init__(self, budget: BodyBudget, arrival: int) -> None:
        self._budget = budget
        self.arrival = arrival
        self.size = 0
        self.waiter: _Waiter | None = None

    def reserve(self, size: int) -> "asyncio.Future[bool] | None":
        """Grow the share to at least `size` bytes in all. None when there was room at once.

        Otherwise a future: True once there is room; False if there will be none, so that the body has to be
        refused and its share released.
        """
        return self._budget._grow(self, size) if size > self.size else None

    def release(self) -> None:
        """Return all of it to the budget. Does nothing the second time."""
        if self.size or self.waiter:
            self._budget._release(self)


@dataclass(order=True, slots=True)
class _Waiter:
    """A share that waits until it may have `size` bytes."""

    arrival: int
    share: Share = field(compare=False)
    size: int = field(compare=False)
    future: "asyncio.Future[bool]" = field(compare=False)
