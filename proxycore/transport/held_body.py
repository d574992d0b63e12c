"""A request's body that is held in memory, so that it can be sent again. Pure, except for futures.

There is one copy of it, from the first byte that the client sends to the last that is sent. Its memory
counts against the budget of all held bodies (`body_budget`) until it is dropped.
"""

import asyncio
from collections.abc import Callable

from proxycore.transport.body_budget import BodyBudget


class HeldBody:
    """A body, as far as it has arrived: `data`, which is not to be changed by others."""

    def __init__(self, budget: BodyBudget) -> None:
        self.data = bytearray()
        self._share = budget.share()
        self._unread = 0  # bytes that the current attempt has not read yet
        self._is_last = False  # whether the current attempt is the last one

    def __len__(self) -> int:
        return len(self.data)

    def expect(self, size: int) -> "asyncio.Future[bool] | None":
        """Reserve room for a body of so many bytes; returns a future as `add` does."""
        return self._share.reserve(size)

    def add(self, chunk: bytes) -> "asyncio.Future[bool] | None":
        """Append the next chunk. Returns a future when the budget has no room yet (`Share.reserve`)."""
        self.data += chunk
        return self._share.reserve(len(self.data))

    def reader(self) -> Callable[[int], bytes]:
        """Return a function that reads up to so many bytes at each call; empty at the body's end."""
        data, position = self.data, 0
        self._unread = len(data)

        def read(size: int) -> bytes:
            nonlocal data, position
            with memoryview(data) as view:
                piece = bytes(view[position : position + size])
            position += len(piece)
            self._unread = len(data) - position
            if self._is_last and not self._unread:
                data = bytearray()
                self.drop()
            return piece

        return read

    def drop_when_read(self) -> None:
        """Drop the body as soon as the current attempt has read it: there will be no other attempt."""
        self._is_last = True
        if not self._unread:
            self.drop()

    def drop(self) -> None:
        """Free the body's memory."""
        self.data = bytearray()
        self._share.release()
