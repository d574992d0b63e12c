"""The base of all handlers: CORS, request ids, idle timeouts, and errors in Google's shape."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from tornado.web import stream_request_body

from proxycore.http.checked_headers import CheckedHeaders
from proxycore.http.credential_limiter import LONGEST_DELAY
from proxycore.http.error_response import error_body, retry_info, summary_of
from proxycore.http.fields import Fields, downstream_fields
from proxycore.http.handler_state import HandlerState
from proxycore.http.http_date import http_date
from proxycore.http.tracked_handler import TrackedHandler

_LONGEST_WHY = 300  # characters of a reason that is kept
_LINGER = 30.0  # seconds that a refused client gets to finish sending its body and read the response


@stream_request_body
class BaseHandler(TrackedHandler):
    """Handles one request. Its body is read and dropped unless a subclass stores it."""

    _headers: CheckedHeaders

    def clear(self) -> None:
        """Begin a response with the fields that every response has.

        Called by Tornado at the start, and before an error of its own. Its own version makes fields that no
        response of this program has.
        """
        fields = self.context.cors.fields(self.request.headers.get("Origin"))
        fields += [("Date", http_date()), ("X-Request-Id", self.record.request_id)]
        if self.context.draining:
            fields.append(("Connection", "close"))
        self._headers = CheckedHeaders(fields)
        self._write_buffer: list[bytes] = []
        self._status_code, self._reason = 200, "OK"

    def add_fields(self, fields: Fields) -> None:
        """Add header fields to the response, which were checked; a repeated name adds another field."""
        self._headers.extend(fields)

    def set_head(self, status: int, reason: str, fields: Fields) -> None:
        """Set a response's head from one of the upstream's, without secrets and what is not forwarded."""
        self.set_status(status, reason)
        self.clear_header("Date")  # Tornado's own: the upstream's takes its place
        self.add_fields(self.context.redactor.fields(downstream_fields(fields)))

    def begin_stream(self, status: int, reason: str, fields: Fields) -> None:
        """Commit to a response with this head of the upstream's, and stream it: no other is possible."""
        self.set_head(status, reason, fields)
        self._become(HandlerState.STREAMING)
        self.record.kind, self.record.path = "stream", self.request.path
        self.note_first_byte()

    def remove_fields(self, names: Iterable[str]) -> None:
        """Remove the response's fields of these names."""
        for name in names:
            self.clear_header(name)

    def prepare(self) -> Awaitable[None] | None:
        """Respond to what needs no body: preflights, and requests whose head is refused.

        Tornado reads the body once the awaitable that this returns is done.
        """
        self.context.running.add(self)
        headers = self.request.headers
        if fault := self._connection.fault:
            self.refuse(*fault)
        elif self.context.cors.is_preflight(self.request.method, headers):
            self.set_status(204)
            self.add_fields(self.context.cors.preflight_fields(headers))
            self.finish()
        elif self.incoming.announced and not self._connection.received:
            self.incoming.watch(lambda: self.stalled, self.on_body_timeout)
        return None

    @property
    def stalled(self) -> bool:
        """Whether the client can't send more of the body at present, because nothing is read from it."""
        return False

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Called by Tornado with a piece of the request's body."""
        self.record.received_bytes += len(chunk)
        self.incoming.mark_arrival()
        return None

    def on_body_timeout(self, seconds: float) -> None:
        """Called when nothing of the body arrived for `seconds`."""
        self.refuse(408, f"No data of the request body arrived for {seconds:g} seconds.", linger=False)

    def finish_body(self) -> bool:
        """Mark the body as read; return whether the request still needs a response."""
        self.incoming.mark_read()
        self._stop_lingering()
        return self.state is HandlerState.PENDING

    def refuse_body(self, message: str) -> None:
        """Refuse a request whose body can't be read on. Called by the connection, which then closes."""
        self.incoming.mark_read()
        if not self._headers_written:
            self.set_header("Connection", "close")
        self.refuse(400, message)
        self._stop_lingering()

    def refuse(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        details: Sequence[dict[str, Any]] = (),
        linger: bool = True,
    ) -> None:
        """Respond with an error in Google's shape (AIP-193), with this HTTP status code.

        A response that is being streamed is cut instead. One that is complete is left as it is.
        """
        if self.state is HandlerState.STREAMING:
            self.cut()
        if self.state is not HandlerState.PENDING:
            return
        redactor = self.context.redactor
        # It may quote what a client sent, and the details are the upstream's.
        message = redactor.text(message)
        body = redactor.data(error_body(code, message, status, details))
        self.set_status(code)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Content-Length", len(body))
        if code == 401:
            self.set_header("WWW-Authenticate", "Bearer")  # RFC 9110 §11.6.1
        self.record.sent_bytes += len(body)
        self._note_refusal(message)
        self.note_first_byte()
        self.write(body)
        self.end_response(linger=linger)

    def _note_refusal(self, message: str) -> None:
        """Record why the proxy itself answers the request; no secret is in the message."""
        self.record.why = summary_of(message)[:_LONGEST_WHY]
        self.record.reason = self.record.reason or self.record.why

    def refuse_for(self, seconds: int, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        """Respond 429, with the seconds to wait in `Retry-After` and in Google's `RetryInfo`.

        `details` are further error details, which precede `RetryInfo`.
        """
        self.set_header("Retry-After", seconds)
        self.refuse(429, message, details=[*details, retry_info(seconds)])

    def refuse_credential(self, message: str) -> Awaitable[None] | None:
        """Respond 401; delayed, or with 429, if the address has presented wrong credentials repeatedly.

        No byte of the request's body may be read before the awaitable that this returns is done.
        """
        failure = self.context.limiter.count_failure(self.request.remote_ip or "")
        self.record.unauthenticated = True
        self.access_level = logging.WARNING if failure.logged else logging.DEBUG
        if failure.delay is None:
            many = "Too many requests without a valid key from this address."
            self.refuse_for(math.ceil(LONGEST_DELAY), f"{many} {message}")
        elif failure.delay > 0:
            return self._refuse_credential_later(failure.delay, message)
        else:
            self.refuse(401, message)
        return None

    async def _refuse_credential_later(self, seconds: float, message: str) -> None:
        await asyncio.sleep(seconds)
        self.refuse(401, message)

    def end_response(self, *, linger: bool = True) -> None:
        """Complete the response.

        With `linger`, the rest of a body that is still arriving is read and dropped for up to `_LINGER`
        seconds: a client that is still sending would otherwise find the connection closed before it reads
        the response.
        """
        received = self.incoming.is_read or self._connection.received
        if linger and self.incoming.is_coming and not received:
            self._become(HandlerState.LINGERING)
            self.flush()
            self._loop.call_later(_LINGER, self._stop_lingering)
            return
        if not received and not self._headers_written:
            self.set_header("Connection", "close")  # the rest of the request will not be read
        self.finish()

    def _stop_lingering(self) -> None:
        if self.state is HandlerState.LINGERING:
            self.finish()

    def write_error(self, status_code: int, **_: object) -> None:
        """Called by Tornado for its own errors, and when a handler raised."""
        self.set_header("Connection", "close")  # nothing is read after it
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.SUPPORTED_METHODS))  # RFC 9110 §15.5.6
            self.refuse(405, "The method is not allowed.")
        else:
            self.refuse(status_code, "Internal error of the proxy.")
