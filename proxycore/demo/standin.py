"""The stand-in's server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableSequence

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from proxycore.clock import Clock
from proxycore.demo import answers, batches, files, interactions, interactions_live, live, resources, uploads
from proxycore.demo.asked import Asked
from proxycore.demo.content import Upload
from proxycore.demo.handler import Call, Handler
from proxycore.demo.health import Health
from proxycore.demo.live import Live
from proxycore.demo.refusal import Refusal
from proxycore.demo.store import Owned, Store

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


class StandIn:
    """A fake Gemini API on a real socket. Every attribute may be changed while it runs.

    ``keys`` maps each secret to its health; any other key is invalid. ``pace`` is the seconds between the
    pieces of a stream, ``think`` those before an answer begins. An answer has ``chunks`` pieces, of
    ``chunk_bytes`` bytes of text each, or of a few words with 0. After ``break_after`` pieces the connection
    is broken off, unless that is None; 0 is before the head. All requests are in ``calls``, the latest last.

    ``upload_delay`` is the seconds before each piece of an upload is read; with ``echo_key`` the URL that an
    upload goes on at has the key in it. ``download_bytes`` is the size of a file that Google made. A new
    interaction cannot be found for ``interaction_delay`` seconds of the clock. Live speaks in binary frames
    with ``live_binary``; with ``live_close`` it closes, with that code and reason, at the next message.

    For as long as ``outage`` is a health, all keys that there are have that one. With ``redirects`` a
    download is answered with the address of its content, where the key is needed again.
    """

    def __init__(
        self, keys: Mapping[str, Health], pace: float = 0.0, clock: Callable[[], float] | None = None
    ) -> None:
        self.keys = dict(keys)
        self.pace = pace
        self.clock = clock or Clock()
        self.think = 0.0
        self.chunks = 8
        self.chunk_bytes = 0
        self.break_after: int | None = None
        self.upload_delay = 0.0
        self.echo_key = False
        self.download_bytes = 100_000
        self.interaction_delay = 0.0
        self.live_binary = True
        self.live_close: tuple[int, str] | None = None
        self.outage: Health | None = None
        self.redirects = False
        self.calls: MutableSequence[Call] = []
        self.store = Store()
        self.uploads: dict[str, Upload] = {}
        self.sessions: set[Live] = set()
        self._server: HTTPServer | None = None

    @property
    def open(self) -> int:
        """How many requests have not ended yet."""
        return sum(call.ended is None for call in self.calls)

    def refusal(self, asked: Asked) -> Refusal | None:
        """Return what is said to a request, or None when it is served."""
        health = self.keys.get(asked.key)
        if health is None:
            return Health.invalid().refusal(asked)
        return (self.outage or health).refusal(asked)

    def give(self, key: str, name: str) -> None:
        """Let a key's project own a resource that cannot be made here, such as ``tunedModels/x``."""
        self.store.put(key, Owned({"name": name, "state": "ACTIVE"}, self.clock()))

    def listen(self, address: str = "127.0.0.1", port: int = 0) -> str:
        """Serve on the current loop and return the base URL. Port 0 is any free one."""
        routes = [(path, handler, {"standin": self}) for path, handler in _ROUTES]
        app = Application(routes, log_function=_no_log, websocket_max_message_size=_MAX_MESSAGE)
        sockets = bind_sockets(port, address)
        self._server = HTTPServer(app, max_body_size=_MAX_BODY, max_buffer_size=_MAX_BODY)
        self._server.add_sockets(sockets)
        return f"http://{address}:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and cut whatever is still open."""
        if self._server:
            self._server.stop()
            await self._server.close_all_connections()
        sessions = list(self.sessions)
        for session in sessions:
            session.cut()
        await asyncio.gather(*(session.gone.wait() for session in sessions))


def _no_log(_handler: Handler) -> None:
    """Keep Tornado from logging what is in ``calls`` anyway."""
