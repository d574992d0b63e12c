"""Header fields: how they are looked up, and which of them are forwarded. Pure.

- A request is forwarded with the client's end-to-end fields, except its credentials, its cookies, and fields
  that proxies before this one added.
- A response is forwarded with the upstream's end-to-end fields, except those that apply to its own origin
  (CORS, `Alt-Svc`), since the client's origin is this proxy.
"""

import re
from collections.abc import Iterable, Set
from functools import lru_cache

Field = tuple[str, str]
"""A header field: name and value."""

Fields = list[Field]
"""Header fields in order; a name may occur more than once."""

GROUP_FIELD = "X-Resource-Group"
"""The proxy's own field: requests with the same value use the same key as long as it is ready."""

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
    # Written by the HTTP client itself.
    "host",
    "content-length",
    "expect",
    # Credentials: exactly one goes upstream, and the proxy adds it.
    "authorization",
    "x-goog-api-key",
    "x-api-key",
    "cookie",
    "cookie2",
    # Meant for this proxy.
    GROUP_FIELD.lower(),
}

# Added by proxies before this one, about the client and about themselves: not the upstream's business.
_ADDED_BY_PROXIES = re.compile(
    r"""(?ix)
    via | cdn-loop | forwarded | x-(?:original-)?forwarded-.*
    | x-(?:real|client|cluster-client|true-client|remote|originating|source|proxyuser)-?(?:ip|addr|host|port)
    | true-client-ip | client-ip | (?:wl-)?proxy-client-ip | x-remote-user | x-scheme
    | cf-.* | fastly-.* | fly-.* | akamai-.* | x-(?:envoy|azure|appengine|vercel|nf|middleton)-.*
    """
)

_NOT_DOWNSTREAM = HOP_BY_HOP | {"alt-svc"}
_REMEMBERED = 256  # names: clients and upstreams send the same ones again and again


def upstream_fields(fields: Iterable[Field]) -> Fields:
    """The client's header fields that are forwarded to the upstream."""
    fields = list(fields)
    return _without_named(fields, [field for field in fields if _goes_upstream(field[0])])


def downstream_fields(fields: Fields) -> Fields:
    """The upstream's header fields that are forwarded to the client."""
    return _without_named(fields, [field for field in fields if _goes_downstream(field[0])])


@lru_cache(_REMEMBERED)
def _goes_upstream(name: str) -> bool:
    name = name.lower()
    return name not in _NOT_UPSTREAM and not _ADDED_BY_PROXIES.fullmatch(name)


@lru_cache(_REMEMBERED)
def _goes_downstream(name: str) -> bool:
    name = name.lower()
    return name not in _NOT_DOWNSTREAM and not name.startswith("access-control-")


def _without_named(fields: Fields, forwarded: Fields) -> Fields:
    """The fields to forward without those that a `Connection` field among all fields names."""
    named = {token.strip().lower() for value in values_of(fields, "connection") for token in value.split(",")}
    return without(forwarded, named) if named - HOP_BY_HOP else forwarded


def values_of(fields: Iterable[Field], name: str) -> list[str]:
    """The values of the fields of this name (in lower case), in order."""
    return [value for known, value in fields if known.lower() == name]


def value_of(fields: Iterable[Field], name: str) -> str:
    """The value of the first field of this name (in lower case); empty if there is none."""
    return next((value for known, value in fields if known.lower() == name), "")


def without(fields: Iterable[Field], names: Set[str]) -> Fields:
    """The fields that have none of these names, which are in lower case."""
    return [(name, value) for name, value in fields if name.lower() not in names]
