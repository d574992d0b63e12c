"""Credentials: those that clients send in queries, and the one that is sent upstream. Pure."""

import re
from urllib.parse import unquote

from proxycore.http.fields import Field

_OPENAI = re.compile(r"/v\d[A-Za-z0-9]*/openai(?:/|$)")

CREDENTIAL_PARAMETERS = frozenset({"key", "access_token", "oauth_token"})
"""Query parameters that Google's front end accepts as a credential (from its discovery documents)."""


def without_credentials(query: str, kept: str = "") -> str:
    """The query string without its credential parameters except `kept`, every other byte unchanged."""
    dropped = CREDENTIAL_PARAMETERS - {kept}
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
    """The header field with the only credential of an upstream request for this target.

    Google refuses a request with two.
    """
    if _OPENAI.match(target):
        return ("Authorization", f"Bearer {secret}")
    return ("x-goog-api-key", secret)
