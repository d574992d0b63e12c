"""Keeps the end of a response while it is relayed, decoded, to read the token usage in it. Pure.

A compressed response is decoded beside the one that is relayed, within bounds: so many bytes, and so many for
each byte received, that a response made to be expanded costs little.
"""

from collections.abc import Sequence

from proxycore.gemini.token_usage import TAIL, TokenUsage, usage_in
from proxycore.http.coding import StreamDecoder

_COLLECTED = 16 * 1024  # compressed bytes that are decoded at once: most streams need no decoder before
_MOST_DECODED = 8 * 1024 * 1024  # bytes of a response: at 250 MB/s, decoding them takes 30 ms
_MOST_RATIO = 100  # decoded bytes for each byte received, beyond the first `_ANY_RATIO`: text has 3 to 30
_ANY_RATIO = 256 * 1024


class UsageReader:
    """Reads the usage of one response with these values of `Content-Encoding`."""

    __slots__ = ("_collected", "_decoded", "_decoder", "_received", "_tail", "_unreadable")

    def __init__(self, encodings: Sequence[str]) -> None:
        self._decoder = StreamDecoder(encodings) if encodings else None
        self._collected = bytearray()  # compressed
        self._received = 0  # bytes that the decoder got
        self._decoded = 0  # bytes that it gave
        self._unreadable = False
        self._tail = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add the next chunk of the body, as it was received."""
        if self._decoder is None:
            self._keep(chunk)
        elif not self._unreadable:
            self._collected += chunk
            if len(self._collected) >= _COLLECTED:
                self._decode(self._decoder)

    def usage(self) -> TokenUsage | None:
        """Return the usage that the response has reported so far; None if that can't be read."""
        decoder = self._decoder
        if decoder and self._collected:
            self._decode(decoder)
        if self._unreadable:
            return None
        usage = usage_in(bytes(self._tail[-TAIL:]))
        if usage == _NOTHING and decoder and self._received and not decoder.is_complete:
            return None
        return usage

    def _decode(self, decoder: StreamDecoder) -> None:
        chunk, self._collected = bytes(self._collected), bytearray()
        self._received += len(chunk)
        most = min(_MOST_DECODED, max(_ANY_RATIO, _MOST_RATIO * self._received))
        for piece in decoder.decode(chunk):
            self._keep(piece)
            self._decoded += len(piece)
            if self._decoded > most:
                self._unreadable = True
                break
        if self._unreadable or decoder.is_unreadable:
            self._unreadable, self._tail = True, bytearray()

    def _keep(self, text: bytes) -> None:
        tail = self._tail
        tail += text if len(text) < TAIL else text[-TAIL:]
        if len(tail) > 2 * TAIL:
            del tail[:-TAIL]


_NOTHING = TokenUsage()
