"""Rewriting upstream addresses in a response's header fields to addresses of the proxy. Pure.

A client that followed an upstream address would send its proxy key to the upstream.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from proxycore.http.credentials import without_credentials
from proxycore.http.fields import Fields

ADDRESSES = frozenset({"location", "content-location"})
"""The fields that hold a URI reference (RFC 9110 §10.2.2, §8.7), in lower case."""

# Clients read a backslash as a slash, and use the request's scheme where there is none.
_AUTHORITY = re.compile(r"(?i)(?:https?:)?[/\\]{2}(?:[^/\\?#@]*@)?([^/\\?#]*?)(?::([0-9]*))?(?=[/\\?#]|$)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DEFAULT_PORTS = frozenset({"80", "443", ""})


@dataclass(frozen=True, slots=True)
class AddressRewriter:
    """Replaces addresses of the upstream by addresses of the proxy.

    `upstream` is the upstream's origin (scheme, host and port), and `prefix` the path of its base URL, which
    the proxy's addresses don't have. `public` is the proxy's base URL for clients, without a final slash.
    """

    upstream: str
    prefix: str
    public: str

    def rewrite(self, fields: Fields, credential: str = "") -> Fields:
        """Return the fields with upstream addresses replaced by the proxy's, without upstream credentials.

        `credential` is the part of the request's query with the client's key (`key=…`), if any. It is added
        to the addresses: a client that sends its key in the query follows them without adding it again.
        """
        return [
            (name, self._rewrite_value(value, credential) if name.lower() in ADDRESSES else value)
            for name, value in fields
        ]

    def rewrite_one(self, address: str) -> str:
        """Return the proxy's address for an absolute address of the upstream, without credentials."""
        return self.public + self._path_at_proxy(address[len(_authority(address)) :])

    def _rewrite_value(self, address: str, credential: str) -> str:
        if authority := _authority(address):
            changed = self.rewrite_one(address) if self._is_upstream(authority) else ""
        elif address.startswith(("/", "\\")):
            changed = self.public[len(_authority(self.public)) :] + self._path_at_proxy(address)
        else:
            changed = "" if _SCHEME.match(address) else _without_credentials(address)
        return _add_credential(credential, changed) if changed else address

    def _path_at_proxy(self, reference: str) -> str:
        end = next((at for at, char in enumerate(reference) if char in "?#"), len(reference))
        path = reference[:end].replace("\\", "/")
        if path.startswith(f"{self.prefix}/"):
            path = path.removeprefix(self.prefix)
        return _without_credentials(path + reference[end:])

    def _is_upstream(self, authority: str) -> bool:
        host, port = _host_and_port(authority)
        own_host, own_port = _host_and_port(self.upstream)
        return host == own_host and (port == own_port or {port, own_port} <= _DEFAULT_PORTS)


def _authority(address: str) -> str:
    """The part of an address before its path; empty if it names no host."""
    match = _AUTHORITY.match(address)
    return match[0] if match else ""


def _host_and_port(authority: str) -> tuple[str, str]:
    match = _AUTHORITY.match(authority)
    host, port = (match[1], match[2] or "") if match else ("", "")
    return unquote(host).rstrip(".").lower(), port.lstrip("0")


def _without_credentials(reference: str) -> str:
    rest, mark, fragment = reference.partition("#")
    path, _, query = rest.partition("?")
    query = without_credentials(query)
    return path + (f"?{query}" if query else "") + mark + fragment


def _add_credential(credential: str, reference: str) -> str:
    if not credential:
        return reference
    rest, mark, fragment = reference.partition("#")
    return f"{rest}{'&' if '?' in rest else '?'}{credential}{mark}{fragment}"
