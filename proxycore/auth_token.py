"""Ephemeral tokens: Google's own credentials, minted through this proxy for one client. Pure.

A request with one goes on with it alone, and no key of ours: what it allows is the upstream's to say
(ai.google.dev/gemini-api/docs/ephemeral-tokens).
"""

from dataclasses import dataclass

from tornado.httputil import HTTPHeaders

from proxycore.credentials import query_values, without_credentials
from proxycore.fields import Field

_PREFIX = "auth_tokens/"
_PARAMETER = "access_token"


@dataclass(frozen=True, slots=True)
class AuthToken:
    """A token. `field` is the header field that it came in, None when it came in the query."""

    name: str
    field: Field | None

    def query(self, query: str) -> str:
        """The request's query as it goes upstream: less all credentials but the token."""
        return without_credentials(query, kept="" if self.field else _PARAMETER)


def token_of(headers: HTTPHeaders, query: str) -> AuthToken | None:
    """The token that a request presents: `Authorization: Token`, `?access_token=`, `x-goog-api-key`.

    Google's SDK for Python puts it into both fields, of which Live takes the first.
    """
    for value in headers.get_list("Authorization"):
        scheme, _, name = value.strip().partition(" ")
        if scheme.lower() == "token" and name.strip().startswith(_PREFIX):
            return AuthToken(name.strip(), ("Authorization", value))
    for name in query_values(query, _PARAMETER):
        if name.startswith(_PREFIX):
            return AuthToken(name, None)
    keys = headers.get_list("x-goog-api-key")
    return next((AuthToken(key, ("x-goog-api-key", key)) for key in keys if key.startswith(_PREFIX)), None)
