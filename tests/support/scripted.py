"""An upstream whose response to each call is decided by a test's function, and Google's errors in short.

`error(429, "RESOURCE_EXHAUSTED", Q, HELP, retry("34s"))` is such an answer, with the body that Google sends.
"""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.support.wire import Upstream, chunk, read_request
from tests.support.wire import answer as whole

Fields = tuple[tuple[str, str], ...]
JSON: Fields = (("Content-Type", "application/json; charset=UTF-8"),)
SSE: Fields = (("Content-Type", "text/event-stream"),)
_TYPE = "type.googleapis.com/google.rpc."
_MODEL = re.compile(r"/models/([^/:?]+)")


@dataclass(frozen=True)
class Answer:
    """What the upstream answers, `delay` seconds after the request came.

    With `pieces` the body is chunked, one chunk every `pause` seconds.
    """

    status: int = 200
    body: bytes = b""
    fields: Fields = JSON
    delay: float = 0.0
    pieces: tuple[bytes, ...] = ()
    pause: float = 0.0

    def after(self, delay: float) -> "Answer":
        return replace(self, delay=delay)

    def compressed(self) -> "Answer":
        fields = (*self.fields, ("Content-Encoding", "gzip"))
        return replace(self, body=gzip.compress(self.body, mtime=0), fields=fields)


@dataclass
class Call:
    """A request at the upstream: its key (by name), and its time (by the loop's clock)."""

    key: str
    method: str
    target: str
    body: bytes
    fields: list[tuple[str, str]]
    at: float
    status: int = 0  # 0 as long as it is not answered

    @property
    def model(self) -> str:
        """The model in the path, else in the body; empty if in neither."""
        if match := _MODEL.search(self.target):
            return match[1]
        with contextlib.suppress(ValueError):
            body = json.loads(self.body)
            if isinstance(body, dict):
                return str(body.get("model", "")).removeprefix("models/")
        return ""

    @property
    def is_work(self) -> bool:
        """Whether it is a client's request, not a probe of the proxy."""
        return self.method == "POST" and not self.target.endswith(":countTokens")

    def has(self, text: str) -> bool:
        """Whether the body holds a text."""
        return text.encode() in self.body


Script = Callable[[Call], Answer | None]
"""Decides an answer; None is a healthy one."""


def spoken(text: str) -> bytes:
    """A generated answer."""
    return json.dumps({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}).encode()


STREAM = tuple(b"data: " + spoken(text) + b"\r\n\r\n" for text in ("one ", "two ", "three"))


def healthy(call: Call) -> Answer:
    """The response to a healthy key."""
    if "alt=sse" in call.target:
        return Answer(fields=SSE, pieces=STREAM)
    return Answer(body=spoken("hello"))


class Scripted(Upstream):
    """The upstream. `script` may be replaced at any moment; `calls` are all that came, in their order."""

    def __init__(self, names: Mapping[str, str], script: Script = lambda _: None) -> None:
        super().__init__()
        self.names = names  # of keys, by their secrets
        self.script = script
        self.calls: list[Call] = []
        self.strangers: list[str] = []  # credentials that are no key's

    def of(self, *keys: str) -> list[Call]:
        """The calls with these keys."""
        return [call for call in self.calls if call.key in keys]

    def since(self, moment: float) -> list[Call]:
        return [call for call in self.calls if call.at >= moment]

    @property
    def asked(self) -> list[str]:
        """The keys that were asked, each once, in the order in which they first were."""
        return list(dict.fromkeys(call.key for call in self.calls))

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await read_request(reader)
        name = self.names.get(seen.key, "")
        if not name:
            self.strangers.append(seen.key)
        now = asyncio.get_running_loop().time()
        call = Call(name, seen.method, seen.target, seen.body, seen.fields, now)
        self.calls.append(call)
        answer = self.script(call) or healthy(call)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        call.status = answer.status
        if answer.pieces:
            await self._stream(answer, writer)
        else:
            writer.write(whole(answer.status, answer.body, *answer.fields))
            await writer.drain()

    async def _stream(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer.fields)
        writer.write(f"HTTP/1.1 {answer.status} X\r\nTransfer-Encoding: chunked\r\n{lines}\r\n".encode())
        for piece in answer.pieces:
            writer.write(chunk(piece))
            await writer.drain()
            if answer.pause:
                await asyncio.sleep(answer.pause)
        writer.write(b"0\r\n\r\n")


# Google's errors.

Detail = Mapping[str, Any]
Q = (
    "You exceeded your current quota, please check your plan and billing details. For more information on"
    " this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
HELP: Detail = {
    "@type": f"{_TYPE}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}


def retry(delay: object) -> Detail:
    return {"@type": f"{_TYPE}RetryInfo", "retryDelay": delay}


def info(reason: str, **metadata: str) -> Detail:
    about = {"service": "generativelanguage.googleapis.com"} | metadata
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": about}


def quota(name: str, model: str, value: str) -> Detail:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": name,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": value,
    }
    return {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}


def error(code: int, status: str, message: str, *details: Detail) -> Answer:
    """Google's own error, native."""
    told: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        told["details"] = list(details)
    return Answer(code, json.dumps({"error": told}).encode())


def interactions_error(status: int, code: str, message: str) -> Answer:
    """An error of the Interactions API, whose shape is its own."""
    return Answer(status, json.dumps({"error": {"code": code, "message": message}}).encode())


def as_array(answer: Answer) -> Answer:
    """The same error as the OpenAI path has it: in an array of one."""
    return replace(answer, body=b"[" + answer.body + b"\n]")


DENIED = error(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support.")
BARE = error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
CALLER = error(403, "PERMISSION_DENIED", "The caller does not have permission")
INVALID = error(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    info("API_KEY_INVALID"),
)
EXPIRED = error(
    400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", info("API_KEY_INVALID")
)
LEAKED = error(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.")
OVERLOADED = error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
UNGROUNDED = error(429, "RESOURCE_EXHAUSTED", Q, HELP)


# Which keys are refused.


def only(keys: set[str], refusal: Answer) -> Script:
    """These keys are refused."""
    return lambda call: refusal if call.key in keys else None


def first(count: int, refusal: Answer) -> Script:
    """So many keys are refused: those that are used first."""
    refused: set[str] = set()

    def script(call: Call) -> Answer | None:
        if len(refused) < count:
            refused.add(call.key)
        return refusal if call.key in refused else None

    return script


def everyone(refusal: Answer) -> Script:
    return lambda _: refusal
