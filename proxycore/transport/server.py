"""Serves a Tornado application over HTTP/1.1 on connections that a `listener` has accepted.

asyncio's transports move the bytes, llhttp reads fields and chunks, and Tornado's handlers respond.
"""

import asyncio
import logging
import socket
import ssl

from tornado.web import Application

from proxycore.transport.open_connections import OpenConnections
from proxycore.transport.server_connection import HEAD_TIMEOUT, ServerConnection

logger = logging.getLogger(__name__)

_FLUSH_TIMEOUT = 1.0  # seconds that connections get to send what is written, when all are closed


class Server:
    """A server for the application. Belongs to the running event loop.

    `ssl_options` is what new connections are encrypted with, None for plain HTTP. `idle_timeout` is the
    seconds that a connection may be without a request.
    """

    def __init__(self, application: Application, *, tls: ssl.SSLContext | None, idle_timeout: float) -> None:
        self.ssl_options = tls
        self._connections = OpenConnections(application, idle_timeout)
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def is_sending(self) -> bool:
        """Whether a connection has yet to send something that is written."""
        return self._connections.unsent_bytes > 0

    def serve(self, accepted: socket.socket, address: object) -> None:
        """Serve this connection with a client at `address`, as `socket.accept` returns both."""
        task = asyncio.create_task(self._connect(accepted, address))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def close_all_connections(self) -> None:
        """Close all connections, once what was written is sent or it takes too long."""
        for task in list(self._connecting):
            task.cancel()
        await self._connections.close(_FLUSH_TIMEOUT)

    async def _connect(self, accepted: socket.socket, address: object) -> None:
        remote_ip = str(address[0]) if isinstance(address, tuple) else "0.0.0.0"  # noqa: S104 - as Tornado has it
        tls = self.ssl_options
        protocol = "https" if tls else "http"
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ServerConnection(self._connections, remote_ip, protocol),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=HEAD_TIMEOUT if tls else None,
            )
        except OSError as error:  # the client has left, or its handshake failed
            logger.debug("no connection with %s: %s", remote_ip, error)
            accepted.close()
