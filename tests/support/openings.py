"""The first bytes of streams: errors in all their forms, and content."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import brotli

from tests.support.wire import CHUNKED, Got, Script, Seen, ask, chunk

STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
END = b"0\r\n\r\n"


def problem(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


OVERLOADED = {
    "error": {
        "code": 503,
        "message": "The model is overloaded. Please try again later.",
        "status": "UNAVAILABLE",
    }
}
CLIENT_ERROR = problem(400, "Invalid value at 'contents'.", "INVALID_ARGUMENT")
SPENT = problem(
    429,
    "You exceeded your current quota.",
    "RESOURCE_EXHAUSTED",
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"},
)
INVALID = problem(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT")
DENIED = problem(403, "Your project has been denied access. Please contact support.", "PERMISSION_DENIED")


def event(error: object, name: str = "", end: str = "\r\n") -> bytes:
    named = f"event: {name}{end}" if name else ""
    return f"{named}data: {json.dumps(error)}{end}{end}".encode()


PIECES = [b'data: {"candidates": [{"content": {"parts": [{"text": "%d"}]}}]}\r\n\r\n' % n for n in range(3)]
WHOLE = b"".join(PIECES)
FORMS = {
    "an event": event(OVERLOADED),
    "an event with LF": event(OVERLOADED, end="\n"),
    "a named event": event(OVERLOADED, "error"),
    "a message": event(OVERLOADED, "message"),
    "after comments": b": wait\n\n\r\n:\r\nretry: 5\nid: 1\n" + event(OVERLOADED),
    "after a byte order mark": b"\xef\xbb\xbf" + event(OVERLOADED),
    "of several lines": b"data: "
    + json.dumps(OVERLOADED, indent=2).encode().replace(b"\n", b"\ndata: ")
    + b"\n\n",
    "an array's": event([OVERLOADED]),
    "not ended": event(OVERLOADED).rstrip(),
    "bare": json.dumps(OVERLOADED, indent=2).encode(),
    "bare, in an array": json.dumps([OVERLOADED], indent=2).encode() + b"\n",
    "the first of an array": b"[" + json.dumps(OVERLOADED).encode() + b"\n,\r\n",
    "with more": event(OVERLOADED) + b"data: [DONE]\n\n",
}
ORDINARY = {
    "events": WHOLE,
    "after comments": b": wait\n\n\r\n:\r\nretry: 5\nid: 1\nevent: message\n" + WHOLE,
    "after a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "an array": b'[{\n  "candidates": []\n}\n,\r\n{}]',
    "an interaction's": b'event: interaction.created\ndata: {"event_type": "interaction.created"}\n\n',
    "an error after content": WHOLE + event(OVERLOADED),
    "an error that is none": b'data: {"error": null, "x": 1}\n\n',
    "comments only": b": a\n\n: b\n\n",
    "half a comment": b": a",
    "half an event": b'data: {"err',
    "empty": b"",
}
CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


def streamed(*pieces: bytes, coding: str = "", kind: str = "text/event-stream") -> bytes:
    """A whole answer in chunks."""
    head = CHUNKED.replace(b"text/event-stream", kind.encode())
    if coding:
        head = head[:-2] + f"Content-Encoding: {coding}\r\n\r\n".encode()
    return head + b"".join(chunk(piece) for piece in pieces if piece) + END


def third(*answers: bytes) -> Script:
    """Keys 1 and 2 give the first answer, key 3 the second."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[seen.key.endswith("3")])

    return script


async def generate(port: int, target: str = STREAM) -> Got:
    return await ask(port, "POST", target, ("Content-Type", "application/json"), body=b"{}")
