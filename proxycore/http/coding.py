"""Content codings (RFC 9110 §8.4.1): decompressing bodies that the proxy has to read.

Only what the proxy reads is decoded (errors, descriptions of resources, the tokens that a response reports);
responses are forwarded as they were compressed.
"""

import zlib
from collections.abc import Iterable, Iterator

import brotli

LARGEST = 256 * 1024
"""Bytes that a decoded body may have; a larger one is unreadable. Google's errors have a few kB."""

_PIECE = 64 * 1024  # bytes that are decompressed at once
_WRAPPED = 32 + zlib.MAX_WBITS  # the gzip or the zlib format
_GZIP = 0x1F  # the first byte of a gzip member (RFC 1952 §2.3.1)
_MOST_MEMBERS = 100  # of a body that is decoded as it arrives: each costs a microsecond, however short it is


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
        decompressor = _STREAM_DECOMPRESSORS.get(codings[0]) if len(codings) == 1 else None
        self._decompressor = decompressor() if decompressor else None

    @property
    def is_unreadable(self) -> bool:
        """Whether the body is unreadable from here on."""
        return self._decompressor is None and not self._plain

    @property
    def is_complete(self) -> bool:
        """Whether the body may end here: its coding is at its end, and nothing has followed."""
        return self._plain or (self._decompressor is not None and self._decompressor.is_complete)

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress the next chunk of the body; yield the result in pieces."""
        if self._plain:
            yield chunk
        elif self._decompressor is not None:
            try:
                yield from self._decompressor.decompress(chunk)
            except (zlib.error, brotli.error):
                self._decompressor = None


class _Inflater:
    """Decompresses a gzip, a zlib or a raw deflate stream, as `window` says (see `zlib.decompressobj`).

    Further gzip members are decompressed too (RFC 1952 §2.2); what else follows the end is ignored.
    """

    __slots__ = ("_inflater", "_members", "_over")

    def __init__(self, window: int = _WRAPPED) -> None:
        self._inflater = zlib.decompressobj(window)
        self._members = 1
        self._over = False  # whether something else has followed the end

    @property
    def is_complete(self) -> bool:
        return self._inflater.eof and not self._over

    def decompress(self, chunk: bytes) -> Iterator[bytes]:
        while not self._inflater.eof or (chunk and self._begin_member(chunk)):
            inflater = self._inflater
            piece = inflater.decompress(chunk, _PIECE)
            if piece:
                yield piece
            chunk = inflater.unused_data or inflater.unconsumed_tail
            if not chunk and len(piece) < _PIECE:
                break

    def _begin_member(self, chunk: bytes) -> bool:
        self._over = self._over or chunk[0] != _GZIP or self._members == _MOST_MEMBERS
        if not self._over:
            self._members += 1
            self._inflater = zlib.decompressobj(_WRAPPED)
        return not self._over


class _DeflateDecompressor:
    """Decompresses the zlib format, or a raw deflate stream, which some servers send (RFC 9110 §8.4.1.2)."""

    __slots__ = ("_begun", "_inflater")

    def __init__(self) -> None:
        self._begun = b""  # the first byte, until the second
        self._inflater: _Inflater | None = None

    @property
    def is_complete(self) -> bool:
        return self._inflater is not None and self._inflater.is_complete

    def decompress(self, chunk: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            chunk = self._begun = self._begun + chunk
            if len(chunk) < 2:
                return
            # A zlib header says that the method is 8, deflate, and is a multiple of 31 (RFC 1950 §2.2).
            is_zlib = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2]) % 31 == 0
            self._inflater = _Inflater(_WRAPPED if is_zlib or chunk[0] == _GZIP else -zlib.MAX_WBITS)
            self._begun = b""
        yield from self._inflater.decompress(chunk)


class _BrotliDecompressor:
    __slots__ = ("_decompressor",)

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    @property
    def is_complete(self) -> bool:
        return bool(self._decompressor.is_finished())

    def decompress(self, chunk: bytes) -> Iterator[bytes]:
        while piece := self._decompressor.process(chunk, output_buffer_limit=_PIECE):
            yield piece
            chunk = b""


_STREAM_DECOMPRESSORS: dict[str, type[_Inflater | _DeflateDecompressor | _BrotliDecompressor]] = {
    "gzip": _Inflater,
    "x-gzip": _Inflater,
    "deflate": _DeflateDecompressor,
    "br": _BrotliDecompressor,
}
