"""A request's body that is held, so that it can be sent again with another key. Pure, but for futures.

There is one copy of it, from the first byte that the client sends to the last that libcurl takes. What it
takes is accounted for in the budget of all held bodies (`body_budget`), until it is of no more use.
"""

import asyncio
from collections.abc import Callable

from proxycore.body_budget import Share


class HeldBody:
    """A body, as far as it has come."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._data = bytearray()
        self._unread = 0  # bytes that the current attempt has not taken yet
        self._spent = False

    def __len__(self) -> int:
        return len(self._data)

    @property
    def data(self) -> bytearray:
        """The bytes, to be read."""
        return self._data

    def expect(self, size: int) -> "asyncio.Future[bool] | None":
        """The body will have so many bytes; a future as that of `add`."""
        return self._share.reserve(size)

    def add(self, chunk: bytes) -> "asyncio.Future[bool] | None":
        """The next piece; a future when the budget has no room for it yet, as `Share.reserve` returns it."""
        self._data += chunk
        return self._share.reserve(len(self._data))

    def reader(self) -> Callable[[int], bytes]:
        """What an attempt reads the body with, from its beginning; empty at its end."""
        data, position = self._data, 0
        self._unread = len(data)

        def read(size: int) -> bytes:
            nonlocal data, position
            with memoryview(data) as view:
                piece = bytes(view[position : position + size])
            position += len(piece)
            self._unread = len(data) - position
            if self._spent and not self._unread:
                data = bytearray()
                self.drop()
            return piece

        return read

    def spend(self) -> None:
        """There will be no other attempt: it is let go as soon as the current one has taken it."""
        self._spent = True
        if not self._unread:
            self.drop()

    def drop(self) -> None:
        """It is of no more use."""
        self._data = bytearray()
        self._share.release()
