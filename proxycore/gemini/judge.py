"""Judges an upstream response: what it means for the key that was used. All rules for errors are here. Pure.

`judge` returns a verdict: why (`reason`), what is benched and for how long (`rest`, `seconds`, `backoff`),
and what the request does next (`then`). The first rule that matches decides:

    2xx, 3xx                                     healthy
    5xx                                          server error: a retry; after 504, a long wait, only one
    401, 402, 403, 429 not in Google's shape     not from Google: no key is blamed
    any other 4xx not in Google's shape          client error
    with details of a fault in the request       client error
    a reason or a sentence of Google's about
      the key: not valid, leaked, suspended      the key is retired
      its project: denied, disabled, country     the project is benched
      what the key is for: API, page, app        the key is benched; by comparison if about the caller
      money, or spending too fast                the billing account is benched
      the tier or age of the project             not entitled: project x lane for a day
      the region                                 no key is blamed: it is the same for all keys
      API keys as such, or a missing key         any key may be refused: the others, once each
    401                                          the key is retired
    402                                          the billing account is benched
    403, 404 about an owned resource             another key may own it
    403  any other                               by comparison: key x lane
    429  quota value 0                           not entitled: project x lane for a day
    429  quotas of tokens only                   project x lane for prompts as large
    429  quota per day                           project x lane until Google's day ends
    429  any other quota or a retry delay        project x lane until then, at most the quota's window
    429  with no details                         by comparison: project x lane
    other 4xx                                    client error

A message counts only if all of it is Google's (`sentences`), since many messages quote the client.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from sys import intern

from proxycore.gemini.errors import GoogleError, Quota, read_error, read_opening
from proxycore.gemini.refusal import Refusal
from proxycore.gemini.retry_delay import retry_after
from proxycore.gemini.sentences import Kind, one_line, read_close, read_sentence
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    DAY,
    DEADLINE_EXCEEDED,
    HEALTHY,
    KEYS_NOT_ACCEPTED,
    NO_CREDIT,
    NOT_ENTITLED,
    NOT_GOOGLE,
    NOT_OWNER,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    YOUNG_DAY,
    Backoff,
    BenchScope,
    Limit,
    Reaction,
    Verdict,
    since_google_midnight,
    until_google_midnight,
)
from proxycore.http.coding import decode
from proxycore.http.fields import Fields, values_of

_SPENDING_WINDOW = 600.0  # seconds that spending is measured in (ai.google.dev/gemini-api/docs/rate-limits)
_YOUNG_PAUSES = (1.0, 300.0)  # seconds between two calls in a young day: as long as it is old, within these
_LONGEST_WORDS = 300
_COUNTED = (1.0, 60.0, DAY)  # seconds: the windows of the quotas that the proxy counts


def _denied(reason: str, rest: BenchScope, then: Reaction = Reaction.FAILOVER) -> Verdict:
    return Verdict(reason, then, rest, backoff=Backoff.FORBIDDEN)


_DEAD = Verdict("suspended or leaked", Reaction.FAILOVER, BenchScope.RETIRED)
_INVALID = Verdict("API key not valid or expired", Reaction.FAILOVER, BenchScope.RETIRED)
_REFUSED = Verdict("API key not accepted", Reaction.FAILOVER, BenchScope.RETIRED)
_MONEY = _denied(NO_CREDIT, BenchScope.ACCOUNT)
_SPENT_FAST = Verdict("spend-based rate limit exceeded", Reaction.FAILOVER, BenchScope.ACCOUNT)
_NOT_ENTITLED = Verdict(NOT_ENTITLED, Reaction.ENTITLED, BenchScope.MODEL, DAY)
_FORBIDDEN = _denied("permission denied", BenchScope.CALLER, Reaction.COMPARE)
_VAGUE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
_SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL)
_DAY_SPENT = replace(_SPENT, reason="daily quota exhausted")
_TOKENS_SPENT = Verdict("token quota exhausted", Reaction.TOKENS, BenchScope.MODEL)
_REFERRER = _denied("API_KEY_HTTP_REFERRER_BLOCKED", BenchScope.ORIGIN, Reaction.COMPARE)
_DISABLED = _denied("SERVICE_DISABLED", BenchScope.PROJECT)
_BLOCKED = _denied("API_KEY_SERVICE_BLOCKED", BenchScope.KEY)

# The reasons of google.api.ErrorReason that decide by themselves. The first match wins.
_BY_REASON = {
    "CONSUMER_SUSPENDED": _DEAD,
    "API_KEY_INVALID": _INVALID,
    "API_KEY_EXPIRED": _INVALID,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": replace(_REFUSED, reason="ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    "CREDENTIALS_MISSING": KEYS_NOT_ACCEPTED,
    "SERVICE_DISABLED": _DISABLED,
    "API_KEY_SERVICE_BLOCKED": _BLOCKED,
    "API_KEY_HTTP_REFERRER_BLOCKED": _REFERRER,
    "CONSUMER_INVALID": _denied("CONSUMER_INVALID", BenchScope.PROJECT),
    "BILLING_DISABLED": _NOT_ENTITLED,
}
_BY_SENTENCE = {
    Kind.INVALID_KEY: _INVALID,
    Kind.DEAD_KEY: _DEAD,
    Kind.NO_KEY: KEYS_NOT_ACCEPTED,
    Kind.DENIED: _denied("project access denied", BenchScope.PROJECT),
    Kind.COUNTRY: _denied("billing country not supported", BenchScope.PROJECT),
    Kind.DISABLED: _DISABLED,
    Kind.BLOCKED: _BLOCKED,
    Kind.REFERRER: _REFERRER,
    Kind.CALLER: _FORBIDDEN,
    Kind.MONEY: _MONEY,
    Kind.SPENT_FAST: _SPENT_FAST,
    Kind.TIER: _NOT_ENTITLED,
    Kind.UNKNOWN_MODEL: replace(_NOT_ENTITLED, unknown_model=True),
    Kind.CLOSED_MODEL: CLIENT_ERROR,
    Kind.REGION_BLOCKED: REGION_BLOCKED,
}
_NOT_ABOUT_KEYS = frozenset({401, 402, 403, 429})  # when they do not come from Google
_CLOSES = frozenset({1007, 1008, 1011})


def judge(
    status: int,
    headers: Fields,
    body: bytes,
    *,
    now: float,
    names_resource: bool = False,
    opening_error: bytes = b"",
) -> Verdict:
    """Return the verdict on the key with which a response was requested.

    `now` is the wall clock, in seconds since the epoch; `names_resource` is whether the request named a
    resource that belongs to one key's project (a file, a cached content, an operation, ...).
    `opening_error` is the text of the error that a 2xx stream began with (`judge_error`).
    """
    if opening_error and (verdict := judge_error(opening_error, now=now, names_resource=names_resource)):
        return verdict
    if status < 400:
        return HEALTHY
    if status == 504:
        return DEADLINE_EXCEEDED
    encodings = values_of(headers, "content-encoding")
    text = decode(body, encodings) if encodings else body
    if status >= 500 and b"Deadline" not in (text or b""):
        return UPSTREAM_FAILURE
    error = read_error(text)
    if error is None or not error.fits(status):
        return _judge_other_error(status, text, names_resource)
    return _judge_google_error(status, error, retry_after(headers, now), now, names_resource=names_resource)


def judge_error(text: bytes, *, now: float, names_resource: bool = False) -> Verdict | None:
    """Return the verdict on the key by the error at the start of a 2xx stream; None if it is not Google's.

    `text` is the data of the first event, or the bare JSON. The error's own code takes the place of the
    status. The other arguments are those of `judge`.
    """
    error = read_opening(text)
    if error is None or error.code < 400:
        return None
    return _judge_google_error(error.code, error, None, now, names_resource=names_resource)


def judge_close(code: int, reason: str, *, now: float) -> Verdict | None:
    """Return the verdict on the key of a Live session that was refused with a close frame, if there is one.

    `code` and `reason` are the frame's. A reason has at most 123 bytes (RFC 6455 §5.5), so the beginning of a
    sentence is enough.
    """
    words = one_line(reason)
    sentence = read_close(words) if code in _CLOSES else None
    if sentence is None or sentence.kind in {Kind.DEADLINE, Kind.CLOSED_MODEL}:
        return None
    # Judged like a response with the status that belongs to the sentence.
    status = 403 if sentence.kind in {Kind.OWNER, Kind.FORBIDDEN} else 429
    refusal = Refusal(status, GoogleError(status, words), sentence)
    return _with_words(_by_reason(refusal) or _by_status(refusal, now), words, sentence.project)


def _judge_other_error(status: int, text: bytes | None, names_resource: bool) -> Verdict:
    if status >= 500:
        return UPSTREAM_FAILURE
    if text == b"" and names_resource and status in {403, 404}:
        return NOT_OWNER  # such as the response to a HEAD request
    if status in _NOT_ABOUT_KEYS or (text is not None and text.lstrip()[:1] == b"<"):
        return NOT_GOOGLE
    return CLIENT_ERROR


def _judge_google_error(
    status: int, error: GoogleError, delay: float | None, now: float, *, names_resource: bool
) -> Verdict:
    """The verdict on an error in Google's shape; `delay` is the Retry-After in seconds."""
    words = one_line(error.message)
    sentence = read_sentence(words)
    if status >= 500:
        return (
            DEADLINE_EXCEEDED
            if status == 504 or (sentence and sentence.kind is Kind.DEADLINE)
            else UPSTREAM_FAILURE
        )
    if error.bad_request:
        return CLIENT_ERROR
    refusal = Refusal(status, error, sentence, delay, names_resource)
    verdict = _by_reason(refusal) or _by_status(refusal, now)
    # A project that the client names (X-Goog-User-Project) is not the key's.
    named = (
        ""
        if "USER_PROJECT_DENIED" in error.reasons
        else error.project or (sentence.project if sentence else "")
    )
    return _with_words(verdict, words, named)


