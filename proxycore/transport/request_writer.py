"""Writes a request to the upstream: its head, and a body as fast as the upstream reads it."""

import asyncio
from collections.abc import Callable

from proxycore.http.fields import Field
from proxycore.transport.held_body import HeldBody
from proxycore.transport.messages import Outgoing
from proxycore.transport.request_body import RequestBodyStream

_AT_ONCE = 64 * 1024  # bytes of a body that are written together with the head, or in one piece
_EXPECT_BODY = frozenset({"POST", "PUT", "PATCH"})  # sent with Content-Length: 0 when empty (RFC 9110 §8.6)


def write_request(
    transport: asyncio.Transport, outgoing: Outgoing, host: str, prefix: str, credential: Field | None
) -> "BodyWriter | None":
    """Write a request's head, and its body if that is small.

    Returns what writes the rest, to be started with `write`; None if the request is written whole. `host` is
    the Host field's value, `prefix` the path before the target.
    """
    method, target, fields, body = outgoing
    lines = [f"{method} {prefix}{target} HTTP/1.1\r\nHost: {host}"]
    if credential is not None:
        lines.append(": ".join(credential))
    lines += map(": ".join, fields)
    if isinstance(body, RequestBodyStream):
        length = body.length
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        lines.append("\r\n")
        transport.write("\r\n".join(lines).encode("latin-1"))
        return BodyWriter(transport, body.read, length, body.on_readable)
    size = len(body)
    if size or method in _EXPECT_BODY:
        lines.append(f"Content-Length: {size}")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("latin-1")
    if size > _AT_ONCE and isinstance(body, HeldBody):
        transport.write(head)
        return BodyWriter(transport, body.reader(), size)
    transport.write(head + (body.data if isinstance(body, HeldBody) else body) if size else head)
    return None


class BodyWriter:
    """Writes a body piece by piece, and waits while the upstream does not read, or the client does not send.

    `read` returns up to so many bytes, none at the body's end, None if there are none yet: `on_readable` then
    sets what is to be called when there are. Without a `length` the body is sent chunked.
    """

    __slots__ = ("_length", "_paused", "_read", "_taken", "_transport", "_writing", "done")

    def __init__(
        self,
        transport: asyncio.Transport,
        read: Callable[[int], bytes | None],
        length: int | None,
        on_readable: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._transport: asyncio.Transport | None = transport
        self._read: Callable[[int], bytes | None] | None = read
        self._length = length
        self._taken = 0  # bytes of the body that were written to the transport
        self._paused = self._writing = False
        self.done = False  # whether the body is written whole
        if on_readable:
            on_readable(self.write)

    @property
    def progress(self) -> int:
        """A number of bytes that grows when the upstream reads."""
        return self._taken - self._transport.get_write_buffer_size() if self._transport else self._taken

    def pause(self) -> None:
        """Write no more until `resume`: the upstream does not read."""
        self._paused = True

    def resume(self) -> None:
        """Write on."""
        self._paused = False
        self.write()

    def stop(self) -> None:
        """Write no more at all."""
        self._transport = self._read = None

    def write(self) -> None:
        """Write what there is, as far as the upstream reads it."""
        if self._writing:
            return  # the client's side was told that its chunk was read, and put the next one
        self._writing = True
        while self._transport and self._read and not self._paused and not self.done:
            piece = self._read(_AT_ONCE)
            if piece is None:
                break
            self._write_piece(self._transport, piece)
        self._writing = False

    def _write_piece(self, transport: asyncio.Transport, piece: bytes) -> None:
        self._taken += len(piece)
        self.done = not piece or self._taken == self._length
        if self._length is None:
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))  # the last one is empty
        elif piece:
            transport.write(piece)
