"""The sockets that the program listens on."""

import asyncio
import errno
import ipaddress
import socket
from ipaddress import ip_address
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from proxycore.address_file import Address, AddressFile
from proxycore.log import logger

_NO_MORE_FILES = {errno.EMFILE, errno.ENFILE}
_KEEPALIVE = 60  # seconds of silence after which a client is asked whether it is still there
_REST = 0.5  # seconds without accepting, in which some connection may end
_PRIVILEGED = 1024  # ports below need a right on Unix
_PORTS_TRIED = 100  # to find a free one
_EVERYWHERE = "HOST=0.0.0.0 is every address of this machine, HOST=127.0.0.1 this machine only"


class ListenError(Exception):
    """The address can't be listened on; the message names HOST and PORT, and what to set instead."""


class Listener:
    """Accepts connections for a server, and takes a rest when no more files can be opened.

    A connection that can't be accepted stays in the kernel's queue, so that Tornado would try again,
    and fail and log again, thousands of times a second.
    """

    def __init__(self, host: str, port: int) -> None:
        """Binds; raises ListenError when that is not possible. Port 0 takes a free one.

        `::` is every IPv6 and every IPv4 address, with a socket each: so it does not depend on the system's
        `bindv6only`, and clients keep their plain IPv4 addresses.
        """
        try:
            self.sockets = bind_sockets(port, None if _is_wildcard(host, 6) else host)
        except (OSError, UnicodeError) as error:  # a name with a part that is too long is a UnicodeError
            address = f"{bracketed(host)}:{port}"
            raise ListenError(
                f"HOST, PORT: can't listen on {address}: {_advice(error, host, port)}"
            ) from error
        for listener in self.sockets:
            # Accepted connections inherit it: a client that vanished without a word is noticed in minutes.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE // 4)
        self._server: HTTPServer | None = None
        self._address_file = AddressFile()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.sockets[0].getsockname()[1])

    def publish(self, scheme: str) -> None:
        """Tells the health check where to ask: by `http` or `https`, on this host."""
        name = self.sockets[0].getsockname()[0]
        ip = ipaddress.ip_address(name)
        if ip.is_unspecified:
            name = "127.0.0.1" if ip.version == 4 else "::1"
        self._address_file.write(Address(scheme, name, self.port))

    def accept_for(self, server: HTTPServer) -> None:
        """From now on, connections go to this server."""
        self._server = server
        asyncio.get_running_loop().set_exception_handler(self._on_fault)
        server.add_sockets(self.sockets)

    def stop(self) -> None:
        """Accepts nothing any more; what was accepted goes on."""
        if self._server:
            self._server.stop()
            self._server = None
        self._address_file.close()

    def close(self) -> None:
        """Gives up the sockets: what others still serve on them is not touched."""
        for listener in self.sockets:
            listener.close()
        self._address_file.close()

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
            self._rest(loop)
        elif isinstance(error, OSError):
            logger.debug("a connection broke: %s", error)
        else:
            logger.error("internal error", exc_info=error, extra={"fields": {"error": context["message"]}})

    def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        logger.error(
            "no more files can be opened, so connections have to wait; raise the limit with ulimit -n"
        )
        for listener in self.sockets:
            IOLoop.current().remove_handler(listener)
        loop.call_later(_REST, self._resume)

    def _resume(self) -> None:
        if self._server:
            self._server.add_sockets(self.sockets)


def bracketed(host: str) -> str:
    """A host as URLs have it: IPv6 addresses in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """The host to put into a URL for somebody on this machine, for one that is listened on."""
    return "localhost" if _is_wildcard(host, 4) or _is_wildcard(host, 6) else bracketed(host)


def _is_wildcard(host: str, version: int) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.version == version and address.is_unspecified


def _advice(error: OSError | UnicodeError, host: str, port: int) -> str:
    """Why it failed, and what to do about it."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"no address of this machine has this name; {_EVERYWHERE}"
    if error.errno == errno.EADDRINUSE:
        free = _free_port(host, port)
        return f"port {port} is taken by another program; try {f'PORT={free}' if free else 'another PORT'}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address; {_EVERYWHERE}"
    if error.errno == errno.EACCES and port < _PRIVILEGED:
        free = _free_port(host, 8000 + port - 1)
        return f"ports below {_PRIVILEGED} need a right that this user lacks; try PORT={free or 8000}"
    return str(error.strerror or error)


def _free_port(host: str, taken: int) -> int | None:
    """The first port above `taken` that could be listened on instead, None if none is near."""
    last = min(taken + _PORTS_TRIED, 65535)
    return next((port for port in range(taken + 1, last + 1) if _is_free(host, port)), None)


def _is_free(host: str, port: int) -> bool:
    name = None if _is_wildcard(host, 6) else host
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, proto) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError:
        return False
    return True
