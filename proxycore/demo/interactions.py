"""Interactions with the mock: answers that a project keeps, and that a later request can continue."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

from proxycore.demo import model as models
from proxycore.demo import refusal as refusals
from proxycore.demo.handler import SSE, Handler
from proxycore.demo.model import pretty
from proxycore.demo.refusal import Json, Refusal, RefusedError
from proxycore.demo.store import Owned, stamp

_BRIEF = ("id", "object", "model", "agent", "created", "updated")  # what the first event has
_FROM_BODY = ("model", "agent", "input", "previous_interaction_id")


class _Interaction(Handler):
    """One interaction: read and delete."""

    interactions = True

    def event(self, refusal: Refusal) -> str:
        data = {"event_type": "error", **self.on_this_surface(refusal).body()}
        return f"event: error\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

    def known(self, number: str) -> Owned:
        """Return an interaction of the project that asks. A new one cannot be found at once."""
        owned = self.mock.store.get(self.call.key, f"interactions/{number}")
        if owned is None or self.mock.clock() < owned.made + self.mock.interaction_delay:
            raise RefusedError(refusals.NO_INTERACTION)
        return owned

    async def show(self, document: Json, *, streamed: bool, after: str = "") -> None:
        """Respond with an interaction, or with its events after one that the client has."""
        if not streamed:
            return await self.answer({name: document[name] for name in document if name != "input"})
        await self.pause(self.mock.think, 0)
        frames = list(_events(document, self.mock.chunks))
        start = int(after) + 1 if after.isdigit() else 0
        return await self.stream(frames[start:], SSE, "event: done\ndata: [DONE]\n\n")

    async def get(self, _version: str, number: str = "") -> None:
        await self.admit()
        streamed = self.get_query_argument("stream", "") == "true"
        after = self.get_query_argument("last_event_id", "")
        await self.show(self.known(number).document["interaction"], streamed=streamed, after=after)

    async def delete(self, _version: str, number: str = "") -> None:
        await self.admit()
        self.mock.store.drop(self.call.key, self.known(number).name)
        self.send(pretty({}))


class _Interactions(_Interaction):
    """Create an interaction."""

    async def post(self, version: str) -> None:
        self.credential()  # Google checks it before the body
        body = models.parse(self.call.body)
        model = str(body.get("model") or "").removeprefix("models/")
        self.streams = bool(body.get("stream"))
        await self.admit(model or str(body.get("agent") or ""), "createInteraction")
        if not body.get("agent"):
            models.find(model, "generateContent", version)
        self.document()
        if previous := body.get("previous_interaction_id"):
            self.known(str(previous))
        document = self.answered(body)
        if body.get("store", True):
            name = f"interactions/{document['id']}"
            kept = Owned({"name": name, "interaction": document}, self.mock.clock())
            self.mock.store.put(self.call.key, kept)
        await self.show(document, streamed=bool(body.get("stream")))

    def answered(self, body: Json) -> Json:
        """Return the interaction that a request makes."""
        prompt = models.text_of(body.get("input"))
        text = "".join(models.answer_to(prompt, self.mock.chunks, self.mock.chunk_bytes))
        asked, answered = models.tokens(prompt), models.tokens(text)
        usage = {"total_input_tokens": asked, "total_output_tokens": answered}
        now = stamp(self.mock.clock())
        return {
            "id": f"v1_{secrets.token_urlsafe(32)}",
            "object": "interaction",
            "status": "completed",
            "created": now,
            "updated": now,
            "role": "model",
            **{name: body[name] for name in _FROM_BODY if name in body},
            "steps": [{"type": "model_output", "content": [{"type": "text", "text": text}]}],
            "usage": usage | {"total_tokens": asked + answered},
        }


class _Cancel(_Interaction):
    """Cancel an interaction."""

    async def post(self, _version: str, number: str = "") -> None:
        await self.admit()
        document = self.known(number).document["interaction"]
        document["status"] = "cancelled"
        await self.show(document, streamed=False)


def _events(document: Json, chunks: int) -> Iterator[str]:
    """Write the events that a streamed interaction consists of, with its text in so many pieces."""
    text = document["steps"][0]["content"][0]["text"]
    brief = {name: document[name] for name in _BRIEF if name in document}
    made: list[Json] = [
        {"event_type": "interaction.created", "interaction": brief | {"status": "in_progress"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    ]
    deltas = ({"type": "text", "text": piece} for piece in models.split(text, chunks))
    made += [{"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas]
    whole = brief | {"status": document["status"], "usage": document["usage"]}
    made.append({"event_type": "step.stop", "index": 0})
    made.append({"event_type": "interaction.completed", "interaction": whole})
    for number, event in enumerate(made):
        data = json.dumps(event | {"event_id": str(number)}, ensure_ascii=False)
        yield f"event: {event['event_type']}\ndata: {data}\n\n"


ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    ("/interactions", _Interactions),
    ("/interactions/([^/:]+)", _Interaction),
    ("/interactions/([^/:]+)/cancel", _Cancel),
]
