"""Batches of the mock's projects: many requests in one, which succeed at the second poll."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from proxycore.demo import model as models
from proxycore.demo import store as stores
from proxycore.demo.files import Collection
from proxycore.demo.handler import COLON, Handler
from proxycore.demo.model import pretty
from proxycore.demo.refusal import Json
from proxycore.demo.store import Owned, identifier, stamp

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."
_KINDS = {"batchGenerateContent": "GenerateContentBatch", "asyncBatchEmbedContent": "EmbedContentBatch"}
_ANY = {"contents": [{"parts": [{"text": "a line of the file"}]}]}  # the file's content is not stored


class _Batch(Handler):
    """Create a batch."""

    async def post(self, version: str, model: str, method: str) -> None:
        await self.admit(model, method)
        models.find(model, method, version)
        batch = self.document().get("batch") or {}
        source = batch.get("inputConfig") or batch.get("input_config") or {}
        answer = self.answering(model, method)
        name, now = f"batches/{identifier()}", stamp(self.mock.clock())
        if file := stores.file_name(source.get("fileName") or source.get("file_name")):
            count = self.owned(file).lines
            output: Json = {"responsesFile": self.results(name, (answer(_ANY) for _ in range(count)))}
        else:
            asked = (source.get("requests") or {}).get("requests") or []
            answers = [_inlined(each, answer(each.get("request") or {})) for each in asked]
            count, output = len(asked), {"inlinedResponses": {"inlinedResponses": answers}}
        metadata: Json = {"@type": _TYPE + _KINDS[method], "model": f"models/{model}", "name": name}
        metadata |= {"displayName": batch.get("displayName", ""), "createTime": now, "updateTime": now}
        pending = {"requestCount": str(count), "pendingRequestCount": str(count)}
        done = {"requestCount": str(count), "successfulRequestCount": str(count)}
        later = {"state": "BATCH_STATE_SUCCEEDED", "batchStats": done, "endTime": now, "output": output}
        response = {"@type": f"{_TYPE}{_KINDS[method]}Output", **output}
        metadata |= {"state": "BATCH_STATE_PENDING", "batchStats": pending}
        first = {"name": name, "metadata": metadata}
        last = {"name": name, "metadata": metadata | later, "done": True, "response": response}
        self.mock.store.put(self.call.key, Owned(first, self.mock.clock(), next=last))
        await self.answer(first)

    def answering(self, model: str, method: str) -> Callable[[Json], Json]:
        """Return what answers one request of a batch."""
        if method == "asyncBatchEmbedContent":
            return models.UNARY["embedContent"]

        def generate(request: Json) -> Json:
            prompt = models.prompt_of(request)
            pieces = models.answer_to(prompt, self.mock.chunks, self.mock.chunk_bytes)
            return models.whole(model, prompt, "".join(pieces))

        return generate

    def results(self, batch: str, answers: Iterator[Json]) -> str:
        """Write answers to a file, one a line; return its name."""
        numbered = enumerate(answers, 1)
        lines = [json.dumps({"key": f"request-{n}", "response": each}) + "\n" for n, each in numbered]
        name = f"files/{batch.replace('/', '-').replace('batches', 'batch')}"
        content = "".join(lines).encode()
        file = stores.generated(name, "application/jsonl", self.mock.clock(), content)
        self.mock.store.put(self.call.key, file)
        return name


def _inlined(asked: Json, response: Json) -> Json:
    return {"response": response, **({"metadata": asked["metadata"]} if "metadata" in asked else {})}


class _Batches(Collection):
    """List batches, and read one: the first read completes it."""

    async def get(self, _version: str, name: str = "") -> None:
        await self.admit()
        if not name:
            mine = self.mock.store.collection(self.call.key, "batches")
            return self.page("operations", mine, 10, self.call.key)
        batch = self.owned(name)
        seen, batch.document, batch.next = batch.document, batch.next or batch.document, None
        return self.send(pretty(seen))


class _Cancel(Handler):
    """Cancel a batch."""

    async def post(self, _version: str, name: str) -> None:
        await self.admit()
        batch = self.owned(name)
        if batch.next:
            batch.document["metadata"] |= {"state": "BATCH_STATE_CANCELLED"}
            batch.next = None
        await self.answer({})


ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    (rf"/models/([^/:]+?){COLON}({'|'.join(_KINDS)})", _Batch),
    ("/batches", _Batches),
    ("/(batches/[^/:]+)", _Batches),
    (rf"/(batches/[^/:]+){COLON}cancel", _Cancel),
]
