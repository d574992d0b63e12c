"""Finds the end of a request's body (RFC 9112 §6, §7): what follows it is the next request."""

from httptools import HttpParserError, HttpRequestParser

from proxycore.transport.request_head import CANONICAL_LINE, RequestHead

_END = b"\r\n\r\n"  # of a chunked body, and of nothing else in its framing
_SIZE_LINE = 32  # bytes around each chunk that count as nothing: 16 digits and four line ends are 24
_MOST_OVERHEAD = 8 * 1024  # bytes of extensions and trailers that a body may have (RFC 9112 §7.1.1)


class MalformedBodyError(Exception):
    """A body that is not validly chunked, or whose framing is too large."""


class LengthBody:
    """A body of `left` bytes."""

    __slots__ = ("complete", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.complete = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Add bytes; return the content in them, and what follows the body."""
        left = self.left
        if len(data) < left:
            self.left = left - len(data)
            return data, b""
        self.left, self.complete = 0, True
        return data[:left], data[left:]


class ChunkedBody:
    """A chunked body. Extensions and trailer fields are checked and dropped.

    llhttp is never given more than a blank line's end at once: what follows the body is not its business.
    """

    __slots__ = ("_overhead", "_parser", "_pieces", "_tail", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._parser = HttpRequestParser(self)
        self._pieces: list[bytes] = []
        self._tail = b""  # the last three bytes, which a blank line may begin with
        self._parser.feed_data(CANONICAL_LINE + b"Transfer-Encoding: chunked\r\n\r\n")
        self._overhead = 0  # bytes that are neither content nor the line before it

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Add bytes; return the content in them, and what follows the body. Raises MalformedBodyError."""
        position, end = 0, self._end_across(data)
        with memoryview(data) as view:
            while not self.complete and position < len(data):
                if end < 0:
                    found = data.find(_END, position)
                    end = found + len(_END) if found >= 0 else len(data)
                self._parse(view[position:end])
                position, end = end, -1
        self._tail = (self._tail + data[-3:])[-3:]
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces), data[position:]

    def _end_across(self, data: bytes) -> int:
        """Where in `data` a blank line ends that began before it, -1 if none does."""
        found = (self._tail + data[:3]).find(_END)
        return found + len(_END) - len(self._tail) if found >= 0 else -1

    def _parse(self, data: memoryview) -> None:
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise MalformedBodyError from error
        if self._overhead > _MOST_OVERHEAD:
            raise MalformedBodyError

    def on_body(self, content: bytes) -> None:
        """Called by llhttp with content, as far as it has come."""
        self._pieces.append(content)
        self._overhead -= len(content)

    def on_chunk_complete(self) -> None:
        """Called by llhttp behind a chunk."""
        self._overhead -= _SIZE_LINE

    def on_message_complete(self) -> None:
        """Called by llhttp at the body's end."""
        self.complete = True

    def on_message_begin(self) -> None:
        """Called by llhttp at the beginning of a request. Raises MalformedBodyError behind the body's end."""
        if self.complete:
            raise MalformedBodyError


def body_of(head: RequestHead) -> LengthBody | ChunkedBody:
    """A reader for the body that this head announces."""
    return ChunkedBody() if head.length is None else LengthBody(head.length)
