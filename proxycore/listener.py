"""The sockets that the program listens on."""

import asyncio
import errno
import socket
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from proxycore.log import logger

_NO_MORE_FILES = {errno.EMFILE, errno.ENFILE}
_KEEPALIVE = 60  # seconds of silence after which a client is asked whether it is still there
_REST = 0.5  # seconds without accepting, in which some connection may end


class Listener:
    """Accepts connections for a server, and takes a rest when no more files can be opened.

    A connection that can't be accepted stays in the kernel's queue, so that Tornado would try again,
    and fail and log again, thousands of times a second.
    """

    def __init__(self, host: str, port: int) -> None:
        """Binds; raises OSError when that is not possible. Port 0 takes a free one."""
        self.sockets = bind_sockets(port, host)
        for listener in self.sockets:
            # Accepted connections inherit it: a client that vanished without a word is noticed in minutes.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE // 4)
        self._server: HTTPServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.sockets[0].getsockname()[1])

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

    def close(self) -> None:
        """Gives up the sockets: what others still serve on them is not touched."""
        for listener in self.sockets:
            listener.close()

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
            self._rest(loop)
        else:
            loop.default_exception_handler(context)

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
