"""The base of all handlers: credentials, errors, and the framing of responses.

Headers are those of recorded traffic (googleapis/js-genai, test/system/recordings).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import Finish, RequestHandler, stream_request_body

from proxycore.demo import refusal as refusals
from proxycore.demo import store as stores
from proxycore.demo.asked import Asked, tools_of
from proxycore.demo.model import parse, pretty, sse
from proxycore.demo.refusal import Foreign, Json, Refusal, RefusedError
from proxycore.demo.state import Call, State
from proxycore.demo.store import Owned

COLON = "(?::|%3[Aa])"
JSON = "application/json; charset=UTF-8"
SSE = "text/event-stream"
_HEADERS = (
    ("Server", "scaffolding on HTTPServer2"),
    ("Vary", "Origin"),
    ("Vary", "X-Origin"),
    ("Vary", "Referer"),
    ("X-XSS-Protection", "0"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    ("Alt-Svc", 'h3=":443"; ma=2592000,h3-29=":443"; ma=2592000'),
)


@stream_request_body  # Google ignores the content type, whereas Tornado would parse forms
class Handler(RequestHandler):
    """The base of all handlers; by itself, it responds to a path that does not exist."""

    openai = False
    interactions = False

    def initialize(self, mock: State) -> None:
        """Called by Tornado for every request."""
        request, query = self.request, self.request.query_arguments
        self.mock = mock
        self.call = Call(request.method or "", request.uri or "", request.headers, mock.clock())
        mock.calls.append(self.call)
        self.gone = asyncio.Event()
        alt = (query.get("alt") or query.get("$alt") or [b""])[0]
        streams = "sse" if alt.startswith(b"sse") else "array"
        self.framing = streams if request.path.endswith("streamGenerateContent") else "document"
        self.streams = self.framing != "document"
        self.stream_error: Refusal | None = None  # the last event of the stream

    def set_default_headers(self) -> None:
        """Set the fields of every response, errors included."""
        self.clear_header("Server")
        for name, value in _HEADERS:
            self.add_header(name, value)

    def compute_etag(self) -> None:
        """Google sends none."""

    def data_received(self, chunk: bytes) -> Any:  # noqa: ANN401 - Tornado's; uploads take their time
        """Keep a piece of the request's body."""
        self.call.body += chunk

    def on_connection_close(self) -> None:
        """Record that the client has disconnected."""
        super().on_connection_close()
        self.call.cut = True
        self.call.ended = self.mock.clock()
        self.gone.set()

    def on_finish(self) -> None:
        """Record that the response was written."""
        if self.call.ended is None:
            self.call.status = self.get_status()
            self.call.ended = self.mock.clock()

    def credentials(self) -> tuple[list[str], list[str]]:
        """Return all credentials: keys, and the values of Authorization."""
        keys = [*self.request.headers.get_list("X-Goog-Api-Key"), *self.get_query_arguments("key")]
        return keys, self.request.headers.get_list("Authorization")

    def credential(self) -> str:
        """Return the only credential, a bearer token on the OpenAI surface; refuse any other."""
        keys, tokens = self.credentials()
        if len(keys) + len(tokens) > 1:
            raise RefusedError(refusals.TWO_CREDENTIALS_OPENAI if self.openai else refusals.TWO_CREDENTIALS)
        if self.openai:
            scheme, _, token = "".join(tokens).partition(" ")
            if scheme.lower() != "bearer":
                raise RefusedError(refusals.NO_BEARER)
            return token
        if tokens:
            raise RefusedError(refusals.UNSUPPORTED_TOKEN)
        if not any(keys):
            raise RefusedError(refusals.UNREGISTERED)
        return keys[0]

    def asked(self, model: str = "", method: str = "", *, is_free: bool = False) -> Asked:
        """Return the properties of this request that the health of its key depends on."""
        request, body = self.request, self.call.body
        return Asked(
            self.call.key,
            model,
            self.mock.clock(),
            method,
            version=self.path_args[0] if self.path_args else "",
            is_free=is_free,
            size=len(body),
            tools=tools_of(body),
            headers=request.headers,
            address=request.remote_ip or "",
        )

    async def admit(self, model: str = "", method: str = "", *, is_free: bool = False) -> None:
        """Refuse what Google refuses before any work: first the credential, then the state of its key.

        A request that ``is_free`` costs no quota.
        """
        self.call.model = model
        self.call.key = self.credential()
        await self.judge(self.asked(model, method, is_free=is_free))

    async def judge(self, asked: Asked) -> None:
        """Refuse what the state of the key refuses, or keep that for the stream, if it belongs there."""
        refusal = self.mock.refusal(asked)
        if refusal is None:
            return
        await self.wait(refusal.after)
        if self.gone.is_set():
            raise Finish
        if refusal.pieces is None or not self.streams:
            raise RefusedError(refusal)
        self.stream_error = refusal

    def on_this_surface(self, refusal: Refusal) -> Refusal:
        """Return a refusal as this surface words it."""
        return (refusal.interactions or refusal) if self.interactions else refusal

    def event(self, refusal: Refusal) -> str:
        """Write a refusal as what comes next in a stream that has begun."""
        body = self.on_this_surface(refusal).body()
        if refusal.raw:
            return pretty(body)
        if self.framing == "sse":
            return sse(body)
        return (",\n" if refusal.pieces else "[") + pretty(body) + "]"

    def document(self, empty: bytes = b"") -> Json:
        """Return the JSON object in the body, or in ``empty`` when there is none.

        Resources that it names have to be of the project that asks.
        """
        body = parse(self.call.body or empty)
        for name in stores.named(body):
            self.owned(name)
        return body

    def owned(self, name: str) -> Owned:
        """Return a resource, which has to be of the project that asks."""
        owned = self.mock.store.get(self.call.key, name)
        if owned is None:
            raise RefusedError(refusals.denial(name))
        return owned

    def keep(self, document: Json) -> Json:
        """Give the project that asks a resource; return its document."""
        self.mock.store.put(self.call.key, Owned(document, self.mock.clock()))
        return document

    def page(self, kind: str, items: Sequence[Json], default: int, owner: str = "") -> None:
        """Answer with the page of a list that the query asks for."""
        size, token = self.get_query_argument("pageSize", ""), self.get_query_argument("pageToken", "")
        self.send(pretty(stores.page(kind, items, size, token, default, owner=owner)))

    async def wait(self, seconds: float) -> None:
        """Wait, but no longer than the other side is connected."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone.wait()

    async def pause(self, seconds: float, sent: int) -> None:
        """Wait while the other side is connected; then close the connection, if that is due now."""
        await self.wait(seconds)
        if sent == self.mock.break_after and not self.gone.is_set():
            self.detach().close()
            self.call.ended = self.mock.clock()
            self.gone.set()
        if self.gone.is_set():
            raise Finish

    def head(self, content_type: str) -> None:
        """Set the header fields of a response of this type."""
        self.set_header("Content-Type", content_type)
        self.set_header("Server-Timing", f"gfet4t7; dur={self.request.request_time() * 1000:.0f}")

    async def answer(self, document: Json) -> None:
        """Answer with a document, after ``think`` seconds."""
        await self.pause(self.mock.think, 0)
        self.send(pretty(document))

    def send(self, text: str) -> None:
        """Answer with a whole text at once."""
        body = text.encode()
        if self.framing == "document" and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            self.set_header("Content-Encoding", "gzip")
        self.head(SSE if self.framing == "sse" else JSON)
        self.finish(body)

    async def stream(self, frames: Iterable[str | bytes], content_type: str, closing: str = "") -> None:
        """Answer frame by frame, each sent before the next is made; ``closing`` follows the last at once."""
        self.head(content_type)
        self.set_header("Content-Disposition", "attachment")
        self.call.status = self.get_status()
        if self.stream_error:
            frames = itertools.chain(
                itertools.islice(frames, self.stream_error.pieces), [self.event(self.stream_error)]
            )
            closing = ""
        for sent, frame in enumerate(frames):
            if sent:
                await self.pause(self.mock.pace, sent)
            self.write(frame)
            try:
                await self.flush()
            except StreamClosedError:
                self.on_connection_close()  # Tornado would call it one round of the loop later
                raise Finish from None
        self.finish(closing)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401 - Tornado's
        """Answer with an error as Google words it."""
        error = kwargs.get("exc_info", (None, None))[1]
        refusal = refusals.NOT_FOUND if status_code in {404, 405} else Refusal(status_code, self._reason)
        if isinstance(error, RefusedError):
            refusal = self.on_this_surface(error.refusal)
        self.set_status(refusal.code)
        if isinstance(refusal, Foreign):
            return self.send_foreign(refusal)
        text = pretty(refusal.body(openai=self.openai))
        return self.send(f"[{text}]\n" if self.openai or self.framing == "array" else text)

    def send_foreign(self, refusal: Foreign) -> None:
        """Answer as a gateway in front of Google would."""
        for name, _ in _HEADERS:
            self.clear_header(name)
        self.clear_header("Content-Type")
        if refusal.content_type:
            self.set_header("Content-Type", refusal.content_type)
        self.finish(refusal.message)
