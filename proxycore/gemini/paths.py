"""Request paths: which are relayed, which are aliases, and which one a wrong path probably meant. Pure."""

import re

from proxycore.gemini.request_scope import COLLECTIONS

VERSION = r"v\d[A-Za-z0-9]*"
"""A version of the API in a path (`v1`, `v1beta`), as a regular expression.

Not `\\d+`: a pattern that could match in two ways takes seconds for a path of many digits.
"""

RELAYED = rf"/+(?:{VERSION}|download/{VERSION}|\$discovery|openai)/.*"
"""The paths that are relayed with the body held in memory, as a regular expression."""

_OPENAI = "chat|completions|embeddings|images|audio|responses|moderations"  # OpenAI's first segments

MISTAKEN = (
    rf"/+(?:{VERSION}/(?:(?:openai/)?{VERSION}|(?:openai/)+openai|{_OPENAI})"
    rf"|openai/(?:openai|v1/{VERSION}|(?!v1(?:/|$)){VERSION}))(?:/.*)?"
)
"""Paths that look like relayed ones but exist in none of Google's APIs, as a regular expression."""

_SHORT = 2048  # characters: longer paths are not mistyped ones

# The first rule that matches gives the path that was probably meant.
_MEANT = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        (r"/(?:health|healthz|healthcheck|alive|live|livez|ping)/?", "/healthz"),
        (r"/(?:ready|readyz|readiness)/?", "/readyz"),
        (r"/status(?:\.json)?/?", "/status.json"),
        (r"/usage/?", "/usage.json"),
        (r"/history/?", "/history.json"),
        (r"/requests/?", "/requests.json"),
        (r"/events/?", "/events.json"),
        (r"/(?:metrics?|prometheus)/?", "/metrics"),
        (r"/(?:index\.html|page|ui|admin|dashboard)/?", "/"),
        (r"/(?:.*?/)??((?:chat/completions|completions|embeddings|moderations)/?)", r"/v1beta/openai/\1"),
        (r"/(?:.*?/)??((?:images|audio|responses)(?:/.*)?)", r"/v1beta/openai/\1"),
        (rf"/.*openai/{VERSION}/(.+)", r"/v1beta/openai/\1"),
        (r"/.*openai/(.+)", r"/v1beta/openai/\1"),
        (r"/(?:.*/)?openai/?", "/v1beta/openai/models"),
        (rf"/(?:.*/)?(upload|download)/(?:.*/)?({VERSION}/.+)", r"/\1/\2"),
        (rf"/(?:.*/)?(upload|download)/((?:{COLLECTIONS})(?:[/:].*)?)", r"/\1/v1beta/\2"),
        (rf"/.*/({VERSION}/.+)", r"/\1"),
        (rf"/(?:.*?/)??((?:models|{COLLECTIONS})(?:[/:].*)?)", r"/v1beta/\1"),
        (rf"/(?:.*/)?({VERSION})/?", r"/\1/models"),
        (r"/(?:.*/)?(google\.ai\.generativelanguage\..+)", r"/ws/\1"),
    )
)
_ALIAS = re.compile(r"/openai(?:/v1(?=/|$))?(?=/|$)")


def canonical(path: str) -> str:
    """The path for the upstream: one leading slash, and Google's own form of an OpenAI path."""
    path = "/" + path.lstrip("/")
    return _ALIAS.sub("/v1beta/openai", path, count=1) if _ALIAS.match(path) else path


def probable_path(path: str) -> str | None:
    """The path that was probably meant by one that is not relayed; None if no rule matches."""
    if not path.startswith("/") or len(path) > _SHORT or "/." in path or "%2" in path:
        return None  # dot segments, plain or escaped, would resolve to another path
    written = "/" + path.lstrip("/")
    for pattern, replacement in _MEANT:
        if match := pattern.fullmatch(written):
            found = match.expand(replacement)
            return None if found == path or re.fullmatch(MISTAKEN, found) else found
    return None
