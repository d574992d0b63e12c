"""Header fields: which cross the proxy, in two directions with two rules. Pure.

- Upstream go all of the client's end-to-end fields, less its credentials, its cookies, and what tells about
  the way to us.
- Downstream go all of the upstream's end-to-end fields, less what speaks for its own origin (CORS,
  `Alt-Svc`), since the client talks to ours.
"""

import re
from collections.abc import Iterable

Field = tuple[str, str]
"""A header field: name and value."""

Fields = list[Field]
"""Header fields in order, repeated ones repeated."""

GROUP_FIELD = "X-Resource-Group"
"""The field of our own with which a client keeps what it makes together, with one key."""

HOP_BY_HOP = frozenset(
    {
        # RFC 9110 §7.6.1, and two that predate it and are still sent.
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_NOT_UPSTREAM = HOP_BY_HOP | {
    # The HTTP client writes these itself.
    "host",
    "content-length",
    "expect",
    # Credentials: exactly one goes upstream, and it is ours.
    "authorization",
    "x-goog-api-key",
    "x-api-key",
    "cookie",
    "cookie2",
    # For us alone.
    GROUP_FIELD.lower(),
}

# What the proxies before this one tell about the client and the way to here, which is nobody else's business.
_ABOUT_THE_WAY = re.compile(
    r"""(?ix)
    via | cdn-loop | forwarded | x-(?:original-)?forwarded-.*
    | x-(?:real|client|cluster-client|true-client|remote|originating|source|proxyuser)-?(?:ip|addr|host|port)
    | true-client-ip | client-ip | (?:wl-)?proxy-client-ip | x-remote-user | x-scheme
    | cf-.* | fastly-.* | fly-.* | akamai-.* | x-(?:envoy|azure|appengine|vercel|nf|middleton)-.*
    """
)

_NOT_DOWNSTREAM = HOP_BY_HOP | {"alt-svc"}


def upstream_fields(fields: Iterable[Field]) -> Fields:
    """The client's header fields that go on to the upstream."""
    fields = list(fields)
    dropped = _NOT_UPSTREAM | _named_by_connection(fields)
    return [
        (name, value)
        for name, value in fields
        if name.lower() not in dropped and not _ABOUT_THE_WAY.fullmatch(name)
    ]


def downstream_fields(fields: Fields) -> Fields:
    """The upstream's header fields that go on to the client."""
    dropped = _NOT_DOWNSTREAM | _named_by_connection(fields)
    return [
        (name, value)
        for name, value in fields
        if (lower := name.lower()) not in dropped and not lower.startswith("access-control-")
    ]


def values_of(fields: Fields, name: str) -> list[str]:
    """The values of the fields of this name, which is in small letters."""
    return [value for known, value in fields if known.lower() == name]


def _named_by_connection(fields: Fields) -> frozenset[str]:
    named = values_of(fields, "connection")
    return frozenset(token.strip().lower() for value in named for token in value.split(","))
