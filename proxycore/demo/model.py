"""The mock's models and their answers: from a request's body to documents and events like Google's.

Shapes are those of recorded traffic (googleapis/js-genai, test/system/recordings) and of the API's reference.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from proxycore.demo.refusal import INVALID_ARGUMENT, Json, Refusal, RefusedError

PROSE = (
    " This response comes from a mock of the Gemini API, so no model was involved. It arrives in chunks, as"
    " it would from the API itself, and the proxy forwards each chunk as soon as it arrives. Send the request"
    " again, and it may be served with another key."
)
_PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
DIMENSIONS = 3072  # of a vector of gemini-embedding-001
_GENERATE, _EMBED = ("generateContent", "countTokens"), ("embedContent", "countTokens")
_LIVE = ("countTokens", "bidiGenerateContent")
MODELS = {  # name: version, tokens in, tokens out, methods as Google lists them
    "gemini-2.5-pro": ("2.5", 1_048_576, 65_536, _GENERATE),
    "gemini-2.5-flash": ("001", 1_048_576, 65_536, _GENERATE),
    "gemini-2.0-flash": ("2.0", 1_048_576, 8_192, _GENERATE),
    "gemini-3-flash-preview": ("3-flash-preview", 1_048_576, 65_536, _GENERATE),
    "gemini-embedding-001": ("001", 2_048, 1, _EMBED),
    "gemini-2.5-flash-live-preview": ("2.5-live", 131_072, 8_192, _LIVE),
    "gemini-live-2.5-flash-preview": ("2.5-live", 131_072, 8_192, _LIVE),
    "veo-3.0-generate-preview": ("3.0", 480, 8_192, ("predictLongRunning",)),
}
UNLISTED = {  # can be used, but are not in the list
    "imagen-4.0-generate-001": ("4.0", 480, 8_192, ("predict",)),
    "veo-2.0-generate-001": ("2.0", 480, 8_192, ("predictLongRunning",)),
}
OPENAI_VERSION = "v1main"  # what Google's 404 calls the OpenAI surface
_LISTED_AS = {
    "asyncBatchEmbedContent": "embedContent",
    "batchGenerateContent": "generateContent",
    "streamGenerateContent": "generateContent",
    "batchEmbedContents": "embedContent",
}


def pretty(document: Json) -> str:
    """Write a whole document as Google does, indented, and with < and > escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    return text.replace("<", r"\u003c").replace(">", r"\u003e") + "\n"


def sse(event: Json) -> str:
    """Write an event as the native stream has it with ``alt=sse``."""
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ': '))}\r\n\r\n"


def openai_sse(chunk: Json) -> str:
    """Write a chunk as the OpenAI surface streams it."""
    return f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n"


def array(events: Iterable[Json]) -> Iterator[str]:
    """Write events as the native stream has them without ``alt=sse``: an array, which is left open."""
    mark = "["
    for event in events:
        yield mark + pretty(event)
        mark = ",\n"


def parse(body: bytes | bytearray) -> Json:
    """Return the JSON object that a body has to be."""
    try:
        document = json.loads(body)
    except ValueError as problem:
        raise RefusedError(Refusal(400, f"Invalid JSON payload received. {problem}")) from None
    if not isinstance(document, dict):
        raise RefusedError(Refusal(400, "Invalid JSON payload received. Expected an object."))
    return document


def unknown(name: str, method: str, version: str) -> RefusedError:
    """Return the refusal of a model, named in full, that does not exist or cannot do this."""
    asked = "generateContent" if method == "streamGenerateContent" else method
    text = (
        f"{name} is not found for API version {version}, or is not supported for {asked}. Call"
        " ListModels to see the list of available models and their supported methods."
    )
    return RefusedError(Refusal(404, text))


def find(model: str, method: str, version: str) -> None:
    """Refuse a model that does not exist, or cannot do this."""
    known = MODELS.get(model) or UNLISTED.get(model)
    if known is None or _LISTED_AS.get(method, method) not in known[-1]:
        raise unknown(f"models/{model}", method, version)


def describe(model: str, version: str) -> Json:
    """Return one entry of the list of models."""
    if model not in MODELS:
        raise unknown(f"models/{model}", "getModel", version)
    number, tokens_in, tokens_out, methods = MODELS[model]
    return {
        "name": f"models/{model}",
        "version": number,
        "displayName": model.replace("-", " ").title(),
        "inputTokenLimit": tokens_in,
        "outputTokenLimit": tokens_out,
        "supportedGenerationMethods": methods,
    }


def text_of(value: object) -> str:
    """Return the text in a turn, a part, or a list of these, of either surface."""
    if isinstance(value, list):
        return " ".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return text_of(value.get("text") or value.get("parts") or value.get("content"))
    return value if isinstance(value, str) else ""


def prompt_of(body: Json) -> str:
    """Return the text of the last of ``contents`` or of OpenAI's ``messages``, or of a plain ``prompt``."""
    turns = body.get("contents") or body.get("messages") or body.get("prompt")
    if not turns:
        raise RefusedError(Refusal(400, "* GenerateContentRequest.contents: contents is not specified\n"))
    return text_of(turns[-1] if isinstance(turns, list) else turns)


