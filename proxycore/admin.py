"""What only the admin gets: the status as JSON and as a stream of updates, actions, and the metrics."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.exposition import choose_encoder
from tornado.iostream import StreamClosedError

from proxycore.auth import AdminKey
from proxycore.control import Control, ControlError
from proxycore.figures import FiguresError
from proxycore.handler_state import HandlerState
from proxycore.metrics import Metrics
from proxycore.status import StatusHandler
from proxycore.updates import Updates

Json = dict[str, Any]

_LARGEST_ORDER = 64 * 1024  # bytes
_REFUSALS = {
    AdminKey.SET: "The admin key is missing or wrong. Send ADMIN_API_KEY, or OUTPUT_API_KEY.",
    AdminKey.ONE_TIME: "The admin key is missing or wrong. Send the one that was printed at the start.",
    AdminKey.MISSING: "No admin key is set, so only this host is served. Set ADMIN_API_KEY, and send it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the admin is served."""

    current: Callable[[], Awaitable[Json]]
    metrics: Callable[[], Awaitable[Metrics]]
    updates: Updates
    control: Control


class AdminHandler(StatusHandler):
    """A page for the admin."""

    def initialize(self, desk: Desk) -> None:
        """What there is to see and to do."""
        super().initialize()
        self._desk = desk

    def write_error(self, status_code: int, **error: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Faults of ours; when other processes don't answer, that is said."""
        fault = error.get("exc_info", (None, None))[1]
        if isinstance(fault, FiguresError):
            self.refuse(503, str(fault))
        else:
            super().write_error(status_code, **error)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Tornado's word that a handler raised."""
        if not isinstance(value, FiguresError):
            super().log_exception(typ, value, tb)

    def prepare(self) -> Awaitable[None] | None:
        """Refuses all others."""
        super().prepare()
        if self.state is not HandlerState.PENDING or self.is_admin:
            return None
        return self.refuse_credential(_REFUSALS[self.site.admin.key])


class SnapshotHandler(AdminHandler):
    """`/status.json`: what is known, and what can be done about it."""

    allowed = "GET, HEAD, POST"

    def initialize(self, desk: Desk) -> None:
        """What there is to see and to do."""
        super().initialize(desk)
        self._body = b""

    async def get(self) -> None:
        """All of it as JSON, or (`Accept: text/event-stream`) what changes as it does."""
        wants_stream = "text/event-stream" in self.request.headers.get("Accept", "")
        if not wants_stream or self.request.method == "HEAD":
            self._reply_json(await self._desk.current())
        elif self.body_whole():
            await self._stream()

    head = get

    async def _stream(self) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # nginx would hold it back
        self._become(HandlerState.STREAMING)
        self.site.running.discard(self)  # nobody waits for its end
        with contextlib.suppress(StreamClosedError):
            async with contextlib.aclosing(self._desk.updates.watch()) as events:
                async for event in events:
                    self.write(event)
                    await self.flush()
            self.finish()

    def data_received(self, chunk: bytes) -> None:
        """What is to be done."""
        super().data_received(chunk)
        if len(self._body) <= _LARGEST_ORDER:
            self._body += chunk

    async def post(self, *_: str) -> None:
        """Does something to a key, and says what."""
        if not self.body_whole():
            return
        try:
            done = await self._desk.control.perform(self._order())
        except ControlError as error:
            self.refuse(error.status, str(error))
            return
        shown = None
        with contextlib.suppress(FiguresError):  # it is done all the same
            keys = (await self._desk.current())["keys"]
            shown = next((key for key in keys if key["name"] == done.key.name), None)
        self._reply_json({"message": done.message, "accepted": done.accepted, "key": shown})

    def _reply_json(self, content: Json) -> None:
        self.reply(json.dumps(content), content_type="application/json; charset=UTF-8")

    def _order(self) -> object:
        # A page of another site could send anything else without asking the browser for leave.
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise ControlError("Send it as application/json.")
        if len(self._body) > _LARGEST_ORDER:
            raise ControlError("It is too large.", 413)
        try:
            return json.loads(self._body)
        except (ValueError, RecursionError) as error:
            raise ControlError("The body is not JSON.") from error


class MetricsHandler(AdminHandler):
    """`/metrics`: for Prometheus."""

    async def get(self) -> None:
        """All of them, in the format that is asked for."""
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        metrics = await self._desk.metrics()
        self.reply(encode(metrics).decode().rstrip("\n"), content_type=content_type)

    head = get
