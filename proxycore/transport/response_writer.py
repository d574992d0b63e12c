"""Writes a relayed response to the client."""

import asyncio

from proxycore.gemini.first_event import FirstEvent
from proxycore.gemini.response_opening import ResponseOpening
from proxycore.gemini.usage_reader import UsageReader
from proxycore.http.base_handler import BaseHandler
from proxycore.transport.buffered_response import DESCRIBES_BODY
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.server_request import ServerRequest


class ResponseWriter:
    """Sends chunks to the client as they arrive from the upstream.

    The handler's head is set from `head` already, or a `FirstEvent` sets it before it passes anything on. The
    first chunk mostly arrives together with the head, so both are written together; if it
    does not, the head is written alone, at the event loop's next turn. A head that states the body's length
    or coding waits for the first chunk, since redaction may still change both (`opening`). `usage` gets the
    chunks as they were received, each after it was sent.
    """

    def __init__(
        self,
        handler: BaseHandler,
        head: ResponseHead,
        opening: ResponseOpening | FirstEvent | None = None,
        usage: UsageReader | None = None,
    ) -> None:
        connection = handler.request.connection
        assert isinstance(connection, ServerRequest)  # noqa: S101 - nothing else serves
        self._handler = handler
        self._connection = connection
        self._lengths = head.values.get("content-length", [])
        self._head_sent = False
        self._opening = opening  # until nothing can change any more
        self._usage = usage
        if not isinstance(opening, FirstEvent) and (
            opening is None or DESCRIBES_BODY.isdisjoint(head.values)
        ):
            asyncio.get_running_loop().call_soon(self._send_head)

    def send(self, chunk: bytes) -> "asyncio.Future[None] | None":
        """Send a chunk. Returns a future if the client has to catch up first; it is done when it has."""
        passed = chunk if self._opening is None else self._through_opening(self._opening, chunk)
        behind = self._write(passed) if passed else None
        if self._usage is not None:
            self._usage.add(chunk)
        return behind

    def end(self) -> bool:
        """Send what is still held back, and the head if it was not sent yet: the body is complete.

        Returns whether the client is still connected; Tornado may report that it is not a moment later.
        """
        if self._opening and (rest := self._opening.end()):
            self._check_changed(self._opening)
            self._write(rest)
        self._send_head()
        return not self._connection.closed

    def _through_opening(self, opening: ResponseOpening | FirstEvent, chunk: bytes) -> bytes:
        chunk = opening.feed(chunk)
        if opening.decided:
            self._check_changed(opening)
            if not opening.changed:
                self._opening = None
        return chunk

    def _check_changed(self, opening: ResponseOpening | FirstEvent) -> None:
        if opening.changed and not self._head_sent:
            self._handler.remove_fields(DESCRIBES_BODY)
            self._lengths = []

    def _send_head(self) -> None:
        if not self._head_sent:
            self._write(b"")

    def _write(self, chunk: bytes) -> "asyncio.Future[None] | None":
        if self._handler.state.over:
            return None  # aborted a moment ago; the attempt will be ended
        self._handler.record.sent_bytes += len(chunk)
        if self._head_sent:
            return self._connection.send(chunk)
        self._head_sent = True
        self._handler.write(chunk)
        if chunk and self._lengths == [str(len(chunk))]:
            return None  # the whole response, which is written in one piece when it is finished
        flushed = self._handler.flush()
        return None if flushed.done() else flushed
