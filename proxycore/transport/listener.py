"""The sockets on which the program listens."""

import asyncio
import errno
import functools
import ipaddress
import logging
import socket
from ipaddress import ip_address
from typing import Any

from tornado.netutil import bind_sockets

from proxycore.transport.address_file import Address, AddressFile
from proxycore.transport.server import Server

logger = logging.getLogger(__name__)

_NO_MORE_FILES = {errno.EMFILE, errno.ENFILE}
_KEEPALIVE = 60  # seconds a connection is idle before the kernel probes it
_PAUSE = 0.5  # seconds without accepting, in which some connection may close
_PRIVILEGED = 1024  # lower ports need a privilege on Unix
_PORTS_TRIED = 100  # to find a free one
_EVERYWHERE = "HOST=0.0.0.0 is every address of this machine, HOST=127.0.0.1 this machine only"


class ListenError(Exception):
    """The address can't be listened on; the message names HOST and PORT, and what to set instead."""


class Listener:
    """Accepts connections for a server, and pauses when no more files can be opened.

    A connection that can't be accepted stays in the kernel's queue; without the pause it would be tried again
    thousands of times a second.
    """

    def __init__(self, host: str, port: int) -> None:
        """Bind the sockets. Raises ListenError when that fails. Port 0 chooses a free port.

        `::` means every IPv6 and every IPv4 address, with a socket each: that does not depend on the system's
        `bindv6only`, and IPv4 clients keep their plain addresses.
        """
        try:
            self.sockets = bind_sockets(port, None if _is_wildcard(host, 6) else host)
        except (OSError, UnicodeError) as error:  # a name with a part that is too long is a UnicodeError
            address = f"{bracketed(host)}:{port}"
            raise ListenError(
                f"HOST, PORT: can't listen on {address}: {_advice(error, host, port)}"
            ) from error
        for listener in self.sockets:
            # Accepted connections inherit it: a client that vanished without closing is detected in minutes.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE // 4)
        self._accepting: list[asyncio.Task[None]] = []
        self._address_file = AddressFile()

    @property
    def port(self) -> int:
        """The port of the first socket."""
        return int(self.sockets[0].getsockname()[1])

    def publish(self, scheme: str) -> None:
        """Write the address for the health check; `scheme` is `http` or `https`."""
        name = self.sockets[0].getsockname()[0]
        ip = ipaddress.ip_address(name)
        if ip.is_unspecified:
            name = "127.0.0.1" if ip.version == 4 else "::1"
        self._address_file.write(Address(scheme, name, self.port))

    def accept_for(self, server: Server) -> None:
        """Pass connections to this server from now on."""
        asyncio.get_running_loop().set_exception_handler(_report)
        for listener in self.sockets:
            task = asyncio.create_task(_accept(listener, server))
            task.add_done_callback(functools.partial(_close, listener))
            self._accepting.append(task)

    def stop(self) -> None:
        """Stop accepting, and close the sockets. Connections that were accepted continue."""
        for task in self._accepting:
            task.cancel()
        self._accepting.clear()
        self._address_file.close()

    def close(self) -> None:
        """Close the sockets in this process; others that share them are not affected."""
        for listener in self.sockets:
            listener.close()
        self._address_file.close()


async def _accept(listener: socket.socket, server: Server) -> None:
    """Accept connections until this is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            accepted, address = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in _NO_MORE_FILES:
                logger.error(  # noqa: TRY400 - the limit is at fault
                    "limit of open files reached, new connections have to wait; raise it with ulimit -n"
                )
            await asyncio.sleep(_PAUSE if error.errno in _NO_MORE_FILES else 0)
        else:
            server.serve(accepted, address)
            await asyncio.sleep(0)  # many that arrive together must not hold up others


def _close(listener: socket.socket, _: asyncio.Task[None]) -> None:
    listener.close()


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what failed in the event loop, where nobody waited for it."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logger.debug("connection failed: %s", error)
    else:
        logger.error("internal error", exc_info=error, extra={"fields": {"error": context["message"]}})


def bracketed(host: str) -> str:
    """A host as it is written in a URL: IPv6 addresses in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """The host for a URL that is opened on this machine, when the program listens on `host`."""
    return "localhost" if _is_wildcard(host, 4) or _is_wildcard(host, 6) else bracketed(host)


def _is_wildcard(host: str, version: int) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.version == version and address.is_unspecified


def _advice(error: OSError | UnicodeError, host: str, port: int) -> str:
    """Why binding failed, and what to do about it."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"no address of this machine has this name; {_EVERYWHERE}"
    if error.errno == errno.EADDRINUSE:
        free = _free_port(host, port)
        return f"port {port} is already in use; try {f'PORT={free}' if free else 'another PORT'}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address; {_EVERYWHERE}"
    if error.errno == errno.EACCES and port < _PRIVILEGED:
        free = _free_port(host, 8000 + port - 1)
        return f"ports below {_PRIVILEGED} need a privilege that this user lacks; try PORT={free or 8000}"
    return str(error.strerror or error)


def _free_port(host: str, taken: int) -> int | None:
    """The first free port above `taken`, None if none of the next ones is free."""
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
