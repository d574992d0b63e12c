"""The handlers that need the admin key: status as JSON and as a stream of events, actions, and metrics."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.exposition import choose_encoder
from tornado.iostream import StreamClosedError

from proxycore.admin.action_result import ActionError
from proxycore.admin.actions import Actions
from proxycore.admin.event_stream import EventStream
from proxycore.admin.history_ranges import HistoryRanges
from proxycore.admin.pages import StatusHandler
from proxycore.admin.records import Records
from proxycore.http.auth import AdminKey
from proxycore.http.handler_state import HandlerState
from proxycore.stats.figures import FiguresError
from proxycore.stats.prometheus import Metrics

Json = dict[str, Any]

_LARGEST_ACTION = 64 * 1024  # bytes
_REFUSALS = {
    AdminKey.SET: "The admin key is missing or wrong. Send the value of ADMIN_API_KEY, or of OUTPUT_API_KEY.",
    AdminKey.ONE_TIME: "The admin key is missing or wrong. Send the one that was printed at startup.",
    AdminKey.MISSING: "No admin key is set, so only this host has access. Set ADMIN_API_KEY and send it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """The parts that the admin's handlers use; `snapshot` and `metrics` return present values."""

    snapshot: Callable[[], Awaitable[Json]]
    metrics: Callable[[], Awaitable[Metrics]]
    events: EventStream
    actions: Actions
    records: Records
    history: HistoryRanges


class AdminHandler(StatusHandler):
    """A handler that needs the admin key."""

    def initialize(self, parts: AdminParts) -> None:
        """Called by Tornado with the parts behind the handler."""
        super().initialize()
        self._parts = parts

    def write_error(self, status_code: int, **error: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Write an error as all handlers do; 503 with a reason if another process does not respond."""
        fault = error.get("exc_info", (None, None))[1]
        if isinstance(fault, FiguresError):
            self.refuse(503, str(fault))
        else:
            super().write_error(status_code, **error)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Log an exception as all handlers do; a process that does not respond is no internal error."""
        if not isinstance(value, FiguresError):
            super().log_exception(typ, value, tb)

    def prepare(self) -> Awaitable[None] | None:
        """Refuse requests without the admin key."""
        super().prepare()
        if self.state is not HandlerState.PENDING or self.is_admin:
            return None
        return self.refuse_credential(_REFUSALS[self.context.admin.key])


class SnapshotHandler(AdminHandler):
    """`/status.json`: the status (GET), and actions on keys (POST)."""

    allowed = "GET, HEAD, POST"

    def initialize(self, parts: AdminParts) -> None:
        """Called by Tornado with the parts behind the handler."""
        super().initialize(parts)
        self._body = b""

    async def get(self) -> None:
        """Respond with the status as JSON, or (`Accept: text/event-stream`) with a stream of events."""
        wants_stream = "text/event-stream" in self.request.headers.get("Accept", "")
        if not wants_stream or self.request.method == "HEAD":
            self._reply_json(await self._parts.snapshot())
        elif self.finish_body():
            await self._stream()

    head = get

    async def _stream(self) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # nginx would hold it back
        self._become(HandlerState.STREAMING)
        self.context.running.discard(
            self
        )  # it ends only when the client leaves, so a drain does not wait for it
        with contextlib.suppress(StreamClosedError):
            async with contextlib.aclosing(self._parts.events.watch()) as events:
                async for event in events:
                    self.write(event)
                    await self.flush()
            self.finish()

    def data_received(self, chunk: bytes) -> None:
        """Called by Tornado with a piece of the action's JSON."""
        super().data_received(chunk)
        if len(self._body) <= _LARGEST_ACTION:
            self._body += chunk

    async def post(self, *_: str) -> None:
        """Apply an action to a key, and respond with what changed."""
        if not self.finish_body():
            return
        try:
            client, request = self.request.remote_ip or "", self.record.request_id
            done = await self._parts.actions.perform(self._action(), client, request)
        except ActionError as error:
            self.refuse(error.status, str(error))
            return
        shown = None
        with contextlib.suppress(FiguresError):  # the action was applied all the same
            keys = (await self._parts.snapshot())["keys"]
            shown = next((key for key in keys if done.key and key["name"] == done.key.name), None)
        content = {"message": done.message, "accepted": done.accepted, "key": shown}
        self._reply_json(content | ({"found": list(done.found)} if done.found else {}))

    def _reply_json(self, content: Json) -> None:
        self.reply(json.dumps(content), content_type="application/json; charset=UTF-8")

    def _action(self) -> object:
        # A page of another site could send any other content type without a CORS preflight.
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise ActionError("Send the action as application/json.")
        if len(self._body) > _LARGEST_ACTION:
            raise ActionError("The action is too large.", 413)
        try:
            return json.loads(self._body)
        except (ValueError, RecursionError) as error:
            raise ActionError("The body is not JSON.") from error


class MetricsHandler(AdminHandler):
    """`/metrics`, for Prometheus."""

    async def get(self) -> None:
        """Respond with all metrics, in the format that the request accepts."""
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        metrics = await self._parts.metrics()
        self.reply(encode(metrics).decode().rstrip("\n"), content_type=content_type)

    head = get
