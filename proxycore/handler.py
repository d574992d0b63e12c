"""What every answer of ours has in common: CORS, a request id, errors in Google's shape, a log line."""

import asyncio
import json
import logging
import math
import re
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from proxycore.credential_limiter import LONGEST_DELAY
from proxycore.fields import Fields
from proxycore.handler_state import BodyState, HandlerState, advance
from proxycore.head_limit import fault_of
from proxycore.log import logger
from proxycore.record import Record, RequestOutcome
from proxycore.silence import Silence
from proxycore.site import Site

CLIENT_SILENCE = 75.0
"""Seconds that a client may take between two pieces of a request, or keep an idle connection."""

_MESSAGES = {  # the log's words for outcomes, where they are others
    RequestOutcome.CLIENT_ERROR: "client error",
    RequestOutcome.FAILED: "request failed",
}
_TROUBLED = {RequestOutcome.FAILED, RequestOutcome.CUT}  # outcomes that are the operator's business
_ENDINGS = {HandlerState.LEFT: RequestOutcome.LEFT, HandlerState.CUT: RequestOutcome.CUT}

_LINGER = 30.0  # seconds in which a client that was refused may finish sending, and so read why

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

_STATUS = {  # google/rpc/code.proto, by the HTTP codes that its comments name
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    414: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


# What a client may call its request: enough for UUIDs, trace ids, and most of what gateways make.
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


@stream_request_body
class ProxyHandler(RequestHandler):
    """A request from its head to its line in the log. Bodies are read, and ignored, unless overridden."""

    access_level = logging.INFO

    def initialize(self) -> None:
        """Called by Tornado for every request."""
        self.clock: Callable[[], float] = self.settings["clock"]
        self.record.since = self.clock()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.state = HandlerState.PENDING
        self._body_state = BodyState.EXPECTED
        self._silence: Silence | None = None

    @property
    def content_length(self) -> str | None:
        """The answer's `Content-Length`, None when it is not known before its end."""
        return self._headers.get("Content-Length")

    def describes(self, names: Iterable[str]) -> bool:
        """Whether the answer has a field of one of these names."""
        return any(name in self._headers for name in names)

    def forget(self, names: Iterable[str]) -> None:
        """Takes the fields of these names out of the answer."""
        for name in names:
            self.clear_header(name)

    def set_default_headers(self) -> None:
        """The fields that every answer carries, errors included."""
        for name in ("Server", "Content-Type"):
            self.clear_header(name)
        if not hasattr(self, "record"):
            self.site: Site = self.settings["site"]  # which a reload replaces, but not for this request
            self.record = Record(self._request_id())
        self.add_fields(self.site.cors.fields(self.request.headers.get("Origin")))
        self.set_header("X-Request-Id", self.record.request_id)
        if self.site.draining:
            self.set_header("Connection", "close")

    def _request_id(self) -> str:
        """The client's own name for the request, if it is a sane one, else one of ours."""
        offered = self.request.headers.get("X-Request-Id", "")
        if _REQUEST_ID.fullmatch(offered) and self.site.redactor.text(offered) is offered:
            return offered
        return secrets.token_hex(8)

    def add_fields(self, fields: Fields) -> None:
        """Adds header fields to the answer, repeated ones repeated."""
        for name, value in fields:
            self._headers.add(name, value)  # which checks them; add_header would do so twice

    def prepare(self) -> Awaitable[None] | None:
        """Ends here what needs no body: preflights, and requests that are malformed.

        Tornado reads the body when what is returned is done.
        """
        self.site.running.add(self)
        headers = self.request.headers
        if self.request.version == "HTTP/1.0":
            # An answer of unknown length ends with the connection, which therefore can't be kept.
            headers.pop("Connection", None)
        if fault := fault_of(self.request):
            self.refuse(*fault)
        elif malformed := getattr(self.request.connection, "fault", ""):
            self.refuse(400, malformed, linger=False)
        elif self.site.cors.is_preflight(self.request.method, headers):
            self.set_status(204)
            self.add_fields(self.site.cors.preflight_fields(headers))
            self.finish()
        elif self.body_announced:
            self._silence = Silence(lambda: self.stalled, self._fell_silent)
            self._silence.watch(CLIENT_SILENCE)
        return None

    @property
    def body_announced(self) -> bool:
        """Whether the request's head says that a body follows."""
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    @property
    def announced_bytes(self) -> int:
        """How large the body is, as far as the request's head says."""
        return int(self.request.headers.get("Content-Length", "0"))

    @property
    def stalled(self) -> bool:
        """Whether the client has to wait before it can send more."""
        return False

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A piece of the request's body."""
        if self._body_state is BodyState.EXPECTED:
            self._body_state = BodyState.ARRIVING
        self.record.received_bytes += len(chunk)
        if self._silence:
            self._silence.heard()
        return None

    def body_whole(self) -> bool:
        """To be called when the body has come; returns whether the request is still to be answered."""
        self._body_state = BodyState.READ
        if self._silence:
            self._silence.stop()
        if self.state is HandlerState.LINGERING:
            self.finish()
        return self.state is HandlerState.PENDING

    def _fell_silent(self, seconds: float) -> None:
        self.refuse(408, f"The request's body stopped coming for {seconds:g} seconds.", linger=False)

    def refuse(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        details: list[dict[str, Any]] | None = None,
        linger: bool = True,
    ) -> None:
        """Answers with an error in Google's shape (AIP-193), unless there is an answer already.

        One that has begun as another is cut.
        """
        if self.state is HandlerState.STREAMING:
            self.cut()
        if self.state is not HandlerState.PENDING:
            return
        error: dict[str, Any] = {
            "code": code,
            "message": self.site.redactor.text(message),  # it may quote what a client sent
            "status": status or _STATUS.get(code, "UNKNOWN"),
        }
        if details:
            error["details"] = details
        # Redacted once more: details are the upstream's.
        body = self.site.redactor.data(json.dumps({"error": error}, indent=2).encode() + b"\n")
        self.set_status(code)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Content-Length", len(body))
        if code == 401:
            self.set_header("WWW-Authenticate", "Bearer")  # RFC 9110 §11.6.1
        self.record.sent_bytes += len(body)
        self.record.reason = self.record.reason or message.partition(". ")[0].rstrip(".")
        self.note_first_byte()
        self.write(body)
        self.end_answer(linger=linger)

    def refuse_credential(self, message: str) -> Awaitable[None] | None:
        """Answers 401; later, where an address presents wrong credentials all the time, then 429.

        Until what is returned is done, nothing of the request's body should be read.
        """
        failure = self.site.limiter.failed(self.request.remote_ip or "")
        self.record.unauthenticated = True
        self.access_level = logging.WARNING if failure.logged else logging.DEBUG
        if failure.delay is None:
            many = "Too many requests without a right key came from this address."
            self.refuse_for(math.ceil(LONGEST_DELAY), f"{many} {message}")
        elif failure.delay > 0:
            return self._refuse_credential_later(failure.delay, message)
        else:
            self.refuse(401, message)
        return None

    async def _refuse_credential_later(self, seconds: float, message: str) -> None:
        await asyncio.sleep(seconds)
        self.refuse(401, message)

    def refuse_for(self, seconds: int, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        """Answers 429, with the seconds after which it may be tried again, as HTTP and as Google says it.

        `details` of an error of Google's may come before that.
        """
        self.set_header("Retry-After", seconds)
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
        self.refuse(429, message, details=[*details, delay])

    @property
    def begun(self) -> bool:
        """Whether a response was begun, also once the request is over."""
        return self.record.first_byte is not None

    def refuse_body(self, message: str) -> None:
        """Answers a request whose body can't be read on, and of which nothing more is read."""
        self._body_state = BodyState.READ
        if not self._headers_written:
            self.set_header("Connection", "close")
        self.refuse(400, message)
        if self.state is HandlerState.LINGERING:
            self.finish()

    def end_answer(self, *, linger: bool = True) -> None:
        """Ends the answer.

        A client that is still sending would meet a closed connection before it reads the answer, so the
        rest of its body is read and dropped, for a while.
        """
        unread = self._body_state is not BodyState.READ
        arriving = self._body_state is BodyState.ARRIVING or "Expect" not in self.request.headers
        if linger and unread and arriving and self.body_announced:
            self._become(HandlerState.LINGERING)
            self.flush()
            self._loop.call_later(_LINGER, self._stop_lingering)
            return
        if unread and not self._headers_written:
            self.set_header("Connection", "close")  # as Tornado does, where it has not read the request's end
        self.finish()

    def _stop_lingering(self) -> None:
        if self.state is HandlerState.LINGERING:
            self.finish()

    def write_error(self, status_code: int, **_: object) -> None:
        """Tornado's own errors, and faults of ours."""
        self.set_header("Connection", "close")  # nothing is read after it
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.SUPPORTED_METHODS))  # RFC 9110 §15.5.6
            self.refuse(405, "The method is not supported.")
        else:
            self.refuse(status_code, "The proxy failed on this request.")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401 - Tornado's signature
        """Tornado's word that a handler raised. An HTTPError is an answer, and in the request's line."""
        if not isinstance(value, HTTPError):
            fields = {"id": self.record.request_id}
            logger.error("internal error", exc_info=(typ, value, tb), extra={"fields": fields})

    def note_first_byte(self) -> None:
        """The answer begins."""
        if self.record.first_byte is None:
            self.record.first_byte = self._loop.time() - self._started

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Ends the answer, and with it a connection of HTTP/1.0, where it may be the only end there is."""
        connection = self.request.connection
        written = super().finish(chunk)
        written.add_done_callback(lambda _: self.on_written())
        if self.request.version == "HTTP/1.0" and isinstance(connection, HTTP1Connection):
            written.add_done_callback(lambda _: connection.close())
        return written

    def compute_etag(self) -> None:
        """No ETag: what is relayed has its own."""

    def on_finish(self) -> None:
        """Tornado's word that the answer was written."""
        self.end_request(HandlerState.FINISHED, self.get_status())

    def on_written(self) -> None:
        """The answer is out."""
        self.site.running.discard(self)

    def on_connection_close(self) -> None:
        """Tornado's word that the client has left."""
        super().on_connection_close()
        self.leave()

    def leave(self) -> None:
        """The client has left."""
        self.site.running.discard(self)
        self.end_request(HandlerState.LEFT, 499)

    def cut(self) -> None:
        """Closes the client's connection in the midst of an answer."""
        if self.state.over:
            return
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101 - Tornado serves no other HTTP
        # Tornado still reads from one whose request is not whole.
        stream = self.detach() if self._body_state is BodyState.READ else connection.stream
        if self.request.version == "HTTP/1.0":
            # The end of the connection is the end of the answer there: only a reset says it was cut.
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.close()
        self.site.running.discard(self)
        self.end_request(HandlerState.CUT, self.get_status())

    def _become(self, state: HandlerState) -> None:
        self.state = advance(self.state, state)

    def end_request(self, state: HandlerState, status: int) -> None:
        """Enter one of the last states, and write the request's line in the log; no more than once."""
        if self.state.over:
            return
        self._become(state)
        if self._silence:
            self._silence.stop()
        outcome = _ENDINGS.get(state) or self.record.outcome(status)
        self.on_record_closed(outcome)
        level = self.access_level
        if outcome in _TROUBLED and level >= logging.INFO:
            level = logging.WARNING
        if logger.isEnabledFor(level):
            refused = self.record.unauthenticated
            message = "credential refused" if refused else _MESSAGES.get(outcome, outcome)
            logger.log(level, "%s", message, extra={"fields": self._fields(status)})

    def on_record_closed(self, outcome: RequestOutcome) -> None:
        """The request is over, one way or another."""

    def _fields(self, status: int) -> dict[str, Any]:
        """What the log says of the request; None where there is nothing to say."""
        record, request = self.record, self.request
        return {
            "method": request.method,
            "path": request.path,
            "model": record.model or None,
            "status": status,
            "reason": record.reason or None,
            "key": None if record.key == "-" else record.key,
            "attempts": record.attempts,
            "first_byte": None if record.first_byte is None else round(record.first_byte, 3),
            "total": round(self._loop.time() - self._started, 3),
            "bytes": record.sent_bytes,
            "input_tokens": record.input_tokens or None,
            "output_tokens": record.output_tokens or None,
            "client": None if record.client == "-" else record.client,
            "address": request.remote_ip,
            "id": record.request_id,
        }
