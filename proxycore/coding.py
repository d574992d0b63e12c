"""Content codings (RFC 9110 §8.4.1): reading a body that came compressed.

Only errors, and answers that tell of resources, are ever read; what goes to a client stays compressed
as it was.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli

LARGEST = 256 * 1024
"""Bytes that a decoded body may have: Google's errors have a few thousand. One beyond it is unreadable."""

_PIECE = 64 * 1024  # bytes that are unfolded at once


def decode(body: bytes, encodings: Iterable[str]) -> bytes | None:
    """The body without its content codings, or None when it can't be read.

    `encodings` are the values of the `Content-Encoding` fields in order. Unknown codings, damaged or
    truncated data, and bodies that unfold to more than `LARGEST` bytes are unreadable.
    """
    if not body:
        return body  # to a HEAD request, say
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
    # "deflate" means zlib's wrapper, but some servers send the bare stream (RFC 9110 §8.4.1.2).
    try:
        return _inflate(body, zlib.MAX_WBITS)
    except zlib.error:
        return _inflate(body, -zlib.MAX_WBITS)


def _brotli(body: bytes) -> bytes | None:
    unfolder = brotli.Decompressor()
    plain: bytes = unfolder.process(body, output_buffer_limit=LARGEST)
    return plain if unfolder.is_finished() else None


def _gzip(body: bytes) -> bytes | None:
    return _inflate(body, 16 + zlib.MAX_WBITS)


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli}


class Unfolding:
    """Reads a body that comes in pieces, in pieces of at most `_PIECE` bytes.

    What can't be read (an unknown coding, damaged data) is empty from there on.
    """

    def __init__(self, encodings: Iterable[str]) -> None:
        codings = [name.strip().lower() for value in encodings for name in value.split(",")]
        codings = [name for name in codings if name not in ("", "identity")]
        self._plain = not codings
        self._unfold = _PIECEWISE[codings[0]]() if len(codings) == 1 and codings[0] in _PIECEWISE else None

    @property
    def lost(self) -> bool:
        """Whether nothing more can be read of it."""
        return self._unfold is None and not self._plain

    def unfold(self, chunk: bytes) -> Iterator[bytes]:
        """What the next piece of the body holds."""
        if self._plain:
            yield chunk
        elif self._unfold is not None:
            try:
                yield from self._unfold(chunk)
            except (zlib.error, brotli.error):
                self._unfold = None


def _inflating() -> Callable[[bytes], Iterator[bytes]]:
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)  # gzip or zlib, whichever it is

    def unfold(chunk: bytes) -> Iterator[bytes]:
        while piece := inflater.decompress(chunk, _PIECE):
            yield piece
            chunk = inflater.unconsumed_tail

    return unfold


def _unfolding_brotli() -> Callable[[bytes], Iterator[bytes]]:
    unfolder = brotli.Decompressor()

    def unfold(chunk: bytes) -> Iterator[bytes]:
        while piece := unfolder.process(chunk, output_buffer_limit=_PIECE):
            yield piece
            chunk = b""

    return unfold


_PIECEWISE = {"gzip": _inflating, "x-gzip": _inflating, "deflate": _inflating, "br": _unfolding_brotli}
