"""The mock's server: routes to the handlers, and the sockets that they are served on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from proxycore.demo import answers, batches, files, interactions, interactions_live, live, resources, uploads
from proxycore.demo.handler import Handler
from proxycore.demo.state import State

_MAX_BODY = 256 * 2**20  # bytes
_MAX_MESSAGE = 128 * 2**20  # bytes
_VERSION = "(v1|v1alpha|v1beta)"
_FAMILIES = (batches, files, interactions_live, interactions, resources, answers)
_ROUTES = [
    *((rf"/{_VERSION}{path}", handler) for family in _FAMILIES for path, handler in family.ROUTES),
    *((rf"/upload/{_VERSION}{path}", handler) for path, handler in uploads.ROUTES),
    (rf"/download/{_VERSION}{files.DOWNLOAD}", files.Download),
    *live.ROUTES,
    (".*", Handler),
]


@dataclass(eq=False)
class MockServer(State):
    """A mock of the Gemini API on a real socket."""

    _server: HTTPServer | None = field(default=None, init=False, repr=False)

    def listen(self, address: str = "127.0.0.1", port: int = 0) -> str:
        """Serve on the current loop and return the base URL. Port 0 is any free one."""
        routes = [(path, handler, {"mock": self}) for path, handler in _ROUTES]
        app = Application(routes, log_function=_no_log, websocket_max_message_size=_MAX_MESSAGE)
        sockets = bind_sockets(port, address)
        self._server = HTTPServer(app, max_body_size=_MAX_BODY, max_buffer_size=_MAX_BODY)
        self._server.add_sockets(sockets)
        return f"http://{address}:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and close whatever is still open."""
        if self._server:
            self._server.stop()
            await self._server.close_all_connections()
        sessions = list(self.sessions)
        for session in sessions:
            session.cut()
        await asyncio.gather(*(session.gone.wait() for session in sessions))


def _no_log(_handler: Handler) -> None:
    """Keep Tornado from logging requests, which ``calls`` has."""
