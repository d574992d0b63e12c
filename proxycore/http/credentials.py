"""Credentials in queries, and the header field that presents a key to the upstream. Pure."""

import re
from urllib.parse import unquote

from proxycore.http.fields import Field

_OPENAI = re.compile(r"/v\d[A-Za-z0-9]*/openai(?:/|$)")

CREDENTIAL_PARAMETERS = frozenset({"key", "access_token", "oauth_token"})
"""Query parameters that Google's front end accepts as a credential (from its discovery documents)."""


def without_credentials(query: str, except_for: str = "") -> str:
    """The query string without its credential parameters except `except_for`, every other byte unchanged."""
    dropped = CREDENTIAL_PARAMETERS - {except_for}
    return "&".join(part for part in query.split("&") if _parameter(part) not in dropped)


def query_values(query: str, name: str) -> list[str]:
    """The values of a credential parameter, percent-decoded."""
    return [unquote(part.partition("=")[2]) for part in query.split("&") if _parameter(part) == name]


def credential_part(query: str) -> str:
    """The part of a query (`key=…`) that holds the client's key; empty if there is none."""
    return next((part for part in query.split("&") if _parameter(part) == "key"), "")


def _parameter(part: str) -> str:
    # Google accepts its system parameters with and without a leading `$`.
    name = part.partition("=")[0]
    return (unquote(name) if "%" in name else name).removeprefix("$")


def credential(secret: str, target: str) -> Field:
    """The header field that presents a key in an upstream request for this target (path and query).

    It has to be the request's only credential: Google refuses a request with two.
    """
    if _OPENAI.match(target):
        return ("Authorization", f"Bearer {secret}")
    return ("x-goog-api-key", secret)
