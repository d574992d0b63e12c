"""The way to the upstream, and the connections that are kept on it.

This and `attempt` are the only files that touch AsyncHTTPClient and pycurl.
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

from proxycore.turns import Rounds

_SYSTEM_CA_FILES = (
    ssl.get_default_verify_paths().cafile,
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to reach the upstream: its base URL, whom to trust, through which proxy; times in seconds."""

    url: str
    ca_file: str | None = None
    proxy: str | None = None
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0


class _Client(CurlAsyncHTTPClient):
    """Tornado's curl client, with handles made as they are needed, set up by attempts, and ended at will."""

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
        # An attempt sets all that it needs. Tornado's forty options would be set twice, which costs a
        # seventh of a whole request's time.
        if request.prepare_curl_callback:
            request.prepare_curl_callback(curl)

    def end(self, curl: pycurl.Curl) -> None:
        """Ends the handle's transfer now: its connection closes, and its fetch fails."""
        self._finish(curl, pycurl.E_ABORTED_BY_CALLBACK, "ended")

    def close(self) -> None:
        """Closes all connections, and what libcurl asks for while it does."""
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
        # As Tornado's, less all that it finds out about a transfer that nobody asks for here.
        info, attempt = curl.info, curl.attempt
        curl.info = curl.attempt = None  # the handle stays, but the request it served need not
        self._multi.remove_handle(curl)
        attempt.release()  # from here on the handle may serve another request
        curl.reset()
        self._free_list.append(curl)
        error = CurlError(curl_error, curl_message or "") if curl_error else None
        info["callback"](HTTPResponse(info["request"], 599 if error else 200, error=error))


class Upstream:
    """Makes attempts, and keeps the connections between them. Belongs to the running event loop."""

    def __init__(self, route: Route) -> None:
        self.client = _Client(force_instance=True, max_clients=0)
        self.rounds = Rounds()
        self._sockets: dict[int, int] = {}  # file descriptors, and what they were then
        self.take(route)

    def take(self, route: Route) -> None:
        """From now on, attempts take this route."""
        self.route = route
        self.origin, self.prefix = _split(route.url)
        system = next((path for path in _SYSTEM_CA_FILES if path and Path(path).is_file()), None)
        self.ca_file = route.ca_file or system or certifi.where()

    @property
    def busy(self) -> int:
        """How many attempts are under way."""
        return self.client.busy

    def connected(self, descriptor: int, _purpose: int) -> int:
        """libcurl's word that it opened a socket."""
        self._sockets[descriptor] = _identity(descriptor)
        return int(pycurl.SOCKOPT_OK)

    @property
    def connections(self) -> int:
        """How many connections are open, idle ones included. libcurl does not say when it closes one."""
        self._sockets = {one: was for one, was in self._sockets.items() if was and _identity(one) == was}
        return len(self._sockets)

    def close(self) -> None:
        """Closes all connections. No attempt may be under way."""
        self.client.close()


def _identity(descriptor: int) -> int:
    """What tells a socket from another that has the same descriptor later; 0 for none."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
