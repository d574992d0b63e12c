"""The client's side of a response that is being relayed."""

import asyncio

from tornado.http1connection import HTTP1Connection

from proxycore.first_event import FirstEvent
from proxycore.handler import ProxyHandler
from proxycore.kept import DESCRIBES_BODY
from proxycore.opening import Opening
from proxycore.usage import TAIL


class Downstream:
    """Sends what the upstream sends, as it comes.

    The handler's status and header fields are set, or a `FirstEvent` commits them when it lets something go
    on. The first chunk mostly comes together with the head, so both go out together; if it does not, the head
    goes alone, at the event loop's next turn. A head that tells the body's length or coding waits for the
    first chunk, since an error there may still change (`opening`). `tail` is the end of what was sent so far.
    """

    def __init__(self, handler: ProxyHandler, opening: Opening | FirstEvent | None = None) -> None:
        connection = handler.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101 - Tornado serves no other HTTP
        self._handler = handler
        self._connection = connection
        self._headed = False
        self._opening = opening  # until nothing can change any more
        self.tail = b""
        if not isinstance(opening, FirstEvent) and (opening is None or not handler.describes(DESCRIBES_BODY)):
            asyncio.get_running_loop().call_soon(self._send_head)

    def send(self, chunk: bytes) -> "asyncio.Future[None] | None":
        """Sends a chunk; the future, if there is one, is done when more can be taken."""
        if self._opening is not None:
            chunk = self._opened(self._opening, chunk)
            if not chunk:
                return None
        return self._pass_on(chunk)

    def end(self) -> None:
        """Sends what is still held back, and the head if it has not gone yet: the body is whole."""
        if self._opening and (rest := self._opening.end()):
            self._look_at(self._opening)
            self._pass_on(rest)
        self._send_head()

    def _opened(self, opening: Opening | FirstEvent, chunk: bytes) -> bytes:
        chunk = opening.feed(chunk)
        if opening.decided:
            self._look_at(opening)
            if not opening.changed:
                self._opening = None
        return chunk

    def _look_at(self, opening: Opening | FirstEvent) -> None:
        if opening.changed and not self._headed:
            self._handler.forget(DESCRIBES_BODY)

    def _send_head(self) -> None:
        if not self._headed:
            self._pass_on(b"")

    def _pass_on(self, chunk: bytes) -> "asyncio.Future[None] | None":
        if self._handler.state.over:
            return None  # cut a moment ago; the attempt will hear of it
        self._handler.record.sent_bytes += len(chunk)
        self.tail = (self.tail + chunk)[-TAIL:] if len(chunk) < TAIL else chunk[-TAIL:]
        if self._headed:
            return self._connection.write(chunk)
        self._headed = True
        self._handler.write(chunk)
        if chunk and self._handler.content_length == str(len(chunk)):
            return None  # the whole answer, which goes out in one piece when it is finished
        self._connection.stream.set_nodelay(True)
        return self._handler.flush()

    @property
    def gone(self) -> bool:
        """Whether the client has left; Tornado may say so a moment later."""
        return self._connection.stream.closed()
