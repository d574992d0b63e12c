"""A client's messages until its Live session has begun, kept so that they can be sent to another key.

    keeping    every message is kept and sent to the upstream session that is being set up
    over       the session has begun: what was kept is sent to it, and later messages are not kept

While it is full, the client's side waits before it puts in another message: that bounds the memory.
"""

import asyncio

from websockets.asyncio.client import ClientConnection

Message = str | bytes
"""A WebSocket message: text, or binary data."""

BUFFERED_BYTES = 1024 * 1024
"""Bytes of messages that are kept before the next one has to wait; one message is kept whatever its size."""


class Replay:
    """The messages, in order.

    `begun` is done with the first message, `filled` when the limit is reached, `ended` when it is over.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[Message] = loop.create_future()
        self.filled: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._messages: list[Message] = []
        self._size = 0
        self._changed = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether messages are no longer kept."""
        return self.ended.done()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.filled.done()

    def put(self, message: Message) -> None:
        """Keep one more message."""
        self._messages.append(message)
        self._size += len(message)
        if not self.begun.done():
            self.begun.set_result(message)
        if self._size >= BUFFERED_BYTES and not self.filled.done():
            self.filled.set_result(None)
        self._changed.set()

    def end(self) -> None:
        """Keep no more messages."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._changed.set()

    async def send_to(self, connection: ClientConnection) -> None:
        """Send all messages, and those that follow until it is over.

        Raises ConnectionClosed when the connection closes.
        """
        sent = 0
        while True:
            while sent < len(self._messages):
                await connection.send(self._messages[sent])
                sent += 1
            if self.over:
                self._messages.clear()
                return
            self._changed.clear()
            await self._changed.wait()
