"""Errors that are no key's fault: Google's own, and those of gateways and firewalls in between."""

from __future__ import annotations

from enum import Enum

from proxycore.demo.refusal import Foreign, Refusal

INTERNAL = Refusal(500, "Internal error encountered.")
HIGH_DEMAND = Refusal(  # theopenco/llmgateway#3616
    503,
    "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try"
    " again later.",
)
OVERLOADED = Refusal(503, "The model is overloaded. Please try again later.")  # the same, until 2026
TOO_LATE = Refusal(503, "Deadline expired before operation could complete.")  # python-genai#1808
CANCELLED = Refusal(  # google-gemini/gemini-cli#20309
    499,
    "The operation was cancelled.",
    interactions=Refusal(499, "The operation was cancelled.", word="cancelled"),
)
ABORTED = Refusal(  # googleapis/googleapis, google/rpc/code.proto
    409,
    "The operation was aborted.",
    interactions=Refusal(409, "The operation was aborted.", word="aborted"),
)
DEADLINE = Refusal(504, "Deadline expired before operation could complete.")

_JSON = '{"success":false,"result":[],"error":[{"code":1000,"message":"Unauthorized"}]}'
_HTML = "<html><head><title>Forbidden</title></head><body><h1>Forbidden</h1></body></html>\n"
_OPENAI = (
    '{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,'
    '"code":"invalid_api_key"}}'
)


class Gateway(Enum):
    """What gateways and firewalls refuse with: a content type and a body."""

    JSON = ("application/json", _JSON)
    OPENAI = ("application/json", _OPENAI)
    TEXT = ("text/plain", "Unauthorized")
    HTML = ("text/html", _HTML)
    EMPTY = ("", "")

    def refusal(self, code: int) -> Foreign:
        """Return such an answer with a status code."""
        content_type, body = self.value
        return Foreign(code, body, content_type=content_type)
