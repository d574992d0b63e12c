"""Authentication of requests: with client keys, or with the admin key."""

import hmac
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

from proxycore.http.credentials import query_values

_MOST_OFFERS = 32  # credentials of a request that are compared with every key


class ClientKeys:
    """The keys of clients, by name. With none at all the proxy is open to everyone."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(name, secret.encode()) for name, secret in keys.items()]

    @property
    def required(self) -> bool:
        """Whether a client must present a key."""
        return bool(self._keys)

    def name_of(self, offered: Iterable[str]) -> str | None:
        """The name of a client key that is among the offered ones, or None.

        Every offer is compared with every key in constant time, so that the time taken does not depend on
        how much of a key is right.
        """
        name = None
        for offer in offered:
            encoded = offer.encode(errors="surrogatepass")
            for known, secret in self._keys:
                if hmac.compare_digest(encoded, secret):
                    name = known
        return name

    def client_of(self, headers: HTTPHeaders, query: str) -> str | None:
        """The name of a client key that a request with these fields and this query presents, or None."""
        return self.name_of(offered_keys(headers, query))


def offered_keys(headers: HTTPHeaders, query: str) -> list[str]:
    """The credentials of a request: `x-goog-api-key`, `?key=`, `Authorization: Bearer`, in this order.

    No more than the first 32.
    """
    offers = headers.get_list("x-goog-api-key") + query_values(query, "key")
    for value in headers.get_list("Authorization"):
        scheme, _, credential = value.partition(" ")
        if scheme.lower() == "bearer":
            offers.append(credential.strip())
    return offers[:_MOST_OFFERS]


class AdminKey(StrEnum):
    """Whether there is an admin key, and which."""

    SET = "set"
    ONE_TIME = "one-time"  # generated for this run; requests from this host need none
    MISSING = "missing"  # only requests from this host are admitted


class Admin:
    """Decides which requests may see and change the health of keys: those with the admin key.

    Without an admin key, requests from this host are admitted without a credential, except those that a
    browser here sends for a page of another site. `one_time` is then a key for requests from other hosts.
    """

    def __init__(self, secret: str | None, one_time: str | None = None) -> None:
        self._keys = ClientKeys({"admin": key} if (key := secret or one_time) else {})
        self.key = AdminKey.SET if secret else AdminKey.ONE_TIME if one_time else AdminKey.MISSING

    def is_key(self, offered: str) -> bool:
        """Whether this is the admin key."""
        return self._keys.name_of([offered]) is not None

    def admits(self, headers: HTTPHeaders, query: str, address: str) -> bool:
        """Whether a request from this address is admitted; a forwarded one never counts as local."""
        if self._keys.client_of(headers, query) is not None:
            return True
        forwarded = "Forwarded" in headers or "X-Forwarded-For" in headers
        is_local = not forwarded and _is_loopback(address) and _is_local_page(headers)
        return is_local and self.key is not AdminKey.SET


def _is_local_page(headers: HTTPHeaders) -> bool:
    """Whether the request is not from a page of another site.

    Such a page may send requests to this address, and its name may resolve to it (DNS rebinding).
    """
    host, origin = headers.get("Host", ""), headers.get("Origin")
    try:
        name = urlsplit(f"//{host}").hostname or "localhost"
        same = origin is None or urlsplit(origin).netloc == host
    except ValueError:
        return False
    return same and (name == "localhost" or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback
