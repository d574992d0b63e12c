"""The row of the request log for a request that is over."""

from tornado.httputil import HTTPServerRequest

from proxycore.clock import Clock
from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.storage.rows import AttemptRow, RequestRow


def row_of(
    request: HTTPServerRequest, record: AccessRecord, outcome: RequestOutcome, seconds: float, clock: Clock
) -> RequestRow:
    """Return what is kept of a request that ended after so many seconds: its head, but no field and no query.

    An attempt that is still in flight is abandoned now, as is a wait for a key.
    """
    now = clock()
    record.end_wait(now)
    attempts = [
        AttemptRow(
            attempt.key,
            attempt.status,
            attempt.verdict,
            attempt.why,
            max(0.0, now - attempt.began) if attempt.seconds is None else attempt.seconds,
            max(0.0, attempt.began - record.since),
        )
        for attempt in record.tried
    ]
    return RequestRow(
        id=record.request_id,
        time=clock.to_wall(record.since),
        client=record.client,
        address=request.remote_ip or "",
        method=request.method or "",
        path=request.path,
        model=record.model,
        key=record.key,
        status=record.status,
        outcome=outcome,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cached_tokens=record.cached_tokens,
        thinking_tokens=record.thinking_tokens,
        tool_tokens=record.tool_tokens,
        unread=record.unread,
        received_bytes=record.received_bytes,
        sent_bytes=record.sent_bytes,
        first_byte=record.first_byte,
        seconds=seconds,
        why=record.why,
        waited=record.waited,
        attempts=tuple(attempts),
    )
