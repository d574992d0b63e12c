"""Lanes: the units for which Google counts a project's quotas. Pure.

    gemini-2.5-flash                      a model
    gemini-2.5-flash:cachedContents       one of its methods that has quotas of its own
    gemini-2.5-flash+google_search        a model with a tool: the model's quotas, but own refusals

A lane is a string, so that it can be shown and sent to other processes unchanged.
"""

import re
from functools import lru_cache

_METHODS = re.compile(
    r":(countTokens|batchGenerateContent|asyncBatchEmbedContent)$|/(cachedContents)$", re.ASCII
)
# Tools that a model's free tier may lack (ai.google.dev/gemini-api/docs/pricing), as members of `tools` and
# as its types (Interactions).
_TOOL = re.compile(
    rb'"(google_?search(?:_?retrieval)?|google_?maps|url_?context|code_?execution|file_?search|computer_?use)"'
    rb"\s{0,16}(:|[,}\]])",
    re.IGNORECASE,
)
_TOOLS = b'"tools"'
_SEARCHED = 64 * 1024  # bytes after the member's name
_REMEMBERED = 1024  # lanes and paths whose parts are cached: each request needs them several times
_WORDS = {
    "googlesearch": "google_search",
    "googlesearchretrieval": "google_search",
    "googlemaps": "google_maps",
    "urlcontext": "url_context",
    "codeexecution": "code_execution",
    "filesearch": "file_search",
    "computeruse": "computer_use",
}


def lane_of(model: str, path: str, body: bytes | bytearray) -> str:
    """The lane of a request for this model (empty: none) with this path and body."""
    if not model:
        return ""
    if method := _method_in(path):
        return f"{model}:{method}"
    tool = _tool_in(body)
    return f"{model}+{tool}" if tool else model


@lru_cache(_REMEMBERED)
def model_of(lane: str) -> str:
    """The model of a lane."""
    return re.split(r"[:+]", lane, maxsplit=1)[0] if ":" in lane or "+" in lane else lane


@lru_cache(_REMEMBERED)
def counted_as(lane: str) -> str:
    """The lane whose quotas a request of this one spends."""
    return lane.partition("+")[0] if "+" in lane else lane


@lru_cache(_REMEMBERED)
def _method_in(path: str) -> str:
    """The method in a path that has quotas of its own; empty if it is none of those."""
    match = _METHODS.search(path)
    return match[1] or match[2] if match else ""


def _tool_in(body: bytes | bytearray) -> str:
    """The first of Google's own tools in a request; empty if there is none."""
    at = body.find(_TOOLS)
    if at < 0:
        return ""
    # Inside a string the quotation mark after a name would be escaped.
    found = _TOOL.search(body, at, at + _SEARCHED)
    return _WORDS[found[1].decode().lower().replace("_", "")] if found else ""
