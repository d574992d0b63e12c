"""Live sessions with the mock, over WebSockets: it echoes its input.

Google sends its JSON in binary frames. What is not JSON is echoed unchanged, for tests of the proxy.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from dataclasses import replace
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from proxycore.demo import model as models
from proxycore.demo import refusal as refusals
from proxycore.demo.asked import Stage, tools_in
from proxycore.demo.handler import Handler
from proxycore.demo.refusal import Json, Refusal, RefusedError
from proxycore.demo.store import identifier

PATH = r"/+ws/google\.ai\.generativelanguage\.(v1|v1alpha|v1beta)\.GenerativeService\.BidiGenerateContent"
_LONGEST_REASON = 123  # bytes: what a close frame has room for
_INVALID, _VIOLATION = 1007, 1008  # RFC 6455: a malformed message, any other fault
_INTERNAL = 1011  # the server's own errors; Google uses it for quotas as well
_METHOD = "bidiGenerateContent"


class Live(Handler, WebSocketHandler):
    """One session, from its handshake on. Its call is open for as long as it lasts."""

    model = ""  # none before the setup

    def credential(self) -> str:
        """Return the key, or the key whose project made the ephemeral token."""
        keys, fields = self.credentials()
        tokens = self.get_query_arguments("access_token")
        if len(keys) + len(fields) + len(tokens) > 1:
            raise RefusedError(refusals.TWO_CREDENTIALS)
        tokens += [field.partition(" ")[2] for field in fields if field.lower().startswith("token ")]
        if not tokens:
            return super().credential()
        owner = self.mock.store.owner(tokens[0]) if tokens[0].startswith("auth_tokens/") else None
        if not owner:
            raise RefusedError(refusals.UNSUPPORTED_TOKEN)
        return owner

    def check_origin(self, _origin: str) -> bool:
        """Accept every origin."""
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Take the first that is offered."""
        return subprotocols[0] if subprotocols else None

    async def get(self, *args: str) -> None:
        """Refuse the handshake as any request is refused, or upgrade."""
        self.call.key = self.credential()
        await self.judge(replace(self.asked(method=_METHOD), stage=Stage.HANDSHAKE))
        await super().get(*args)

    def open(self, *args: str) -> None:
        """Record that the session has begun."""
        self.version = args[0]
        self.socket = self.ws_connection
        self.call.status = 101
        self.mock.sessions.add(self)

    def cut(self) -> None:
        """End the session without a close frame."""
        if self.socket:
            self.socket.on_connection_close()

    def on_finish(self) -> None:
        """Record that the response was written, unless it begins a session."""
        if self.get_status() != 101:
            super().on_finish()

    def on_connection_close(self) -> None:
        """Record the end of the connection."""
        WebSocketHandler.on_connection_close(self)  # `Handler` would record a cut request

    def on_close(self) -> None:
        """Record the client's close code and reason."""
        self.call.close_code, self.call.close_reason = self.close_code, self.close_reason
        self.call.cut = self.close_code is None
        self.call.ended = self.mock.clock()
        self.mock.sessions.discard(self)
        self.gone.set()

    async def on_message(self, message: str | bytes) -> None:
        """Close if the mock is set to; else respond, or echo what is not JSON."""
        with contextlib.suppress(WebSocketClosedError):
            if self.mock.live_close:
                self.close(*self.mock.live_close)
            elif (event := _parsed(message)) is None:
                await self.write_message(message, binary=isinstance(message, bytes))
            else:
                await self.receive(event)

    async def receive(self, event: Json) -> None:
        """Answer a message."""
        if not self.model:
            return await self.set_up(event.get("setup"))
        turn: Json = {"parts": [{"text": "You said: "}]}
        if "clientContent" in event:
            turn["role"] = "model"
            turn["parts"][0]["text"] += models.text_of(event["clientContent"].get("turns"))
            return await self.send_json({"serverContent": {"modelTurn": turn, "turnComplete": True}})
        if "realtimeInput" in event:
            turn["parts"][0]["text"] += _input_text(event["realtimeInput"])
            return await self.send_json({"serverContent": {"modelTurn": turn}})
        return None

    async def set_up(self, setup: Any) -> None:  # noqa: ANN401 - JSON
        """Begin the session, if the setup is one, and its model and the session to resume exist."""
        if not isinstance(setup, dict):
            return self.refuse("The first message has to be a setup.", _INVALID)
        model = str(setup.get("model")).removeprefix("models/")
        asked = replace(self.asked(model, _METHOD), tools=tools_in(setup), stage=Stage.SETUP)
        try:
            await self.judge(asked)
            models.find(model, _METHOD, self.version)
        except RefusedError as error:
            return self.refuse(error.refusal.message, _code(error.refusal))
        resumption = setup.get("sessionResumption")
        handle = (resumption or {}).get("handle")
        if handle and not self.mock.store.get(self.call.key, f"handles/{handle}"):
            return self.refuse("BidiGenerateContent session not found")
        self.model = self.call.model = model
        await self.send_json({"setupComplete": {}})
        if resumption is not None:
            handle = identifier(64)
            self.keep({"name": f"handles/{handle}"})
            await self.send_json({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})
        return None

    def refuse(self, reason: str, code: int = _VIOLATION) -> None:
        """Close, with as much of the reason as there is room for."""
        self.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))

    async def send_json(self, message: Json) -> None:
        """Send a message, in the kind of frame that ``live_binary`` asks for."""
        await self.write_message(json.dumps(message, ensure_ascii=False), binary=self.mock.live_binary)


def _code(refusal: Refusal) -> int:
    """Return what Live closes with in place of a status: 1011 for a quota (sohzm/cheating-daddy#455)."""
    if refusal.code == 400:
        return _INVALID
    return _INTERNAL if refusal.code in {402, 429} or refusal.code >= 500 else _VIOLATION


def _parsed(message: str | bytes) -> Json | None:
    try:
        document = json.loads(message)
    except ValueError:
        return None
    return _in_camel_case(document) if isinstance(document, dict) else None


def _in_camel_case(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a document with its names as Google writes them; it reads snake case as well."""
    if isinstance(value, list):
        return [_in_camel_case(item) for item in value]
    if isinstance(value, dict):
        return {
            re.sub("_([a-z])", lambda found: found[1].upper(), name): _in_camel_case(item)
            for name, item in value.items()
        }
    return value


def _input_text(realtime: Json) -> str:
    """Return the text of the input, or how many bytes of anything else it has."""
    if "text" in realtime:
        return str(realtime["text"])
    blobs = [realtime.get("audio"), realtime.get("video"), *(realtime.get("mediaChunks") or [])]
    return f"{sum(len(base64.b64decode(blob['data'])) for blob in blobs if blob)} bytes"


ROUTES: list[tuple[str, type[Handler]]] = [(rf"{PATH}(?:Constrained)?", Live)]
