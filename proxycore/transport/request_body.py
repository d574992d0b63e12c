"""A request's body that is streamed to the upstream instead of being held. Pure, except for futures.

The client's side puts one chunk at a time and waits until it is read; the connection reads when it can send.
So a slow upstream slows the client down, and at most one chunk is in memory.
"""

import asyncio
from collections.abc import Callable


class RequestBodyStream:
    """A body that is still arriving; `length` is its size in bytes, None when it is not announced."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.starved = False  # whether the connection waits for the client
        self._chunk = memoryview(b"")
        self._ended = False
        self._dropped = False
        self._consumed: asyncio.Future[None] | None = None
        self._readable: Callable[[], None] | None = None

    @property
    def blocked(self) -> bool:
        """Whether the client's side waits for the upstream."""
        return self._consumed is not None

    async def put(self, chunk: bytes) -> None:
        """Add the next chunk; return once it was read, or will never be."""
        if self._dropped or not chunk:
            return
        self._chunk = memoryview(chunk)
        self._consumed = asyncio.get_running_loop().create_future()
        self._notify()
        try:
            await self._consumed
        finally:
            self._consumed = None

    def end(self) -> None:
        """Mark the body as complete."""
        self._ended = True
        self._notify()

    def drop(self) -> None:
        """Discard the current chunk and all later ones: the body will not be read any more."""
        self._dropped = True
        self._readable = None
        self._release()

    def on_readable(self, callback: Callable[[], None]) -> None:
        """Set the callback for data that arrives, or the body's end, after `read` returned None."""
        self._readable = callback

    def read(self, size: int) -> bytes | None:
        """Read at most `size` bytes; empty at the body's end, None if there is no data yet."""
        if not self._chunk and not self._ended:
            self.starved = True
            return None
        piece, self._chunk = bytes(self._chunk[:size]), self._chunk[size:]
        if not self._chunk:
            self._release()
        return piece

    def _notify(self) -> None:
        if self.starved and self._readable:
            self.starved = False
            self._readable()

    def _release(self) -> None:
        self._chunk = memoryview(b"")
        if self._consumed is not None and not self._consumed.done():
            self._consumed.set_result(None)
