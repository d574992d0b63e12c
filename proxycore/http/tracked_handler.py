"""A handler with a state, an access record, and one log entry at its end."""

import asyncio
import logging
from typing import Any, cast

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler

from proxycore.http.access_log import log_request
from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.http.client_connection import ClientConnection
from proxycore.http.context import ServingContext
from proxycore.http.handler_state import HandlerState, advance
from proxycore.http.incoming_body import IncomingBody
from proxycore.http.request_id import request_id

logger = logging.getLogger(__name__)

_ENDINGS = {HandlerState.LEFT: RequestOutcome.LEFT, HandlerState.CUT: RequestOutcome.CUT}


class TrackedHandler(RequestHandler):
    """A handler that tracks the `state` of its request, and logs the request once when it is over.

    `context` is the serving context at the request's arrival, and `incoming` the progress of its body.
    """

    # With more than thirty attributes beside Tornado's, Python gives every handler a dictionary of its own.
    __slots__ = ("_connection", "_loop", "_started", "context", "incoming", "record", "state")

    access_level = logging.INFO

    def __init__(
        self,
        application: Application,
        request: HTTPServerRequest,
        **parts: Any,  # noqa: ANN401 - what the route gives to `initialize`
    ) -> None:
        # Before Tornado's constructor, which sets the default header fields: they need context and record.
        context: ServingContext = application.settings["context"]
        offered = request.headers.get("X-Request-Id", "")
        self.context = context  # a reload replaces it for later requests only
        self.record = AccessRecord(request_id(offered, context.redactor), application.settings["clock"]())
        self.incoming = IncomingBody(request.headers)
        self.state = HandlerState.PENDING
        self._connection = cast("ClientConnection", request.connection)
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        super().__init__(application, request, **parts)

    def _become(self, state: HandlerState) -> None:
        self.state = advance(self.state, state)

    @property
    def begun(self) -> bool:
        """Whether a response was begun; it may be complete by now."""
        return self.record.first_byte is not None

    def note_first_byte(self) -> None:
        """Record the time to first byte: the response is sent now."""
        if self.record.first_byte is None:
            self.record.first_byte = self._loop.time() - self._started

    def _log(self) -> None:
        """Nothing where Tornado would log the request: `end_request` does, for those that broke as well."""

    def compute_etag(self) -> None:
        """No ETag: a response that is relayed has its own."""

    def on_finish(self) -> None:
        """Called by Tornado when the response is complete; it may not be sent yet."""
        self.context.running.discard(self)
        self.end_request(HandlerState.FINISHED, self.get_status())

    def on_connection_close(self) -> None:
        """Called by the connection when the client has closed it."""
        self.leave()

    def leave(self) -> None:
        """End the request of a client that has closed the connection."""
        self.context.running.discard(self)
        self.end_request(HandlerState.LEFT, 499)

    def cut(self) -> None:
        """Close the client's connection before the response is complete."""
        if self.state.over or self.state is HandlerState.UPGRADED:
            return
        # In HTTP/1.0 closing the connection ends the response: only a reset shows that it is incomplete.
        self._connection.abort(reset=self.request.version == "HTTP/1.0")
        self.context.running.discard(self)
        self.end_request(HandlerState.CUT, self.get_status())

    def end_request(self, state: HandlerState, status: int) -> None:
        """Enter a final state and log the request with this status, unless it is over already."""
        if self.state.over:
            return
        self._become(state)
        self.incoming.stop_watching()
        self.record.status = status
        outcome = _ENDINGS.get(state) or self.record.outcome(status)
        self.on_record_closed(outcome)
        seconds = self._loop.time() - self._started
        log_request(
            self.request, self.record, outcome, status=status, seconds=seconds, level=self.access_level
        )

    def on_record_closed(self, outcome: RequestOutcome) -> None:
        """Called once when the request is over, before it is logged."""

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Called by Tornado when a handler raised. An HTTPError is a response, logged as any other."""
        if not isinstance(value, HTTPError):
            fields = {"id": self.record.request_id}
            logger.error("internal error", exc_info=(typ, value, tb), extra={"fields": fields})
