"""A request's body that passes through to the upstream without being held. Pure, but for futures.

The client's side puts chunks in, one at a time, and waits until each is taken; libcurl takes them when it
can send. So a slow upstream slows the client, and what is held is one chunk.
"""

import asyncio
from collections.abc import Callable


class Feed:
    """A body on its way; `length` is its size in bytes, None when only its end will tell."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.starved = False  # whether libcurl waits for the client
        self._chunk = memoryview(b"")
        self._ended = False
        self._dropped = False
        self._taken: asyncio.Future[None] | None = None
        self._more: Callable[[], None] | None = None

    @property
    def clogged(self) -> bool:
        """Whether the client's side waits for the upstream."""
        return self._taken is not None

    async def put(self, chunk: bytes) -> None:
        """Passes the next chunk on; returns when it was taken, or is of no use any more."""
        if self._dropped or not chunk:
            return
        self._chunk = memoryview(chunk)
        self._taken = asyncio.get_running_loop().create_future()
        self._tell()
        try:
            await self._taken
        finally:
            self._taken = None

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._tell()

    def drop(self) -> None:
        """Nobody takes chunks any more; those that still come are let go."""
        self._dropped = True
        self._more = None
        self._release()

    def connect(self, more: Callable[[], None]) -> None:
        """`more` is called when there is something to take after `take` had nothing."""
        self._more = more

    def take(self, size: int) -> bytes | None:
        """At most `size` bytes, empty at the body's end, None when there is nothing yet."""
        if not self._chunk and not self._ended:
            self.starved = True
            return None
        piece, self._chunk = bytes(self._chunk[:size]), self._chunk[size:]
        if not self._chunk:
            self._release()
        return piece

    def _tell(self) -> None:
        if self.starved and self._more:
            self.starved = False
            self._more()

    def _release(self) -> None:
        self._chunk = memoryview(b"")
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
