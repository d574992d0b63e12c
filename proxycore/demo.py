"""A stand-in for the Gemini API: a real server that official SDKs cannot tell from Google in what it covers.

That is models, generation (unary, SSE, JSON array), token counts, embeddings and the OpenAI surface. It lets
anyone without a key see the proxy work (``--demo``), and is the upstream of the tests. Here is the server and
its rules about credentials; `demo_health` has keys and errors, `demo_model` the answers. Headers are those of
recorded traffic (googleapis/js-genai, test/system/recordings).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from dataclasses import dataclass, field
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, Finish, RequestHandler, stream_request_body

from proxycore import demo_health as health
from proxycore import demo_model as models
from proxycore.demo_health import Health, Json, Refusal, demo_keys
from proxycore.demo_model import RefusedError, pretty

__all__ = ["Call", "Health", "Refusal", "StandIn", "demo_keys"]

_JSON = "application/json; charset=UTF-8"
_SSE = "text/event-stream"
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
_NOT_FOUND = Refusal(404, "Requested entity was not found.")
_MAX_BODY = 256 * 2**20  # bytes


@dataclass
class Call:
    """One request as it arrived, for tests to look at. Times are the stand-in's clock, in seconds."""

    method: str
    target: str  # path and query as they came
    headers: HTTPHeaders
    arrived: float
    body: bytearray = field(default_factory=bytearray)
    key: str = ""  # the credential, if it was the only one and in its place
    model: str = ""
    status: int = 0  # 0 until there is an answer
    ended: float | None = None  # None while it is open
    cut: bool = False  # the other side went away before the end


