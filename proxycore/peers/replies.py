"""Replies that a process waits for, each by the number of what it asked."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Replies(Generic[T]):
    """The replies of a peer. Belongs to the running event loop."""

    def __init__(self) -> None:
        self._expected: dict[int, asyncio.Future[T | None]] = {}
        self._number = 0

    def expect(self) -> "tuple[int, asyncio.Future[T | None]]":
        """Return a new number, and its reply; None if there will be none."""
        self._number += 1
        reply: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._expected[self._number] = reply
        return self._number, reply

    def receive(self, number: int, reply: T) -> None:
        """Give the reply to whoever waits for it."""
        expected = self._expected.pop(number, None)
        if expected and not expected.done():  # who asked may have stopped waiting
            expected.set_result(reply)

    def end(self) -> None:
        """There will be no more replies."""
        for expected in self._expected.values():
            if not expected.done():
                expected.set_result(None)
        self._expected.clear()
