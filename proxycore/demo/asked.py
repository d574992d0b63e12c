"""A request as the health of its key judges it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tornado.httputil import HTTPHeaders

# Tools that search; on the free tier their quota is zero (hihumanzone/Gemini-Discord-Bot#48).
GROUNDING = frozenset({"googlesearch", "googlesearchretrieval", "googlemaps", "enterprisewebsearch"})
BATCHES = frozenset({"batchGenerateContent", "asyncBatchEmbedContent"})
CACHING = "cachedContents"
OWN_QUOTAS = BATCHES | {CACHING}  # methods that a model's quotas do not count


class Stage(Enum):
    """When a request is judged: a Live session is judged twice."""

    REQUEST = "request"
    HANDSHAKE = "Live handshake"
    SETUP = "Live setup message"


@dataclass(frozen=True, slots=True)
class Asked:
    """The properties of one request that a key's health depends on.

    ``model`` is empty for a request that asks no model anything, such as the list of models. That costs no
    quota and no money, and neither does one that ``is_free``. ``now`` is in seconds since the epoch, ``size``
    the bytes of the body; ``tools`` are named in lower case without underscores.
    """

    key: str
    model: str = ""
    now: float = 0.0
    method: str = ""
    version: str = "v1beta"
    is_free: bool = False
    size: int = 0
    tools: frozenset[str] = frozenset()
    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    address: str = ""  # of the client
    stage: Stage = Stage.REQUEST

    @property
    def costs(self) -> bool:
        """Whether it costs quota or money."""
        return bool(self.model) and not self.is_free

    @property
    def referrer(self) -> str:
        """The page that sent it, by Referer or else by Origin; empty if it has neither."""
        origin = self.headers.get("Origin", "")
        return self.headers.get("Referer") or (f"{origin}/" if origin else "")


def tools_of(body: bytes | bytearray) -> frozenset[str]:
    """Return the names of the tools that a body offers; none where it is no JSON."""
    if b'"tools"' not in body:
        return frozenset()
    try:
        document = json.loads(body)
    except ValueError:
        return frozenset()
    return tools_in(document)


def tools_in(document: Any) -> frozenset[str]:  # noqa: ANN401 - JSON
    """Return the names of the tools in a document: members natively, a ``type`` in the Interactions API."""
    tools = document.get("tools") if isinstance(document, dict) else None
    found = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    names = [name for tool in found for name in ([tool["type"]] if "type" in tool else tool)]
    return frozenset(str(name).replace("_", "").lower() for name in names)
