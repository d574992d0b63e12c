"""TLS to the upstream or an outbound proxy, as a layer between a transport and a protocol.

asyncio's and uvloop's own layers hold buffers of several hundred kilobytes for each connection. This one
reads and decrypts into buffers that all connections share, and its own grow only to what one read brings.
Being both a protocol and a transport, it can be used inside another one: TLS in a tunnel through a proxy
that speaks TLS itself.

    state        event                               next
    HANDSHAKE    handshake complete                  OPEN      the protocol's connection_made
    HANDSHAKE    alert, bad certificate, lost        CLOSED    `established` fails
    OPEN         close_notify (RFC 8446 §6.1)        CLOSED    eof_received, connection_lost(None)
    OPEN         lost without close_notify           CLOSED    connection_lost with an error: a truncation
    OPEN         close, abort                        CLOSED    connection_lost(None)
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, cast

from proxycore.transport.tls_client import TlsClient

READ_SIZE = 32 * 1024
"""Bytes that are read from the network at once."""

_PIECE = 16 * 1024  # bytes that are encrypted at once: the most that a record has (RFC 8446 §5.1)
_RECEIVED = memoryview(bytearray(READ_SIZE))
_DECRYPTED = memoryview(bytearray(4 * READ_SIZE))
_NOBODY = asyncio.Protocol()  # the protocol of a closed connection


class TruncatedError(ConnectionError):
    """The connection ended without the other side's close_notify: what it sent last may be missing."""


class _State(Enum):
    HANDSHAKE = auto()
    OPEN = auto()
    CLOSED = auto()


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The transport of `protocol`, and itself the protocol of the transport below.

    `established` is done once the handshake is complete. It raises ssl.SSLError, or ConnectionError if the
    connection ended first.
    """

    __slots__ = (
        "_below",
        "_client",
        "_incoming",
        "_outgoing",
        "_paused",
        "_protocol",
        "_state",
        "_tls",
        "established",
    )

    def __init__(self, client: TlsClient, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._client = client
        self._protocol: Any = protocol
        self._below: asyncio.Transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client.connect(self._incoming, self._outgoing)
        self._state = _State.HANDSHAKE
        self._paused = False
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The protocol of the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._below = cast("asyncio.Transport", transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """The buffer to read into; all connections share it, since it is emptied at once."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read into the buffer."""
        self.data_received(_RECEIVED[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take encrypted bytes."""
        self._incoming.write(data)
        if self._state is _State.OPEN:
            self._read()
        elif self._state is _State.HANDSHAKE:
            self._shake_hands()

    def eof_received(self) -> None:
        """Note the end of the connection below; after a close_notify nothing is left to note."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, which was not closed as TLS demands."""
        if self._state is not _State.CLOSED:
            self._end(exc or TruncatedError("closed without TLS close_notify"))
            self._below.abort()

    def pause_writing(self) -> None:
        """Ask the protocol to write no more for now."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let the protocol write again."""
        self._protocol.resume_writing()

    # The transport of the protocol above.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._state is not _State.OPEN:
            return
        view = memoryview(data)
        try:
            while view:
                sent = self._tls.write(view[:_PIECE])
                view = view[sent:]
                self._below.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._fail(error)

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, first what has arrived already."""
        if self._paused and self._state is not _State.CLOSED:
            self._paused = False
            self._below.resume_reading()
            if self._tls.pending() or self._incoming.pending:
                asyncio.get_running_loop().call_soon(self._read)

    def is_reading(self) -> bool:
        """Whether the protocol gets what arrives."""
        return not self._paused and self._state is _State.OPEN

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol above."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """What the transport below tells of itself, and `ssl_object`."""
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent, encrypted."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when `pause_writing` and `resume_writing` are called."""
        self._below.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Whether one direction can be closed alone: not by this layer."""
        return False

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._state is _State.CLOSED or self._below.is_closing()

    def close(self) -> None:
        """Close the connection, with a close_notify."""
        if self._state is _State.OPEN:
            self._notify_close()
        self._leave(self._below.close)

    def abort(self) -> None:
        """Close the connection at once."""
        self._leave(self._below.abort)

    def _leave(self, close_below: Callable[[], None]) -> None:
        if self._state is not _State.CLOSED:
            # As a transport does it: never while the protocol is calling.
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
            self._protocol, self._state = _NOBODY, _State.CLOSED
            close_below()

    # TLS itself.

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()
        self._state = _State.OPEN
        self._client.remember(self._tls)
        if not self.established.done():
            self.established.set_result(None)
        self._protocol.connection_made(self)
        if self._incoming.pending and not self._paused:
            self._read()

    def _read(self) -> None:
        while self._state is _State.OPEN and not self._paused:
            try:
                size, more = self._decrypt()
            except ssl.SSLError as error:
                self._fail(error)
                return
            if size:
                self._protocol.data_received(bytes(_DECRYPTED[:size]))
            if not more:
                return

    def _decrypt(self) -> tuple[int, bool]:
        """Decrypt all that is there, and fits; return its size in bytes, and whether there may be more."""
        tls, incoming, size = self._tls, self._incoming, 0
        while size < len(_DECRYPTED):
            try:
                read = cast("int", tls.read(len(_DECRYPTED) - size, _DECRYPTED[size:]))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                read = 0
            if not read:
                return size, self._close_received(size)
            size += read
            if not incoming.pending and not tls.pending():
                return size, self._flush()
        self._flush()
        return size, size == len(_DECRYPTED)

    def _close_received(self, size: int) -> bool:
        """The other side's close_notify: the end, once what came before it is delivered."""
        if size:
            return True
        self._notify_close()
        self._protocol.eof_received()
        self._below.close()
        self._end(None)
        return False

    def _notify_close(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants to read the other side's, for which nobody waits
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> bool:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())
        return False

    def _fail(self, error: ssl.SSLError) -> None:
        self._flush()  # the alert that says why
        self._end(error)
        self._below.close()

    def _end(self, error: Exception | None) -> None:
        """Enter CLOSED, and tell the protocol, or who waits for the handshake."""
        state, self._state = self._state, _State.CLOSED
        protocol, self._protocol = self._protocol, _NOBODY
        if state is _State.OPEN:
            protocol.connection_lost(error)
        elif state is _State.HANDSHAKE and not self.established.done():
            self.established.set_exception(error or ConnectionAbortedError("closed"))
            self.established.exception()  # who waited for it may have given up
