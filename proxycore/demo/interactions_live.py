"""Live interactions with the mock, over WebSockets, and the ephemeral tokens for one of them.

A session continues an interaction of its key's project, or makes one; input is echoed.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from proxycore.demo import model as models
from proxycore.demo import refusal as refusals
from proxycore.demo.handler import Handler
from proxycore.demo.live import Live
from proxycore.demo.model import pretty
from proxycore.demo.refusal import Json, RefusedError
from proxycore.demo.store import Owned, identifier, stamp

_TOKEN = "auth_tokens/"  # noqa: S105 - how every ephemeral token begins
_VIOLATION, _NORMAL = 1008, 1000
_LIFETIME = 1800.0  # seconds of a token


class InteractionLive(Live):
    """One session. Its first event says which interaction it is about."""

    number = ""  # the interaction's, once it is known

    def credential(self) -> str:
        """Return the key, or the key whose project made the ephemeral token."""
        keys, _ = self.credentials()
        if not keys or not keys[0].startswith(_TOKEN):
            return super().credential()
        owner = self.mock.store.owner(keys[0])
        if len(keys) > 1 or not owner:
            raise RefusedError(refusals.UNSUPPORTED_TOKEN)
        return owner

    async def receive(self, event: Json) -> None:
        """Answer a message: one event, or a list of them. Its names are in camel case here."""
        events = event.get("events", [event])
        for each in events if isinstance(events, list) else []:
            if self.ws_connection and isinstance(each, dict):
                await self.handle(str(each.get("eventType")), each)

    async def handle(self, kind: str, event: Json) -> None:
        """Answer an event."""
        if not self.number:
            await self.begin(kind, event)
        elif kind == "input":
            text = f"You said: {models.text_of(event.get('content'))}"
            await self.send_event("step.start", index=0, step={"type": "model_output"})
            await self.send_event("step.delta", index=0, delta={"type": "text", "text": text})
            await self.send_event("step.stop", index=0)
        elif kind == "interaction.complete":
            brief = {"id": self.number, "object": "interaction", "status": "completed"}
            await self.send_event("interaction.completed", interaction=brief)
            self.close(_NORMAL)

    async def begin(self, kind: str, event: Json) -> None:
        """Continue an interaction, or make one."""
        if kind == "interaction.create":
            self.number = f"v1_{secrets.token_urlsafe(32)}"
            self.call.model = str(event.get("model")).removeprefix("models/")
            self.keep({"name": f"interactions/{self.number}", "interaction": {"id": self.number}})
            await self.send_event("interaction.created", interaction_id=self.number)
        elif self.mock.store.get(self.call.key, f"interactions/{event.get('id')}"):
            self.number = str(event["id"])
            await self.send_event("interaction.connected", interaction_id=self.number)
        else:
            self.refuse("Requested entity was not found.", _VIOLATION)

    async def send_event(self, kind: str, **event: Any) -> None:  # noqa: ANN401 - JSON
        """Send an event."""
        await self.write_message(json.dumps({"event_type": kind, **event}, ensure_ascii=False))


class _Tokens(Handler):
    """The tokens of an interaction."""

    async def post(self, _version: str, number: str) -> None:
        await self.admit()
        self.known(number)
        name, until = f"{_TOKEN}{identifier(64)}", self.mock.clock() + _LIFETIME
        self.mock.store.put(self.call.key, Owned({"name": name}, self.mock.clock()))
        await self.answer({"auth_token": name, "expires_at": stamp(until)})

    async def delete(self, _version: str, number: str, token: str) -> None:
        await self.admit()
        self.known(number)
        self.mock.store.drop(self.call.key, self.owned(f"{_TOKEN}{token}").name)
        self.send(pretty({}))

    def known(self, number: str) -> None:
        """Refuse when it is no interaction of the project that asks."""
        if not self.mock.store.get(self.call.key, f"interactions/{number}"):
            raise RefusedError(refusals.NO_INTERACTION)


ROUTES: list[tuple[str, type[Handler]]] = [  # after the version
    ("/interactions/live", InteractionLive),
    ("/interactions/([^/:]+)/auth_tokens", _Tokens),
    ("/interactions/([^/:]+)/auth_tokens/([^/:]+)", _Tokens),
]
