"""Decodes a chunked response body (RFC 9112 §7.1), by llhttp. Pure.

Extensions are ignored and trailer fields dropped; neither accumulates anywhere.
"""

from collections.abc import Callable

from httptools import HttpParserError, HttpResponseParser

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"  # what makes llhttp expect a chunked body
_MOST_OVERHEAD = 64 * 1024  # bytes without any of the body: trailers, or the extension of one chunk


class _Events:
    """What llhttp found in the bytes of one call."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self.pieces.append
        self.ended = False
        self.surplus = False

    def on_message_begin(self) -> None:
        if self.ended:
            raise ValueError("a second response")  # llhttp reads no more of it, and `feed` notes the surplus

    def on_message_complete(self) -> None:
        self.ended = True


class ChunkedBody:
    """The decoder of one body after the other, of one connection."""

    __slots__ = ("_events", "_overhead", "_parser", "fault")

    def __init__(self) -> None:
        self._events = _Events()
        self._parser = HttpResponseParser(self._events)
        self.begin()

    def begin(self) -> None:
        """Expect the first chunk of a body. The body before it has ended without surplus."""
        self._events.ended = False
        self._parser.feed_data(_HEAD)
        self._overhead = 0
        self.fault = ""  # why the body is malformed; then nothing more is to be fed

    @property
    def ended(self) -> bool:
        """Whether the body is complete, its trailers included."""
        return self._events.ended

    @property
    def surplus(self) -> bool:
        """Whether there was more after the body's end."""
        return self._events.surplus

    def feed(self, data: bytes | memoryview) -> bytes:
        """Decode the next bytes; return what they have of the body, all in one piece."""
        events = self._events
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if events.ended:
                events.surplus = True
            else:
                self.fault = str(error)
        pieces = events.pieces
        if not pieces:
            self._overhead += len(data)
            if self._overhead > _MOST_OVERHEAD:
                self.fault = "too many bytes without data"
            return b""
        self._overhead = 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body
