"""The client's side of an answer that is being relayed."""

import asyncio

from tornado.http1connection import HTTP1Connection

from proxycore.handler import ProxyHandler
from proxycore.usage import TAIL


class Downstream:
    """Sends what the upstream sends, as it comes. The handler's status and header fields are set.

    The first chunk mostly comes together with the head, so both go out together; if it does not, the head
    goes alone, at the event loop's next turn. `tail` is the end of what was sent so far.
    """

    def __init__(self, handler: ProxyHandler) -> None:
        connection = handler.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101 - Tornado serves no other HTTP
        self._handler = handler
        self._connection = connection
        self._length = handler.content_length
        self._headed = False
        self.tail = b""
        asyncio.get_running_loop().call_soon(self.send_head)

    def send_head(self) -> None:
        """Sends the head, if it has not gone yet."""
        if not self._headed:
            self.send(b"")

    def send(self, chunk: bytes) -> "asyncio.Future[None] | None":
        """Sends a chunk; the future, if there is one, is done when more can be taken."""
        if self._handler.finished:
            return None  # cut a moment ago; the attempt will hear of it
        self._handler.record.sent_bytes += len(chunk)
        self.tail = (self.tail + chunk)[-TAIL:] if len(chunk) < TAIL else chunk[-TAIL:]
        if self._headed:
            return self._connection.write(chunk)
        self._headed = True
        self._handler.write(chunk)
        if chunk and self._length == str(len(chunk)):
            return None  # the whole answer, which goes out in one piece when it is finished
        self._connection.stream.set_nodelay(True)
        return self._handler.flush()

    @property
    def gone(self) -> bool:
        """Whether the client has left; Tornado may say so a moment later."""
        return self._connection.stream.closed()