def answer_to(prompt: str, chunks: int, chunk_bytes: int) -> list[str]:
    """Return the answer in so many pieces, each of ``chunk_bytes`` bytes, or of a few words with 0."""
    text = f'You asked: "{prompt[:200]}".{PROSE}'
    if chunk_bytes:
        filler = (PROSE * (chunk_bytes // len(PROSE) + 1))[:chunk_bytes]
        # The rest is one text many times, so that the longest stream takes no memory.
        return [(text + filler)[:chunk_bytes], *[filler] * (chunks - 1)]
    return split(text + PROSE * (chunks // len(PROSE)), chunks)


def split(text: str, pieces: int) -> list[str]:
    """Cut a text into so many pieces of about one length."""
    return [text[start:end] for start, end in pairwise(len(text) * n // pieces for n in range(pieces + 1))]


def tokens(*texts: str) -> int:
    """Return how many tokens texts are, approximately."""
    return sum(map(len, texts)) // 4 + 1


def events_of(model: str, prompt: str, pieces: Sequence[str]) -> Iterator[Json]:
    """Make the events of a native answer. Only the last says why it ends and what the answer cost.

    An event is valid until the next is made, since all are one object.
    """
    asked, answered = tokens(prompt), tokens(*pieces)
    candidate: Json = {}
    usage: Json = {"promptTokenCount": asked, "totalTokenCount": asked}
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": asked}]
    whole = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}
    whole["responseId"] = secrets.token_urlsafe(17)
    for number, text in enumerate(pieces, 1):
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
        if number == len(pieces):
            candidate |= {"finishReason": "STOP", "index": 0}
            usage |= {"candidatesTokenCount": answered, "totalTokenCount": asked + answered}
            usage["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": answered}]
        yield whole


def whole(model: str, prompt: str, text: str) -> Json:
    """Return a native answer as one document."""
    return next(events_of(model, prompt, [text]))


class Completion:
    """A chat completion of the OpenAI surface, whole or in chunks."""

    def __init__(self, model: str, prompt: str, pieces: Sequence[str], created: float) -> None:
        asked, answered = tokens(prompt), tokens(*pieces)
        self._pieces = pieces
        self._about: Json = {"id": secrets.token_urlsafe(17), "created": int(created), "model": model}
        self._usage = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }

    def whole(self) -> Json:
        """Return it as one document."""
        message = {"content": "".join(self._pieces), "role": "assistant"}
        choices = [{"finish_reason": "stop", "index": 0, "message": message}]
        return {**self._about, "object": "chat.completion", "choices": choices, "usage": self._usage}

    def chunks(self) -> Iterator[Json]:
        """Make its chunks. Only the last says why it ends."""
        for number, text in enumerate(self._pieces, 1):
            choice: Json = {"delta": {"content": text, "role": "assistant"}, "index": 0}
            if number == len(self._pieces):
                choice["finish_reason"] = "stop"
            yield self._chunk([choice])

    def usage_chunk(self) -> Json:
        """Return the chunk that ``stream_options.include_usage`` asks for, after all others."""
        return self._chunk([]) | {"usage": self._usage}

    def _chunk(self, choices: list[Json]) -> Json:
        return {"choices": choices, **self._about, "object": "chat.completion.chunk"}


def _vector(text: str, size: object) -> list[float]:
    """Return a unit vector, the same one whenever the text is the same."""
    length = size if isinstance(size, int) and 0 < size <= DIMENSIONS else DIMENSIONS
    numbers = [byte - 127.5 for byte in hashlib.shake_256(text.encode()).digest(length)]
    norm = math.hypot(*numbers)
    return [number / norm for number in numbers]


def _embedding(request: Json) -> Json:
    return {"values": _vector(text_of(request.get("content")), request.get("outputDimensionality"))}


def _count(body: Json) -> Json:
    total = tokens(prompt_of(body.get("generateContentRequest") or body))
    return {"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]}


def _images(body: Json) -> Json:
    pixel = {"mimeType": "image/png", "bytesBase64Encoded": _PIXEL}
    return {"predictions": [pixel for _ in body.get("instances") or []]}


UNARY: dict[str, Callable[[Json], Json]] = {  # the native methods that are answered in one go
    "countTokens": _count,
    "embedContent": lambda body: {"embedding": _embedding(body)},
    "batchEmbedContents": lambda body: {
        "embeddings": [_embedding(each) for each in body.get("requests", [])]
    },
    "predict": _images,
}


ANSWERED = ("generateContent", "streamGenerateContent", *UNARY)  # the native methods of requests


def _pack(vector: Sequence[float]) -> str:
    """Write a vector as OpenAI does in base64: little-endian floats of 32 bits."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def openai_embeddings(model: str, body: Json) -> Json:
    """Return the vectors of ``input``, a text or a list of them, as numbers or in base64 as the body asks."""
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError(INVALID_ARGUMENT)
    vectors = [_vector(text, body.get("dimensions")) for text in texts]
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": _pack(vector) if packed else vector}
        for n, vector in enumerate(vectors)
    ]
    total = tokens(*texts)
    return {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def openai_model(model: str) -> Json:
    """Return one entry of the OpenAI surface's list of models."""
    if model not in MODELS:
        raise unknown(f"models/{model}", "getModel", OPENAI_VERSION)
    return {"id": f"models/{model}", "object": "model", "owned_by": "google"}