def _with_words(verdict: Verdict, words: str, project: str) -> Verdict:
    """The verdict with Google's message; a verdict that benches nothing stays the constant that it is."""
    if verdict.rest is BenchScope.NOTHING:
        return verdict
    # One copy of the message, which is kept for as long as the key is benched: thousands may get the same.
    return replace(verdict, words=intern(words[:_LONGEST_WORDS]), project=project)


def _by_reason(refusal: Refusal) -> Verdict | None:
    """The verdict by the error's reasons, else by its sentence; None when the status decides."""
    known = (verdict for reason, verdict in _BY_REASON.items() if reason in refusal.error.reasons)
    found = next(known, None) or (_BY_SENTENCE.get(refusal.kind) if refusal.kind else None)
    if found is _SPENT_FAST and refusal.seconds is not None:
        return replace(found, seconds=min(refusal.seconds, _SPENDING_WINDOW))
    if found is _FORBIDDEN and refusal.reason:
        return replace(found, reason=refusal.reason)
    return found


def _by_status(refusal: Refusal, now: float) -> Verdict:
    if refusal.status == 402 or refusal.error.interactions_code == "payment_required":
        return _MONEY
    match refusal.status:
        case 429:
            return _quota(refusal, now)
        case 401:
            return replace(_REFUSED, reason=refusal.reason or _REFUSED.reason)
        case 403:
            return _forbidden(refusal)
        case 404 if refusal.names_resource:
            return NOT_OWNER
    return CLIENT_ERROR


