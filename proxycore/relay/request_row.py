"""The row of the request log for a request that is over."""

from tornado.httputil import HTTPServerRequest

from proxycore.clock import Clock
from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.storage.rows import AttemptRow, RequestRow, summed


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
    values = (
        record.request_id,
        clock.to_wall(record.since),
        record.client,
        request.remote_ip or "",
        request.method or "",
        request.path,
        record.model,
        record.key,
        record.status,
        outcome,
        *summed(record),
        record.first_byte,
        seconds,
        record.why,
        record.waited,
        tuple(attempts),
    )
    return RequestRow(*values)  # by position, which takes half the time: there is one for each request
