"""The paths of requests: which are relayed, which are other names, and which were probably meant. Pure."""

import re

from proxycore.affinity import COLLECTIONS

VERSION = r"v\d[A-Za-z0-9]*"
"""A version of the API in a path (`v1`, `v1beta`), as a regular expression.

Not `\\d+`: what could match in two ways takes seconds for a path of many digits.
"""

RELAYED = rf"/+(?:{VERSION}|download/{VERSION}|\$discovery|openai)/.*"
"""The paths that are relayed with their body held, as a regular expression."""

_OPENAI = "chat|completions|embeddings|images|audio|responses|moderations"  # where OpenAI's own methods begin

MISTAKEN = (
    rf"/+(?:{VERSION}/(?:(?:openai/)?{VERSION}|(?:openai/)+openai|{_OPENAI})"
    rf"|openai/(?:openai|v1/{VERSION}|(?!v1(?:/|$)){VERSION}))(?:/.*)?"
)
"""Paths that look like relayed ones and that no API of Google has, as a regular expression."""

_SHORT = 2048  # characters: longer paths are nobody's mistake

# What was probably meant, by the first rule that fits.
_MEANT = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        (r"/(?:health|healthz|healthcheck|alive|live|livez|ping)/?", "/healthz"),
        (r"/(?:ready|readyz|readiness)/?", "/readyz"),
        (r"/status(?:\.json)?/?", "/status.json"),
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
    """The path as it goes upstream: one slash at its start, and Google's own name of the OpenAI path."""
    path = "/" + path.lstrip("/")
    return _ALIAS.sub("/v1beta/openai", path, count=1) if _ALIAS.match(path) else path


def meant(path: str) -> str | None:
    """The path that was probably meant by one that is not relayed; None when that is not known."""
    if not path.startswith("/") or len(path) > _SHORT or "/." in path or "%2" in path:
        return None  # dots, plain or escaped, may be segments that lead elsewhere
    written = "/" + path.lstrip("/")
    for pattern, replacement in _MEANT:
        if match := pattern.fullmatch(written):
            found = match.expand(replacement)
            return None if found == path or re.fullmatch(MISTAKEN, found) else found
    return None
