"""The upstream: how it is reached, and the client that all attempts share."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import certifi
from tornado.httpclient import AsyncHTTPClient

from proxycore.transport.client import Client
from proxycore.transport.connector import ConnectOptions
from proxycore.transport.turns import Rounds

_SYSTEM_CA_FILES = (
    ssl.get_default_verify_paths().cafile,
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to reach the upstream: base URL, certificate authorities, outbound proxies; times in seconds.

    `proxy` is for requests with no key, `proxies` are those of the keys; None is a direct connection.
    """

    url: str
    ca_file: str | None = None
    proxy: str | None = field(default=None, repr=False)
    proxies: frozenset[str | None] = field(default=frozenset(), repr=False)
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0


class Upstream:
    """The upstream's address, and the client whose connections all attempts share.

    Belongs to the running event loop.
    """

    def __init__(self, route: Route) -> None:
        AsyncHTTPClient.configure(Client)
        client = AsyncHTTPClient(force_instance=True)
        assert isinstance(client, Client)  # noqa: S101 - just configured
        self.client = client
        self.rounds = Rounds()
        self.set_route(route)

    def set_route(self, route: Route) -> None:
        """Use this route for all attempts that begin from now on."""
        self.route = route
        self.origin, self.prefix = _split(route.url)
        system = next((path for path in _SYSTEM_CA_FILES if path and Path(path).is_file()), None)
        ca_file = route.ca_file or system or certifi.where()
        options = ConnectOptions(self.origin, ca_file, route.proxies | {route.proxy}, route.connect_timeout)
        self.client.set_connect_options(options)

    @property
    def busy(self) -> int:
        """How many attempts are in flight."""
        return self.client.busy

    @property
    def connections(self) -> int:
        """How many connections are open for attempts, idle ones included."""
        return len(self.client.pool.open)

    def close(self) -> None:
        """Close all connections, in the loop's next turn. Attempts in flight fail."""
        self.client.close()


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.rstrip("/")
