"""The verdict on an attempt's response, and the log entry for one that is not for the client."""

import logging

from proxycore.gemini.judge import judge
from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import NO_RESPONSE, TIMED_OUT, Reaction, Verdict
from proxycore.http.access_record import AccessRecord
from proxycore.relay.live_close import LiveClose
from proxycore.relay.outcome import AttemptResult
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import UpstreamError

logger = logging.getLogger(__name__)


def verdict_on(
    result: AttemptResult, scope: RequestScope, record: AccessRecord, *, now: float, ways: bool
) -> Verdict:
    """Return the verdict on the key that `record` names. Log a response that is not for the client.

    `now` is the wall clock, in seconds since the epoch; `ways` is whether there are several ways to Google,
    so that a response about one of them is perhaps not for the client.
    """
    if isinstance(result, UpstreamError):
        verdict = TIMED_OUT if result.is_timeout else NO_RESPONSE
        _log(logging.WARNING, record, verdict, reason=str(result), detail=result.detail or None)
        return verdict
    verdict = _judge(result, scope, now)
    if verdict.then is not Reaction.RELAY or (verdict.way and ways):
        _log(logging.INFO, record, verdict, status=result.status)
    return verdict


def _judge(result: BufferedResponse, scope: RequestScope, now: float) -> Verdict:
    if isinstance(result, LiveClose):
        return result.verdict(now, scope)
    return judge(
        result.head.status,
        result.head.fields,
        result.body or b"",
        now=now,
        names_resource=bool(scope.resources),
        opening_error=result.error,
    )


def _log(level: int, record: AccessRecord, verdict: Verdict, **fields: object) -> None:
    about = {"key": record.key, "model": record.model or None, **fields, "verdict": verdict.reason}
    logger.log(level, "attempt failed", extra={"fields": about | {"id": record.request_id}})
