"""The access log: one entry for each request, written when it is over."""

import logging
from typing import Any

from tornado.httputil import HTTPServerRequest

from proxycore.http.access_record import AccessRecord, RequestOutcome

logger = logging.getLogger(__name__)

_MESSAGES = {  # for outcomes whose message is not the outcome itself
    RequestOutcome.CLIENT_ERROR: "client error",
    RequestOutcome.FAILED: "request failed",
    RequestOutcome.REFUSED: "request refused",
    RequestOutcome.LEFT: "client disconnected",
    RequestOutcome.CUT: "response cut off",
}
_WARNED_OF = {RequestOutcome.FAILED, RequestOutcome.CUT}  # outcomes that need the operator's attention


def log_request(
    request: HTTPServerRequest,
    record: AccessRecord,
    outcome: RequestOutcome,
    *,
    status: int,
    seconds: float,
    level: int,
) -> None:
    """Write the entry of a request that ended with this HTTP status after `seconds`.

    `level` is the level of the handler. A request that failed or was cut is logged as a warning, unless the
    handler logs for debugging only.
    """
    if outcome in _WARNED_OF and level >= logging.INFO:
        level = logging.WARNING
    if logger.isEnabledFor(level):
        message = "credential refused" if record.unauthenticated else _MESSAGES.get(outcome, outcome)
        # Not by `logger.log`, which looks for the caller and compares the fields with the record's own.
        entry = logging.LogRecord(logger.name, level, "", 0, message, None, None)
        entry.__dict__["fields"] = _fields(request, record, status, seconds)
        logger.handle(entry)


def _fields(request: HTTPServerRequest, record: AccessRecord, status: int, seconds: float) -> dict[str, Any]:
    """The fields of the entry. Those that are None are left out."""
    return {
        "method": request.method,
        "path": request.path,
        "model": record.model or None,
        "status": status,
        "reason": record.reason or None,
        "key": None if record.key == "-" else record.key,
        "attempts": record.attempts,
        "first_byte": None if record.first_byte is None else round(record.first_byte, 3),
        "total": round(seconds, 3),
        "bytes": record.sent_bytes,
        "input_tokens": record.input_tokens or None,
        "output_tokens": record.output_tokens or None,
        "client": None if record.client == "-" else record.client,
        "address": request.remote_ip,
        "id": record.request_id,
    }
