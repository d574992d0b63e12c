"""Opens connections to the upstream: DNS, TCP, outbound proxy, TLS.

    1. the names are resolved; an address is not asked for in the DNS
    2. TCP, to several addresses by happy eyeballs (RFC 8305)
    3. TLS to an outbound proxy (`https://`), and the tunnel through it (`tunnel`)
    4. TLS to the upstream (`tls`)

All of it together gets CONNECT_TIMEOUT. A task that opens a connection can be cancelled at any moment.
"""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from aiohappyeyeballs import start_connection

from proxycore.transport.messages import unreachable
from proxycore.transport.tls import TlsTransport
from proxycore.transport.tls_client import TlsClient, trusting
from proxycore.transport.tunnel import (
    Credential,
    Handshake,
    Negotiation,
    ProxyRefusedError,
    http_connect,
    socks5,
)

_NEXT_ADDRESS = 0.25  # seconds until the next address is tried as well (RFC 8305 §5)
_PORTS = {"http": 80, "https": 443}
_PROXY_PORTS = {"https": 443}
_SOCKS_PORT = 1080  # of other proxies without a port in their URL
_KEEPALIVE = 60  # seconds; a model may think for minutes, and NATs drop idle connections

_Addresses = list[tuple[Any, ...]]


class Address(NamedTuple):
    """A server's URL in parts. `credential` is that of an outbound proxy."""

    scheme: str
    host: str
    port: int
    credential: Credential | None

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme == "https"


def address_of(url: str, ports: dict[str, int]) -> Address:
    """The parts of a URL, with the default port of its scheme."""
    parts = urlsplit(url)
    credential = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    port = parts.port or ports.get(parts.scheme, _SOCKS_PORT)
    return Address(parts.scheme, parts.hostname or "", port, credential)


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How connections to an origin are made: authorities, outbound proxies, seconds for all of it.

    Each connection is made through one of the `proxies`, or through none (None).
    """

    origin: str
    ca_file: str
    proxies: frozenset[str | None] = field(repr=False)
    timeout: float


class Connector:
    """Opens connections with these options. Belongs to the running event loop."""

    def __init__(self, options: ConnectOptions) -> None:
        self._timeout = options.timeout
        self._ca_file = options.ca_file
        self._context: ssl.SSLContext | None = None
        # By outbound proxy and host: a TLS session that is resumed through another proxy would show the host
        # that both belong together (RFC 8446 §C.4).
        self._tls: dict[tuple[str | None, str], TlsClient] = {}
        self._loop = asyncio.get_running_loop()

    async def open(self, url: str, protocol: asyncio.BaseProtocol, proxy: str | None) -> None:
        """Open a connection to a URL's host for the protocol, through an outbound proxy unless that is None.

        Raises UpstreamError.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._open(address_of(url, _PORTS), protocol, proxy)
        except TimeoutError:
            raise unreachable("no connection within CONNECT_TIMEOUT") from None

    async def _open(self, address: Address, protocol: asyncio.BaseProtocol, proxy_url: str | None) -> None:
        secure = TlsTransport(self._tls_client(proxy_url, address), protocol) if address.secure else None
        inner = secure or protocol
        proxy = address_of(proxy_url, _PROXY_PORTS) if proxy_url else None
        if proxy:
            negotiation = Negotiation(await self._handshake(proxy, address))
            outer = TlsTransport(self._tls_client(proxy_url, proxy), negotiation) if proxy.secure else None
            link = await self._link(proxy, outer or negotiation, whose="the outbound proxy's")
        else:
            link = await self._link(address, inner)
        try:
            if proxy:
                if outer:
                    await _established(outer)
                tunnel = await _negotiated(negotiation)
                tunnel.set_protocol(inner)
                inner.connection_made(tunnel)
                tunnel.resume_reading()
            if secure:
                await _established(secure)
        except BaseException:
            link.abort()
            raise

    async def _handshake(self, proxy: Address, address: Address) -> Handshake:
        if not proxy.scheme.startswith("socks"):
            return http_connect(address.host, address.port, proxy.credential)
        host = address.host
        if proxy.scheme == "socks5":  # the name is resolved here; with `socks5h` by the proxy
            host = str((await self._resolve(address))[0][4][0])
        return socks5(host, address.port, proxy.credential)

    async def _link(
        self, address: Address, protocol: asyncio.BaseProtocol, whose: str = "its"
    ) -> asyncio.Transport:
        """Open a connection over TCP."""
        addresses = await self._resolve(address, whose)
        try:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, loop=self._loop
            )
        except OSError as error:
            raise unreachable("no connection to its address", f"({_words(error)})") from None
        try:
            _keep_alive(sock)
            transport, _ = await self._loop.create_connection(lambda: protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport

    async def _resolve(self, address: Address, whose: str = "its") -> _Addresses:
        host, port = address.host, address.port
        with contextlib.suppress(socket.gaierror, UnicodeError):  # as an address, without asking anyone
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        try:
            return await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of the DNS
            raise unreachable(f"{whose} name can't be resolved", f"({_words(error)})") from None

    def _tls_client(self, proxy_url: str | None, server: Address) -> TlsClient:
        client = self._tls.get((proxy_url, server.host))
        if client is None:
            client = self._tls[proxy_url, server.host] = TlsClient(self._trusted(), server.host)
        return client

    def _trusted(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = trusting(self._ca_file)
            except OSError as error:
                reason = "the file of certificate authorities can't be read"
                raise unreachable(reason, f"({_words(error)})") from None
        return self._context


async def _established(secure: TlsTransport) -> None:
    try:
        await secure.established
    except ssl.SSLCertVerificationError as error:
        raise unreachable("its TLS certificate is not trusted", f"({error.verify_message})") from None
    except (ssl.SSLError, ConnectionError) as error:
        raise unreachable("the TLS handshake failed", f"({_words(error)})") from None


async def _negotiated(negotiation: Negotiation) -> asyncio.Transport:
    try:
        return await negotiation.done
    except (ProxyRefusedError, OSError) as error:
        raise unreachable("the outbound proxy refused", f"({_words(error)})") from None


def _words(error: Exception) -> str:
    """The error in words, without what differs from one attempt to the next."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error.args[-1]).replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), _KEEPALIVE)
