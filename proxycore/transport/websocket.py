"""A WebSocket (RFC 6455) to the upstream, for a Live session.

AsyncHTTPClient has no WebSockets, and Tornado's own client supports no outbound proxies. This is the library
`websockets` on connections that are opened as those for requests are (`connector`).
"""

import asyncio
import contextlib
from dataclasses import replace
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from proxycore.http.fields import Fields
from proxycore.transport.buffered_response import BUFFERED_BYTES, BufferedResponse
from proxycore.transport.messages import UpstreamError, broken_off, malformed, unreachable
from proxycore.transport.replay import Message, Replay
from proxycore.transport.response_head import MalformedError, ResponseHead, check_framing
from proxycore.transport.upstream import Upstream

UpstreamConnection = ClientConnection
"""The connection of an open session."""

UpstreamClosed = ConnectionClosed
"""Raised on sending or receiving, once the connection is closed."""

LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes that one message may have, in either direction."""

_AT_ONCE = 16 * 1024  # bytes in the send buffer above which the sender waits
_CLOSE_TIMEOUT = 2.0  # seconds that the upstream gets to respond to a close
_NO_CODE = 1005  # of a close frame without a code; never sent (RFC 6455 §7.4.1)
# Codes that a close frame may have (RFC 6455 §7.4, and the registry that §11.7 began).
_SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class UpstreamSession:
    """A session that the upstream has opened, but may still refuse with a close frame.

    `first_message` is a task for the upstream's first message; None if it ended the session instead.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.first_message = asyncio.create_task(self._receive())
        self._sending: asyncio.Task[None] | None = None

    async def _receive(self) -> Message | None:
        """The upstream's first message; None if it ended the session instead."""
        try:
            return await self.connection.recv()
        except ConnectionClosed:
            return None

    def send(self, replay: Replay) -> None:
        """Begin to send the client's messages, those that are stored and later ones."""
        self._sending = self._sending or asyncio.create_task(self._send(replay))

    async def _send(self, replay: Replay) -> None:
        with contextlib.suppress(ConnectionClosed):
            await replay.send_to(self.connection)

    async def send_next(self, message: Message) -> None:
        """Send one more message after those of the replay; do nothing once the session is closed."""
        if self._sending and not self._sending.done():
            await asyncio.wait({self._sending})
        with contextlib.suppress(ConnectionClosed):
            await self.connection.send(message)

    def can_send_at_once(self, message: Message) -> bool:
        """Whether `send_next` would not have to wait for the upstream to read."""
        idle = not self._sending or self._sending.done()
        return idle and self.connection.transport.get_write_buffer_size() + len(message) < _AT_ONCE

    async def close(self, code: int | None, reason: str | None) -> None:
        """Close the session with this code and reason; without a code, abort the connection."""
        self.first_message.cancel()
        if self._sending:
            self._sending.cancel()
        if code is None:
            self.connection.transport.abort()
        else:
            await self.connection.close(code if code in _SENDABLE else 1000, reason or "")


async def open_session(
    upstream: Upstream, target: str, fields: Fields, subprotocols: list[str], *, proxy: str | None
) -> ClientConnection | BufferedResponse:
    """Open a session; return its connection, or the response with which the upstream refused the handshake.

    It goes through an outbound proxy unless that is None. Raises UpstreamError if there was no response.
    """
    session = _session(upstream, target, subprotocols)
    try:
        await upstream.client.open(upstream.origin, session, proxy)
    except UpstreamError as error:
        raise unreachable(detail=f"({error} {error.detail})") from None
    try:
        async with asyncio.timeout(upstream.route.first_byte_timeout):
            await session.handshake(fields, None)
    except InvalidStatus as error:
        session.transport.abort()
        return _refusal(error)
    except TimeoutError:
        session.transport.abort()
        raise UpstreamError(
            "The upstream timed out: it did not open the session.", sent=True, is_timeout=True
        ) from None
    except (OSError, InvalidHandshake) as error:
        session.transport.abort()
        raise _to_upstream_error(error) from error
    except BaseException:
        session.transport.abort()
        raise
    return session


def _session(upstream: Upstream, target: str, subprotocols: list[str]) -> ClientConnection:
    """The connection of a session, which is still to be opened."""
    protocol = ClientProtocol(
        parse_uri(upstream.origin.replace("http", "ws", 1)),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=LARGEST_MESSAGE,
    )
    # The target goes out byte for byte, where the library would parse it as a URI.
    path = quote((upstream.prefix + target).encode("latin-1"), safe=_ASCII)
    protocol.uri = replace(protocol.uri, path=path, query="")
    return ClientConnection(
        protocol,
        ping_interval=None,  # a slow client would look like an upstream that is gone
        close_timeout=_CLOSE_TIMEOUT,
        max_queue=1,
    )


def close_frame_of(session: ClientConnection) -> tuple[int, str] | None:
    """Code and reason with which the upstream closed the session; None if it sent no close frame."""
    code = session.close_code
    if code == _NO_CODE:
        return 1000, ""
    return (code, session.close_reason or "") if code is not None and code in _SENDABLE else None


def _to_upstream_error(error: Exception) -> UpstreamError:
    detail = f"({type(error).__name__}: {error})"
    if isinstance(error, OSError) or isinstance(error.__cause__, EOFError):
        return broken_off(detail)
    return malformed("it neither opens the session nor refuses it as HTTP does", detail)


def _refusal(error: InvalidStatus) -> BufferedResponse:
    response = error.response
    head = ResponseHead(response.status_code, response.reason_phrase, list(response.headers.raw_items()))
    try:
        check_framing(head)
    except MalformedError as fault:
        raise malformed(str(fault)) from None
    if head.status < 200:
        raise _to_upstream_error(error)
    body = response.body or b""
    return BufferedResponse(head, bytes(body) if len(body) <= BUFFERED_BYTES else None)
