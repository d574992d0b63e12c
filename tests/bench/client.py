"""A client of one connection: the requests that the load is made of, and the answers as they arrive."""

import asyncio
import re
from typing import cast

from tests.bench.contenders import CLIENT_KEY

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_BODY = (
    b'{"contents": [{"role": "user", "parts": [{"text": "What does a proxy cost, for each request and for'
    b' each event that it relays? Answer in one sentence."}]}], "generationConfig": {"temperature": 0.2}}'
)


class Answer:
    """One answer: feed it what the connection brings, until it is `done`.

    Knows the three ways in which a body can end: by length, by the last chunk, by the end of the connection.
    """

    __slots__ = ("_chunked", "_left", "_received", "done", "kept_alive", "status")

    def __init__(self) -> None:
        self.status = 0  # 0 until the head is here
        self.done = False
        self.kept_alive = True
        self._received = b""
        self._chunked = False
        self._left: int | None = None  # bytes of body to come; None: until the connection ends

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the connection; return what they hold of the body, chunks unwrapped."""
        self._received += data
        if not self.status and not self._read_head():
            return b""
        if self._chunked:
            return self._unwrap()
        body, self._received = self._received, b""
        if self._left is not None:
            self._left -= len(body)
            self.done = self._left <= 0
        return body

    def end(self) -> None:
        """The connection has ended: for a body without length that is the proper end."""
        if self.status and not self._chunked and self._left is None:
            self.done = True

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._received[:end].lower()
        self._received = self._received[end + 4 :]
        self.status = int(head[9:12])
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else None
        self.kept_alive = (
            head.startswith(b"http/1.1")
            and (self._chunked or bool(length))
            and b"\r\nconnection: close" not in head
        )
        return True

    def _unwrap(self) -> bytes:
        received, start, parts = self._received, 0, []
        while not self.done:
            end_of_size = received.find(b"\r\n", start)
            if end_of_size < 0:
                break
            size = int(received[start:end_of_size], 16)
            end = end_of_size + 2 + size + 2
            if len(received) < end:
                break  # a chunk counts when the whole of it is here
            parts.append(received[end_of_size + 2 : end - 2])
            start, self.done = end, not size
        self._received = received[start:]
        return b"".join(parts)


def _request(target: str) -> bytes:
    """A POST with the fields that an SDK sends."""
    fields = (
        f"POST {target} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "User-Agent: google-genai-sdk/1.0 gl-python/3.11",
        "x-goog-api-client: google-genai-sdk/1.0 gl-python/3.11",
        f"x-goog-api-key: {CLIENT_KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(_BODY)}",
    )
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + _BODY


PLAIN = _request("/v1beta/models/bench:generateContent")
"""A request that is answered at once."""


def stream_of(group: str) -> bytes:
    """A request for a stream that moves with this group (see `upstream`)."""
    return _request(f"/v1beta/models/bench:streamGenerateContent?alt=sse&group={group}")


class Client(asyncio.Protocol):
    """What every client does: connect, send a request, feed its answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._loop = asyncio.get_running_loop()
        self._answer = Answer()
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        """Connect, which sends the request."""
        await self._loop.create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from asyncio's
        self._send()

    def _send(self) -> None:
        if self._transport:
            self._answer = Answer()
            self._transport.write(self._request)

    def leave(self) -> None:
        """Hang up, whatever is under way."""
        if self._transport:
            self._transport.abort()