class StandIn:
    """A fake Gemini API on a real socket. Every attribute may be changed while it runs.

    ``keys`` maps each secret to its health; any other key is invalid. ``pace`` is the seconds between the
    pieces of a stream, ``think`` those before an answer begins. An answer has ``chunks`` pieces, of
    ``chunk_bytes`` bytes of text each, or of a few words with 0. After ``break_after`` pieces the connection
    is broken off, unless that is None; 0 is before the head. All requests are in ``calls``, the latest last.
    """

    def __init__(
        self, keys: Mapping[str, Health], pace: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.keys = dict(keys)
        self.pace = pace
        self.clock = clock
        self.think = 0.0
        self.chunks = 8
        self.chunk_bytes = 0
        self.break_after: int | None = None
        self.calls: MutableSequence[Call] = []
        self._server: HTTPServer | None = None

    @property
    def open(self) -> int:
        """How many requests have not ended yet."""
        return sum(call.ended is None for call in self.calls)

    def listen(self, address: str = "127.0.0.1", port: int = 0) -> str:
        """Serve on the current loop and return the base URL. Port 0 is any free one."""
        routes = [(rf"/(v1|v1alpha|v1beta){path}", handler, {"standin": self}) for path, handler in _ROUTES]
        app = Application([*routes, (".*", _Handler, {"standin": self})], log_function=lambda _handler: None)
        sockets = bind_sockets(port, address)
        self._server = HTTPServer(app, max_body_size=_MAX_BODY)
        self._server.add_sockets(sockets)
        return f"http://{address}:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and cut whatever is still open."""
        if self._server:
            self._server.stop()
            await self._server.close_all_connections()


@stream_request_body  # Google goes by no content type, whereas Tornado would take forms apart
class _Handler(RequestHandler):
    """What the whole surface has in common; by itself, the answer to a path that does not exist."""

    openai = False

    def initialize(self, standin: StandIn) -> None:
        request, query = self.request, self.request.query_arguments
        self.standin = standin
        self.call = Call(request.method or "", request.uri or "", request.headers, standin.clock())
        standin.calls.append(self.call)
        self.gone = asyncio.Event()
        alt = (query.get("alt") or query.get("$alt") or [b""])[0]
        streams = "sse" if alt.startswith(b"sse") else "array"
        self.framing = streams if request.path.endswith("streamGenerateContent") else "document"

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS:
            self.add_header(name, value)

    def compute_etag(self) -> None:
        """Google sends none."""

    def data_received(self, chunk: bytes) -> None:
        self.call.body += chunk

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.call.cut = True
        self.call.ended = self.standin.clock()
        self.gone.set()

    def on_finish(self) -> None:
        if self.call.ended is None:
            self.call.status = self.get_status()
            self.call.ended = self.standin.clock()

    def credential(self) -> str:
        """Return the one credential that there has to be, in its place: with OpenAI's, a bearer token."""
        keys = [*self.request.headers.get_list("X-Goog-Api-Key"), *self.get_query_arguments("key")]
        tokens = self.request.headers.get_list("Authorization")
        if len(keys) + len(tokens) > 1:
            raise RefusedError(health.TWO_CREDENTIALS_OPENAI if self.openai else health.TWO_CREDENTIALS)
        if self.openai:
            scheme, _, token = "".join(tokens).partition(" ")
            if scheme.lower() != "bearer":
                raise RefusedError(health.NO_BEARER)
            return token
        if tokens:
            raise RefusedError(health.UNSUPPORTED_TOKEN)
        if not any(keys):
            raise RefusedError(health.UNREGISTERED)
        return keys[0]

    def admit(self, model: str = "") -> None:
        """Refuse what Google refuses before any work: first the credential, then the state of its key."""
        self.call.model = model
        self.call.key = self.credential()
        state = self.standin.keys.get(self.call.key) or Health.invalid()
        if refusal := state.refusal(self.call.key, model, self.standin.clock()):
            raise RefusedError(refusal)

    async def pause(self, seconds: float, sent: int) -> None:
        """Let time pass, but no longer than the other side stays; then break off, if that is due now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone.wait()
        if sent == self.standin.break_after and not self.gone.is_set():
            self.detach().close()
            self.call.ended = self.standin.clock()
            self.gone.set()
        if self.gone.is_set():
            raise Finish

    def head(self, content_type: str) -> None:
        self.set_header("Content-Type", content_type)
        self.set_header("Server-Timing", f"gfet4t7; dur={self.request.request_time() * 1000:.0f}")

    async def answer(self, document: Json) -> None:
        await self.pause(self.standin.think, 0)
        self.send(pretty(document))

    def send(self, text: str) -> None:
        body = text.encode()
        if self.framing == "document" and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            self.set_header("Content-Encoding", "gzip")
        self.head(_SSE if self.framing == "sse" else _JSON)
        self.finish(body)

    async def stream(self, frames: Iterable[str], content_type: str, closing: str = "") -> None:
        """Answer frame by frame, each sent before the next is made; ``closing`` follows the last at once."""
        self.head(content_type)
        self.set_header("Content-Disposition", "attachment")
        self.call.status = 200
        for sent, frame in enumerate(frames):
            if sent:
                await self.pause(self.standin.pace, sent)
            self.write(frame)
            try:
                await self.flush()
            except StreamClosedError:
                self.on_connection_close()  # Tornado would call it one round of the loop later
                raise Finish from None
        self.finish(closing)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401 - Tornado's
        error = kwargs.get("exc_info", (None, None))[1]
        refusal = _NOT_FOUND if status_code in {404, 405} else Refusal(status_code, self._reason)
        if isinstance(error, RefusedError):
            refusal = error.refusal
        self.set_status(refusal.code)
        text = pretty(refusal.body(openai=self.openai))
        self.send(f"[{text}]\n" if self.openai or self.framing == "array" else text)


class _Models(_Handler):
    def get(self, version: str, model: str = "") -> None:
        self.admit()
        size, token = self.get_query_argument("pageSize", ""), self.get_query_argument("pageToken", "")
        one = models.describe(model, version) if model else None
        self.send(pretty(one or models.list_models(version, size, token)))


class _Ask(_Handler):
    async def post(self, version: str, model: str, method: str) -> None:
        self.admit(model)
        models.find(model, method, version)
        body = models.parse(self.call.body)
        if method in models.UNARY:
            return await self.answer(models.UNARY[method](body))
        prompt = models.prompt_of(body)
        pieces = models.answer_to(prompt, self.standin.chunks, self.standin.chunk_bytes)
        if self.framing == "document":
            return await self.answer(next(models.events_of(model, prompt, ["".join(pieces)])))
        await self.pause(self.standin.think, 0)
        events = models.events_of(model, prompt, pieces)
        if self.framing == "array":
            return await self.stream(models.array(events), _JSON, "]\n")
        return await self.stream(map(models.sse, events), _SSE)


class _OpenAi(_Handler):
    openai = True

    def question(self, method: str) -> tuple[str, Json]:
        """Return the model and the body, once they may be answered."""
        self.credential()  # is missed before a body is
        body = models.parse(self.call.body)
        model = str(body.get("model")).removeprefix("models/")
        self.admit(model)
        models.find(model, method, models.OPENAI_VERSION)
        return model, body


class _OpenAiModels(_OpenAi):
    def get(self, _version: str, model: str = "") -> None:
        self.admit()
        found = [models.openai_model(name) for name in ([model] if model else models.MODELS)]
        self.send(pretty(found[0] if model else {"object": "list", "data": found}))


class _Chat(_OpenAi):
    async def post(self, _version: str) -> None:
        model, body = self.question("generateContent")
        prompt = models.prompt_of(body)
        pieces = models.answer_to(prompt, self.standin.chunks, self.standin.chunk_bytes)
        completion = models.Completion(model, prompt, pieces, self.standin.clock())
        if not body.get("stream"):
            return await self.answer(completion.whole())
        await self.pause(self.standin.think, 0)
        options = body.get("stream_options") or {}
        closing = models.openai_sse(completion.usage_chunk()) if options.get("include_usage") else ""
        frames = map(models.openai_sse, completion.chunks())
        return await self.stream(frames, _SSE, closing + "data: [DONE]\n\n")


class _Embeddings(_OpenAi):
    async def post(self, _version: str) -> None:
        model, body = self.question("embedContent")
        await self.answer(models.openai_embeddings(model, body))


_ROUTES: list[tuple[str, type[_Handler]]] = [  # after the version
    ("/models", _Models),
    (r"/models/([^/:]+?)(?::|%3[Aa])(\w+)", _Ask),
    ("/models/([^/:]+)", _Models),
    ("/openai/models", _OpenAiModels),
    ("/openai/models/(?:models(?:/|%2[Ff]))?([^/]+)", _OpenAiModels),
    ("/openai/chat/completions", _Chat),
    ("/openai/embeddings", _Embeddings),
]
