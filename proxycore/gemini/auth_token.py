"""Ephemeral tokens: Google's own credentials, created through this proxy for one client. Pure.

A request with a token is relayed with it instead of a key: the upstream decides what it allows
(ai.google.dev/gemini-api/docs/ephemeral-tokens).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from proxycore.http.credentials import query_values, without_credentials
from proxycore.http.fields import Field

_PREFIX = "auth_tokens/"
_PARAMETER = "access_token"


@dataclass(frozen=True, slots=True)
class AuthToken:
    """A token: its name, and the header field in which it arrived, None if it arrived in the query."""

    name: str
    field: Field | None

    def query(self, query: str) -> str:
        """The request's query for the upstream: without credentials other than the token."""
        return without_credentials(query, except_for="" if self.field else _PARAMETER)


def token_of(authorizations: Iterable[str], keys: Iterable[str], query: str) -> AuthToken | None:
    """The token that a request presents: in `Authorization: Token`, `?access_token=` or `x-goog-api-key`.

    `authorizations` and `keys` are the values of the two header fields. Google's SDK for Python uses both at
    once, of which Live reads the first.
    """
    for value in authorizations:
        scheme, _, name = value.strip().partition(" ")
        if scheme.lower() == "token" and name.strip().startswith(_PREFIX):
            return AuthToken(name.strip(), ("Authorization", value))
    for name in query_values(query, _PARAMETER) if query else ():
        if name.startswith(_PREFIX):
            return AuthToken(name, None)
    return next((AuthToken(key, ("x-goog-api-key", key)) for key in keys if key.startswith(_PREFIX)), None)
