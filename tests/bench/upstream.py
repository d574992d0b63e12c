"""The mock of the Gemini API in the benchmark: it does so little that the proxy is the limit.

Run on its own it serves 127.0.0.1:

    python tests/bench/upstream.py --port 9000 [--tls-port 9001 --certificates FOLDER]

- Any plain request is answered at once with the same 700 bytes of JSON.
- `...:streamGenerateContent?group=NAME` is answered with a server-sent event of 250 bytes and stays open.
- `POST /bench/NAME/N` sends an event every N microseconds on each stream of that group from then on; 0: none.
  Each carries its number and the `time.monotonic_ns()` at which it was written, so that a client on the same
  machine can tell how long it was on its way.
- A request without one of `KEYS` in `x-goog-api-key` is answered 403: a proxy that sends no key, or a wrong
  one, shows up as errors and not as speed.
"""

import argparse
import asyncio
import gc
import re
import ssl
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import uvloop

KEYS = ("bench-upstream-key-1", "bench-upstream-key-2", "bench-upstream-key-3")

_TEXT = "Benchmarks answer the question that was asked, and only on the machine where it was asked. " * 4

ANSWER = (
    '{\n  "candidates": [\n    {\n      "content": {\n        "parts": [\n          {\n            "text": "'
    + _TEXT.strip()
    + '"\n          }\n        ],\n        "role": "model"\n      },\n      "finishReason": "STOP",\n'
    '      "index": 0\n    }\n  ],\n  "usageMetadata": {\n    "promptTokenCount": 21,\n'
    '    "candidatesTokenCount": 68,\n    "totalTokenCount": 89\n  },\n  "modelVersion": "bench"\n}\n'
).encode()

# All events are equally long, and their number and time stand where these slices say: no parsing needed.
_EVENT = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "%06d %020d and a few words"}],"role": "model"},'
    b'"index": 0}],"usageMetadata": {"promptTokenCount": 21,"totalTokenCount": 89},"modelVersion": "bench",'
    b'"responseId": "0123456789abcdef"}\r\n\r\n'
)
EVENT_SIZE = len(_EVENT % (0, 0))
EVENT_NUMBER = slice(_EVENT.index(b"%06d"), _EVENT.index(b"%06d") + 6)
EVENT_TIME = slice(EVENT_NUMBER.stop + 1, EVENT_NUMBER.stop + 21)
EVENT_BEGIN, EVENT_END = (_EVENT % (0, 0))[: EVENT_NUMBER.start], (_EVENT % (0, 0))[EVENT_TIME.stop :]

_CHUNK = b"%x\r\n" % EVENT_SIZE + _EVENT + b"\r\n"


def _head(status: str, *fields: str) -> bytes:
    """An answer's head, with the fields that Google always sends: relaying them is part of the work."""
    usual = (
        "Vary: Origin",
        "Vary: X-Origin",
        "Vary: Referer",
        "Server: scaffolding on HTTPServer2",
        "X-XSS-Protection: 0",
        "X-Frame-Options: SAMEORIGIN",
        "X-Content-Type-Options: nosniff",
        "Server-Timing: gfet4t7; dur=412",
    )
    return ("\r\n".join((f"HTTP/1.1 {status}", *fields, *usual)) + "\r\n\r\n").encode()


_JSON = "Content-Type: application/json; charset=UTF-8"
_PLAIN = _head("200 OK", _JSON, f"Content-Length: {len(ANSWER)}") + ANSWER
_STREAM_HEAD = _head("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
_FORBIDDEN = _head("403 Forbidden", _JSON, "Content-Length: 0")
_LENGTH_REQUIRED = _head("411 Length Required", "Content-Length: 0", "Connection: close")

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nx-goog-api-key: *(?:" + "|".join(KEYS).encode() + rb")\r\n", re.IGNORECASE)
_STREAM = re.compile(rb":streamGenerateContent\?\S*?group=(\w+)")
_PACE = re.compile(rb"POST /bench/(\w+)/(\d+) ")


@dataclass
class Group:
    """Streams that move together; `gap` in seconds, 0 while they rest."""

    gap: float = 0.0
    begun: int = 0
    streams: "set[Upstream]" = field(default_factory=set)

    def pace(self, gap: float) -> None:
        """Move all streams with this gap, or let them rest."""
        self.gap = gap
        for stream in self.streams:
            stream.pace(gap)


class Upstream(asyncio.Protocol):
    """One connection: requests with a Content-Length, one after the other."""

    groups: ClassVar[defaultdict[bytes, Group]] = defaultdict(Group)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._group: Group | None = None
        self._number = 0  # of the next event
        self._phase = 0.0  # a part of the gap
        self._gap = self._due = 0.0  # seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from asyncio's

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name that asyncio calls
        """Stop streaming to nobody."""
        self.pace(0)
        if self._group:
            self._group.streams.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer a request once the whole of it is here."""
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(self._received, 0, end)
        if not length and b"\r\ntransfer-encoding:" in self._received[:end].lower():
            self._transport.write(_LENGTH_REQUIRED)
            self._transport.close()
            return
        end_of_body = end + (int(length[1]) if length else 0)
        if len(self._received) >= end_of_body:
            head, self._received = self._received[:end], self._received[end_of_body:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"GET /healthz "):
            self._transport.write(_PLAIN)
        elif pace := _PACE.match(head):
            self.groups[pace[1]].pace(int(pace[2]) / 1e6)
            self._transport.write(_PLAIN)
        elif not _KEY.search(head):
            self._transport.write(_FORBIDDEN)
        elif stream := _STREAM.search(head):
            self._begin(self.groups[stream[1]])
        else:
            self._transport.write(_PLAIN)

    def _begin(self, group: Group) -> None:
        """Start a stream: the first event goes with the head."""
        self._transport.write(_STREAM_HEAD + _CHUNK % (0, time.monotonic_ns()))
        self._number, self._group = 1, group
        # Real streams do not beat in step: the golden ratio spreads any number of them evenly over the gap.
        group.begun += 1
        self._phase = group.begun * 0.6180339887 % 1
        group.streams.add(self)
        self.pace(group.gap)

    def pace(self, gap: float) -> None:
        """Send an event every `gap` seconds from now on; none if it is 0."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if gap:
            self._gap, self._due = gap, self._loop.time() + gap * self._phase
            self._timer = self._loop.call_at(self._due, self._emit)

    def _emit(self) -> None:
        self._transport.write(_CHUNK % (self._number, time.monotonic_ns()))
        self._number += 1
        # Counted from the start, not from the last event: a late timer must not slow the stream down.
        self._due += self._gap
        self._timer = self._loop.call_at(self._due, self._emit)


async def _serve(ports: list[tuple[int, ssl.SSLContext | None]]) -> None:
    loop = asyncio.get_running_loop()
    for port, tls in ports:
        await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096, ssl=tls)
    await loop.create_future()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="A mock of the Gemini API, made for speed.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-port", type=int, help="for the same with TLS")
    parser.add_argument("--certificates", type=Path, help="a folder with cert.pem and key.pem")
    options = parser.parse_args()
    ports: list[tuple[int, ssl.SSLContext | None]] = [(options.port, None)]
    if options.tls_port:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificates / "cert.pem", options.certificates / "key.pem")
        ports.append((options.tls_port, tls))
    gc.disable()  # nothing here makes cycles, and a collection would be seen as delay
    uvloop.run(_serve(ports))


if __name__ == "__main__":
    main()
