"""Content codings (RFC 9110 §8.4.1): decompressing bodies that the proxy has to read.

Only errors and descriptions of resources are decoded; responses are forwarded as they were compressed.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli

LARGEST = 256 * 1024
"""Bytes that a decoded body may have; a larger one is unreadable. Google's errors have a few kB."""

_PIECE = 64 * 1024  # bytes that are decompressed at once


def decode(body: bytes, encodings: Iterable[str]) -> bytes | None:
    """Return the body without its content codings, or None if it is unreadable.

    `encodings` are the values of the `Content-Encoding` fields in order. A body is unreadable if a
    coding is unknown, if the data is damaged or truncated, or if it has more than `LARGEST` bytes decoded.
    """
    if not body:
        return body  # such as that of a response to a HEAD request
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

    Where it becomes unreadable (an unknown coding, damaged data), it counts as ended.
    """

    def __init__(self, encodings: Iterable[str]) -> None:
        codings = [name.strip().lower() for value in encodings for name in value.split(",")]
        codings = [name for name in codings if name not in ("", "identity")]
        self._plain = not codings
        self._decompress = (
            _STREAM_DECODERS[codings[0]]() if len(codings) == 1 and codings[0] in _STREAM_DECODERS else None
        )

    @property
    def is_unreadable(self) -> bool:
        """Whether the body is unreadable from here on."""
        return self._decompress is None and not self._plain

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress the next chunk of the body; yield the result in pieces."""
        if self._plain:
            yield chunk
        elif self._decompress is not None:
            try:
                yield from self._decompress(chunk)
            except (zlib.error, brotli.error):
                self._decompress = None


def _zlib_stream() -> Callable[[bytes], Iterator[bytes]]:
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)  # the gzip or the zlib format

    def decompress(chunk: bytes) -> Iterator[bytes]:
        while piece := inflater.decompress(chunk, _PIECE):
            yield piece
            chunk = inflater.unconsumed_tail

    return decompress


def _brotli_stream() -> Callable[[bytes], Iterator[bytes]]:
    decompressor = brotli.Decompressor()

    def decompress(chunk: bytes) -> Iterator[bytes]:
        while piece := decompressor.process(chunk, output_buffer_limit=_PIECE):
            yield piece
            chunk = b""

    return decompress


_STREAM_DECODERS = {
    "gzip": _zlib_stream,
    "x-gzip": _zlib_stream,
    "deflate": _zlib_stream,
    "br": _brotli_stream,
}
