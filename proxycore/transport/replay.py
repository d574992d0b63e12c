"""Buffers a client's messages until its Live session has begun, so that they can be sent to another key.

    buffering    every message is stored, and sent to the upstream session that is being set up
    over         the session has begun: the stored messages are sent to it, and later ones are not stored

While it is full, the client's side waits before it adds another message: that bounds the memory.
"""

import asyncio

from websockets.asyncio.client import ClientConnection

Message = str | bytes
"""A WebSocket message: text, or binary data."""

BUFFERED_BYTES = 1024 * 1024
"""Bytes of messages that are stored before the next one has to wait; one message may have any size."""


class Replay:
    """The messages, in order.

    `begun` is done with the first message, `filled` once the limit is reached, `ended` once it is over.
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
        """Whether messages are no longer stored."""
        return self.ended.done()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.filled.done()

    def put(self, message: Message) -> None:
        """Store one more message."""
        self._messages.append(message)
        self._size += len(message)
        if not self.begun.done():
            self.begun.set_result(message)
        if self._size >= BUFFERED_BYTES and not self.filled.done():
            self.filled.set_result(None)
        self._changed.set()

    def end(self) -> None:
        """Store no more messages."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._changed.set()

    async def send_to(self, connection: ClientConnection) -> None:
        """Send all messages in order, including later ones, until it is over.

        Raises ConnectionClosed if the connection closes.
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
