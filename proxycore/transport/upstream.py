"""The upstream: its address, and the pool of connections to it.

This, `attempt` and `messages` are the only modules that touch AsyncHTTPClient and pycurl.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from proxycore.transport.turns import Rounds

READ_SIZE = 64 * 1024
"""Bytes that libcurl reads at once. All transfers share one buffer."""

_SEND_SIZE = 16 * 1024  # bytes that libcurl sends at once; each attempt holds a buffer of its own
_SYSTEM_CA_FILES = (
    ssl.get_default_verify_paths().cafile,
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to reach the upstream: base URL, certificate authorities, outbound proxy; times in seconds."""

    url: str
    ca_file: str | None = None
    proxy: str | None = None
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0


class _Client(CurlAsyncHTTPClient):
    """Tornado's curl client, with handles created on demand, set up by attempts, and ended at any moment."""

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        if not self._free_list:
            curl = self._curl_create()
            self._curls.append(curl)
            self._free_list.append(curl)
        super().fetch_impl(request, callback)

    def _curl_setup_request(
        self,
        curl: pycurl.Curl,
        request: HTTPRequest,
        buffer: BytesIO,  # noqa: ARG002 - Tornado's signature
        headers: HTTPHeaders,  # noqa: ARG002 - the same
    ) -> None:
        # An attempt sets all options that it needs. Setting Tornado's forty first would cost a seventh of a
        # whole request's time.
        if request.prepare_curl_callback:
            request.prepare_curl_callback(curl)

    def end(self, curl: pycurl.Curl) -> None:
        """End the handle's transfer now: its connection closes, and its fetch fails."""
        self._finish(curl, pycurl.E_ABORTED_BY_CALLBACK, "ended")

    def close(self) -> None:
        """Close all connections, and cancel the timeout that libcurl asks for while it does."""
        super().close()
        if self._timeout is not None:
            self.io_loop.remove_timeout(self._timeout)

    @property
    def busy(self) -> int:
        """How many handles are in use."""
        return len(self._curls) - len(self._free_list)

    def _finish(
        self, curl: pycurl.Curl, curl_error: int | None = None, curl_message: str | None = None
    ) -> None:
        # As Tornado's, without the transfer's statistics, which are not used here.
        info, attempt = curl.info, curl.attempt
        curl.info = curl.attempt = None  # the handle stays, but the request it served need not
        self._multi.remove_handle(curl)
        attempt.release()  # from here on the handle may serve another request
        curl.reset()
        self._free_list.append(curl)
        error = CurlError(curl_error, curl_message or "") if curl_error else None
        info["callback"](HTTPResponse(info["request"], 599 if error else 200, error=error))


class Upstream:
    """The connections that attempts share. Belongs to the running event loop."""

    def __init__(self, route: Route) -> None:
        self.client = _Client(force_instance=True, max_clients=0)
        self.rounds = Rounds()
        self._sockets: dict[int, int] = {}  # file descriptor to inode number at the time it was opened
        self.set_route(route)

    def set_route(self, route: Route) -> None:
        """Use this route for all attempts that begin from now on."""
        self.route = route
        self.origin, self.prefix = _split(route.url)
        system = next((path for path in _SYSTEM_CA_FILES if path and Path(path).is_file()), None)
        self.ca_file = route.ca_file or system or certifi.where()

    def prepare(self, curl: pycurl.Curl) -> None:
        """Set all options of a handle that concern the connection, not the request."""
        route = self.route
        curl.setopt(pycurl.URL, self.origin)
        # Not 2: it saved an eighth of the CPU of small requests, but a stalled stream held 14 MB, since
        # libcurl's window for a stream is that large, and one broken connection ended all its streams.
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(1000 * route.connect_timeout))
        curl.setopt(pycurl.CAINFO, self.ca_file)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)
        curl.setopt(pycurl.TCP_KEEPALIVE, 1)  # a model may think for minutes, and NATs drop idle connections
        curl.setopt(pycurl.NOSIGNAL, 1)  # Python ignores SIGPIPE already; libcurl would at every event
        curl.setopt(pycurl.BUFFERSIZE, READ_SIZE)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _SEND_SIZE)
        # Empty: never a proxy from the environment that was not set for this program.
        curl.setopt(pycurl.PROXY, route.proxy or "")
        if route.proxy:
            curl.setopt(pycurl.NOPROXY, "")
            curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
            curl.setopt(pycurl.PROXY_CAINFO, self.ca_file)

    @property
    def busy(self) -> int:
        """How many attempts are in flight."""
        return self.client.busy

    @property
    def connections(self) -> int:
        """How many connections are open, idle ones included. libcurl does not report when it closes one."""
        self._sockets = {one: inode for one, inode in self._sockets.items() if inode == _inode(one) != 0}
        return len(self._sockets)

    def close(self) -> None:
        """Close all connections. No attempt may be in flight."""
        self.client.close()

    def _on_socket(self, descriptor: int, _purpose: int) -> int:
        self._sockets[descriptor] = _inode(descriptor)
        return int(pycurl.SOCKOPT_OK)


def _inode(descriptor: int) -> int:
    """The inode number, which tells a socket from a later one with the same descriptor; 0 if it is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
