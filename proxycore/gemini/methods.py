"""Methods of the Gemini API: which may be repeated, which spend a quota, which create nothing. Pure."""

import re
from functools import lru_cache
from typing import NamedTuple

from proxycore.gemini.paths import canonical
from proxycore.gemini.request_scope import COLLECTIONS

_REMEMBERED = 256  # calls: most requests are for one of a few models
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 §9.2.2
# Repeating one of these costs tokens, but creates nothing twice. Any other POST may create something.
_COMPUTES = (
    ":generateContent",
    ":streamGenerateContent",
    ":countTokens",
    ":computeTokens",
    ":countTextTokens",
    ":countMessageTokens",
    ":embedContent",
    ":batchEmbedContents",
    ":embedText",
    ":batchEmbedText",
    ":generateText",
    ":generateMessage",
    ":generateAnswer",
    ":predict",
    ":query",
    "/openai/chat/completions",
    "/openai/completions",
    "/openai/embeddings",
    "/openai/images/generations",
    "/openai/images/edits",
    "/openai/images/variations",
    "/openai/audio/speech",
    "/openai/audio/transcriptions",
    "/openai/audio/translations",
    "/openai/moderations",
    # It may store its response (`store`). If a repeated call stored two, that does no harm.
    "/openai/responses",
)
# Counting tokens has a quota of its own, or none.
_FREE = (":countTokens", ":computeTokens", ":countTextTokens", ":countMessageTokens")

CONTINUED = re.compile(r"/models/gemini-(?![123]\b)[^/]*:(?:stream)?[gG]enerateContent$")
"""Generations that may end with a continuation token: models before version 4 have none."""

# Calls that create or return a resource.
_ABOUT_RESOURCES = re.compile(
    rf"(?:/(?:{COLLECTIONS})(?:[/:]|$))|:(?:batchGenerateContent|asyncBatchEmbedContent|predictLongRunning)$"
)


class ApiCall(NamedTuple):
    """What a request calls. `path` is the one that goes upstream.

    `repeatable` is whether it may be sent again when it is unknown whether the upstream processed it,
    `spends` whether it counts against a model's request quota, `streams` whether its method is one that
    streams, and `may_name` whether its response can contain the name of a resource.
    """

    path: str
    repeatable: bool
    spends: bool
    streams: bool
    may_name: bool


@lru_cache(_REMEMBERED)
def call_of(method: str, path: str) -> ApiCall:
    """What a request with this HTTP method and path calls."""
    path = canonical(path)
    return ApiCall(
        path,
        repeatable=repeatable(method, path),
        spends=spends(method, path),
        streams=path.endswith(":streamGenerateContent"),
        may_name=may_name(path),
    )


def repeatable(method: str, path: str) -> bool:
    """Whether a request may be sent again when it is unknown whether the upstream processed it."""
    return method in _IDEMPOTENT or (method == "POST" and computes(path))


def spends(method: str, path: str) -> bool:
    """Whether a request counts against a model's request quota."""
    return method == "POST" and not path.endswith(_FREE)


def may_name(path: str) -> bool:
    """Whether the response to a call to this path can contain the name of a resource."""
    if CONTINUED.search(path):
        return True
    return bool(_ABOUT_RESOURCES.search(path)) and not computes(path)


def computes(path: str) -> bool:
    """Whether a call to this path only computes a response and creates no resource."""
    return path.endswith(_COMPUTES)
