"""Who may call: client keys, and the admin."""

import hmac
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

from proxycore.credentials import query_values

_MOST_OFFERS = 32  # of a request that are compared, with every key that there is


class ClientKeys:
    """The keys that clients may present, each with a name for the log. None at all: open to everyone."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(name, secret.encode()) for name, secret in keys.items()]

    @property
    def required(self) -> bool:
        """Whether a client must present a key."""
        return bool(self._keys)

    def name_of(self, offered: Iterable[str]) -> str | None:
        """The name of the client key that is among those offered, or None.

        Every offer is compared with every key in constant time: how long it takes tells nothing about
        how much of a key was right.
        """
        name = None
        for offer in offered:
            encoded = offer.encode(errors="surrogatepass")
            for known, secret in self._keys:
                if hmac.compare_digest(encoded, secret):
                    name = known
        return name


def offered_keys(headers: HTTPHeaders, query: str) -> list[str]:
    """The credentials that a request presents: `x-goog-api-key`, `Authorization: Bearer`, `?key=`.

    Of a flood of them the first ones.
    """
    offers = headers.get_list("x-goog-api-key") + query_values(query, "key")
    for value in headers.get_list("Authorization"):
        scheme, _, credential = value.partition(" ")
        if scheme.lower() == "bearer":
            offers.append(credential.strip())
    return offers[:_MOST_OFFERS]


class AdminKey(StrEnum):
    """Which admin key there is."""

    SET = "set"
    ONE_TIME = "one-time"  # made for this run; this host needs none
    MISSING = "missing"  # this host only


class Admin:
    """Who may see and change the keys' health: who presents the admin key.

    Where none is set, this host may as well, but no page of another site that is open in a browser here.
    `one_time` is a key for other hosts then.
    """

    def __init__(self, secret: str | None, one_time: str | None = None) -> None:
        self._keys = ClientKeys({"admin": key} if (key := secret or one_time) else {})
        self.key = AdminKey.SET if secret else AdminKey.ONE_TIME if one_time else AdminKey.MISSING

    def admits(self, headers: HTTPHeaders, query: str, address: str) -> bool:
        """Whether this request may. What another proxy passed on is not of this host."""
        if self._keys.name_of(offered_keys(headers, query)) is not None:
            return True
        passed_on = "Forwarded" in headers or "X-Forwarded-For" in headers
        at_home = not passed_on and _is_loopback(address) and _is_at_home(headers)
        return at_home and self.key is not AdminKey.SET


def _is_at_home(headers: HTTPHeaders) -> bool:
    """Whether a browser that sends this would do so for a page of this host's own.

    A page of another site may ask for this address, and its name may be made to lead here (DNS rebinding).
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
