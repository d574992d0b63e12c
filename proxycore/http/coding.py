"""Content codings (RFC 9110 §8.4.1): decompressing bodies that the proxy has to read.

Those are errors and descriptions of resources. A response is forwarded as it was compressed.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli

LARGEST = 256 * 1024
"""Bytes that a decoded body may have; a larger one is unreadable. Google's errors have a few thousand."""

_PIECE = 64 * 1024  # bytes that are decompressed at once


def decode(body: bytes, encodings: Iterable[str]) -> bytes | None:
    """The body without its content codings, or None if it is unreadable.

    `encodings` are the values of the `Content-Encoding` fields in order. A body is unreadable if a
    coding is unknown, if the data is damaged or truncated, and if it has more than `LARGEST` bytes then.
    """
    if not body:
        return body  # of a response to a HEAD request, say
    codings = [name.strip().lower() for value in encodings for name in value.split(",")]
    plain: bytes | None = body
    for name in reversed(codings):
        if plain is None or name in ("", "identity"):
            continue
        try:
            plain = _DECODERS[name](plain)
        except (KeyError, zlib.error, brotli.error):
            plain = None
    return plain


def _inflate(body: bytes, window: int) -> bytes | None:
    inflater = zlib.decompressobj(window)
    plain = inflater.decompress(body, LARGEST)
    return plain if inflater.eof and not inflater.unused_data else None


def _deflate(body: bytes) -> bytes | None:
    # "deflate" means the zlib format, but some servers send a raw deflate stream (RFC 9110 §8.4.1.2).
    try:
        return _inflate(body, zlib.MAX_WBITS)
    except zlib.error:
        return _inflate(body, -zlib.MAX_WBITS)


def _brotli(body: bytes) -> bytes | None:
    decompressor = brotli.Decompressor()
    plain: bytes = decompressor.process(body, output_buffer_limit=LARGEST)
    return plain if decompressor.is_finished() else None


def _gzip(body: bytes) -> bytes | None:
    return _inflate(body, 16 + zlib.MAX_WBITS)


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli}


class StreamDecoder:
    """Decompresses a body as it arrives, in pieces of at most `_PIECE` bytes.

    From where it is unreadable (an unknown coding, damaged data), it counts as empty.
    """

    def __init__(self, encodings: Iterable[str]) -> None:
        codings = [name.strip().lower() for value in encodings for name in value.split(",")]
        codings = [name for name in codings if name not in ("", "identity")]
        self._plain = not codings
        self._unfold = _PIECEWISE[codings[0]]() if len(codings) == 1 and codings[0] in _PIECEWISE else None

    @property
    def lost(self) -> bool:
        """Whether the body is unreadable from here on."""
        return self._unfold is None and not self._plain

    def unfold(self, chunk: bytes) -> Iterator[bytes]:
        """The next chunk of the body, decompressed."""
        if self._plain:
            yield chunk
        elif self._unfold is not None:
            try:
                yield from self._unfold(chunk)
            except (zlib.error, brotli.error):
                self._unfold = None


def _inflating() -> Callable[[bytes], Iterator[bytes]]:
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)  # the gzip or the zlib format

    def unfold(chunk: bytes) -> Iterator[bytes]:
        while piece := inflater.decompress(chunk, _PIECE):
            yield piece
            chunk = inflater.unconsumed_tail

    return unfold


def _inflating_brotli() -> Callable[[bytes], Iterator[bytes]]:
    decompressor = brotli.Decompressor()

    def unfold(chunk: bytes) -> Iterator[bytes]:
        while piece := decompressor.process(chunk, output_buffer_limit=_PIECE):
            yield piece
            chunk = b""

    return unfold


_PIECEWISE = {"gzip": _inflating, "x-gzip": _inflating, "deflate": _inflating, "br": _inflating_brotli}
