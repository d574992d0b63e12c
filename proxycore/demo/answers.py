"""Requests to models: lists, generation in every framing, embeddings, and the OpenAI surface."""

from __future__ import annotations

from proxycore.demo import model as models
from proxycore.demo.handler import COLON, JSON, SSE, Handler
from proxycore.demo.model import pretty
from proxycore.demo.refusal import Json, Refusal


class _Models(Handler):
    """The list of models, or one of them."""

    async def get(self, version: str, model: str = "") -> None:
        await self.admit()
        if model:
            return self.send(pretty(models.describe(model, version)))
        return self.page("models", [models.describe(name, version) for name in models.MODELS], 50)


class _Ask(Handler):
    """A request to a model, or to one that the project has tuned."""

    async def post(self, version: str, collection: str, model: str, method: str) -> None:
        name, tuned = f"{collection}/{model}", collection == "tunedModels"
        # Tokens are counted for nothing (ai.google.dev/gemini-api/docs/billing: GetTokens).
        await self.admit(name if tuned else model, method, is_free=method == "countTokens")
        if not tuned:
            models.find(model, method, version)
        if method not in models.ANSWERED or (tuned and not self.mock.store.get(self.call.key, name)):
            raise models.unknown(name, method, version)
        body = self.document()
        if method in models.UNARY:
            return await self.answer(models.UNARY[method](body))
        prompt = models.prompt_of(body)
        pieces = models.answer_to(prompt, self.mock.chunks, self.mock.chunk_bytes)
        if self.framing == "document":
            return await self.answer(models.whole(model, prompt, "".join(pieces)))
        await self.pause(self.mock.think, 0)
        events = models.events_of(model, prompt, pieces)
        if self.framing == "array":
            return await self.stream(models.array(events), JSON, "]")
        return await self.stream(map(models.sse, events), SSE)


class _OpenAi(Handler):
    """What requests to the OpenAI surface have in common."""

    openai = True

    def event(self, refusal: Refusal) -> str:
        return models.openai_sse(refusal.body())

    async def question(self, method: str) -> tuple[str, Json]:
        """Return the model and the body, once they may be answered."""
        self.credential()  # Google checks it before the body
        body = models.parse(self.call.body)
        model = str(body.get("model")).removeprefix("models/")
        self.streams = bool(body.get("stream"))
        await self.admit(model, method)
        models.find(model, method, models.OPENAI_VERSION)
        return model, body


class _OpenAiModels(_OpenAi):
    """The list of models as OpenAI has it, or one of them."""

    async def get(self, _version: str, model: str = "") -> None:
        await self.admit()
        found = [models.openai_model(name) for name in ([model] if model else models.MODELS)]
        self.send(pretty(found[0] if model else {"object": "list", "data": found}))


class _Chat(_OpenAi):
    """A chat completion."""

    async def post(self, _version: str) -> None:
        model, body = await self.question("generateContent")
        prompt = models.prompt_of(body)
        pieces = models.answer_to(prompt, self.mock.chunks, self.mock.chunk_bytes)
        completion = models.Completion(model, prompt, pieces, self.mock.clock())
        if not body.get("stream"):
            return await self.answer(completion.whole())
        await self.pause(self.mock.think, 0)
        options = body.get("stream_options") or {}
        closing = models.openai_sse(completion.usage_chunk()) if options.get("include_usage") else ""
        frames = map(models.openai_sse, completion.chunks())
        return await self.stream(frames, SSE, closing + "data: [DONE]\n\n")


class _Embeddings(_OpenAi):
    """Embeddings as OpenAI has them."""

    async def post(self, _version: str) -> None:
        model, body = await self.question("embedContent")
        await self.answer(models.openai_embeddings(model, body))


ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    ("/models", _Models),
    (rf"/(models|tunedModels)/([^/:]+?){COLON}(\w+)", _Ask),
    ("/models/([^/:]+)", _Models),
    ("/openai/models", _OpenAiModels),
    ("/openai/models/(?:models(?:/|%2[Ff]))?([^/]+)", _OpenAiModels),
    ("/openai/chat/completions", _Chat),
    ("/openai/embeddings", _Embeddings),
]