def _forbidden(refusal: Refusal) -> Verdict:
    generic = not refusal.error.message or refusal.kind is Kind.FORBIDDEN
    if not refusal.reason and (refusal.kind is Kind.OWNER or (refusal.names_resource and generic)):
        return NOT_OWNER
    return replace(_FORBIDDEN, reason=refusal.reason or _FORBIDDEN.reason)


def _quota(refusal: Refusal, now: float) -> Verdict:
    """The verdict on a 429: by its typed quotas, else its sentence's, else the Interactions API's code."""
    typed, named_in_sentence = refusal.error.quotas, refusal.sentence.quotas if refusal.sentence else ()
    named = list(dict.fromkeys(typed or named_in_sentence))
    # Where a quota is zero, Google's details omit the value, and only the sentence has it.
    valued = typed if all(quota.value for quota in typed) and typed else (*typed, *named_in_sentence)
    if any(quota.is_zero for quota in valued):
        return _NOT_ENTITLED
    if refusal.kind is Kind.STORAGE:
        return replace(_TOKENS_SPENT, seconds=refusal.seconds)
    requests = [quota for quota in named if not quota.of_tokens]
    spent = _TOKENS_SPENT if named and not requests else _SPENT
    counted = requests or named
    code = refusal.error.interactions_code
    if code == "quota_exceeded" or any(quota.period == DAY for quota in counted):
        return _until_tomorrow(_DAY_SPENT if spent is _SPENT else spent, counted, now)
    if (
        not counted
        and refusal.retry_delay is None
        and code not in {"rate_limit_exceeded", "too_many_requests"}
    ):
        return replace(_VAGUE, seconds=refusal.seconds)
    longest = max((quota.period or DAY for quota in counted), default=DAY)
    seconds = None if refusal.seconds is None else min(refusal.seconds, longest)
    return replace(spent, seconds=seconds, limits=tuple(_limits(counted)))


def _until_tomorrow(verdict: Verdict, quotas: list[Quota], now: float) -> Verdict:
    age = since_google_midnight(now)
    shortest, longest = _YOUNG_PAUSES
    seconds = min(max(shortest, age), longest) if age < YOUNG_DAY else until_google_midnight(now)
    return replace(verdict, seconds=seconds, limits=tuple(_limits(quotas)), day=True)


def _limits(quotas: Iterable[Quota]) -> Iterator[Limit]:
    for quota in quotas:
        if quota.period in _COUNTED:
            amount = int(quota.value) if quota.is_countable else None
            yield Limit(quota.name, amount, quota.period, quota.of_tokens)
