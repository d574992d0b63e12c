"""Whose answer it is: Google's own shapes and words, and errors that open a stream."""

import json
from typing import Any

import pytest

from proxycore.gemini.judge import judge, judge_error
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    NOT_GOOGLE,
    NOT_OWNER,
    UPSTREAM_FAILURE,
    BenchScope,
    Reaction,
    Verdict,
)
from tests.gemini.test_verdict import (
    BARE,
    DAY_QUOTA,
    KEY_INVALID,
    LEAKED,
    MINUTE_QUOTA,
    NOW,
    PER_DAY,
    TYPE,
    UNTIL_MIDNIGHT,
    as_list,
    error_info,
    exceeded,
    google,
    quota_failure,
    read,
    retry_info,
)


def document(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


def interactions(word: str, message: str = "Words.", **more: object) -> bytes:
    return document(code=word, message=message, **more)


# Only Google's own shape speaks of a key.

GATEWAYS = {
    "Cloudflare": b'{"success":false,"result":[],"error":[{"code":1000,"message":"Unauthorized"}]}',
    "an error as text": b'{"error": "API key not valid. Please pass a valid API key."}',
    "FastAPI": b'{"detail": "Not authenticated"}',
    "OpenAI": document(message="Incorrect API key", type="invalid_request_error", code="invalid_api_key"),
    "OpenAI with a word of Google's": interactions("quota_exceeded", type="insufficient_quota"),
    "OpenAI with a type that is null": interactions("unauthenticated", type=None),
    "a word that is nobody's": interactions("unauthorized"),
    "a word without a message": document(code="quota_exceeded"),
    "no status": document(code=429, message=exceeded()),
    "no code": document(status="RESOURCE_EXHAUSTED", message=exceeded()),
    "a code as text": document(code="429", message=exceeded(), status="RESOURCE_EXHAUSTED"),
    "a status that is a reason phrase": document(code=429, message=exceeded(), status="Too Many Requests"),
    "a status that is a number": document(code=429, message=exceeded(), status=8),
    "a code of true": document(code=True, message=exceeded(), status="RESOURCE_EXHAUSTED"),
    "a broken code": document(code=429.5, message=exceeded(), status="RESOURCE_EXHAUSTED"),
    "an endless code": b'{"error":{"code":1e999,"message":"x","status":"RESOURCE_EXHAUSTED"}}',
    "a code of another status": document(code=400, message="x", status="INVALID_ARGUMENT"),
    "two errors": b"[" + DAY_QUOTA + b"," + DAY_QUOTA + b"]",
    "an array in an array": b"[[" + DAY_QUOTA + b"]]",
    "something after it": DAY_QUOTA + b"{}",
    "another name": DAY_QUOTA.replace(b'"error"', b'"Error"', 1),
    "details too deep to read": DAY_QUOTA[:-6] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "a large one": google(429, "x" * 300_000, "RESOURCE_EXHAUSTED", quota_failure(PER_DAY)),
    "text": b"Unauthorized",
    "a text with Google's words": b"API key not valid. Please pass a valid API key.",
}


@pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS)
@pytest.mark.parametrize("status", [401, 402, 403, 429])
@pytest.mark.parametrize("kind", ["application/json", "TEXT/PLAIN", "text/event-stream"])
def test_a_refusal_that_is_not_googles_blames_no_key(status: int, kind: str, body: bytes) -> None:
    for names_resource in (False, True):
        verdict = judge(status, [("CONTENT-type", kind)], body, now=NOW, names_resource=names_resource)
        assert verdict is NOT_GOOGLE


@pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS)
@pytest.mark.parametrize("status", [400, 404, 405, 409, 422])
def test_another_4xx_that_is_not_googles_is_a_client_error(status: int, body: bytes) -> None:
    if b'"code": 400' not in body:
        assert read(status, body) is CLIENT_ERROR


@pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS)
def test_a_5xx_of_any_shape_is_an_upstream_failure(body: bytes) -> None:
    assert read(502, body) is UPSTREAM_FAILURE


@pytest.mark.parametrize("code", ["429", "429.0", "4.29e2"])
def test_a_number_is_a_code_however_it_is_written(code: str) -> None:
    body = DAY_QUOTA.replace(b'"code": 429', f'"code": {code}'.encode())
    assert read(429, body).reason == "daily quota exhausted"


def test_a_response_that_somebody_gave_another_status_blames_no_key() -> None:
    assert read(401, LEAKED) is NOT_GOOGLE
    assert read(403, KEY_INVALID) is NOT_GOOGLE
    assert read(400, LEAKED) is CLIENT_ERROR


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
@pytest.mark.parametrize(
    "detail",
    [
        error_info("API_KEY_INVALID"),
        error_info("CONSUMER_SUSPENDED"),
        quota_failure(PER_DAY),
        retry_info("9s"),
    ],
)
def test_what_is_wrong_with_the_request_is_a_client_error(status: int, detail: dict[str, Any]) -> None:
    bad = {"@type": f"{TYPE}BadRequest", "fieldViolations": [{"field": "x", "description": "y"}]}
    for details in ([bad, detail], [detail, bad]):
        body = google(status, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", *details)
        assert read(status, body) is CLIENT_ERROR


@pytest.mark.parametrize("domain", ["example.com", "", None, 5])
def test_a_reason_of_another_domain_says_nothing(domain: object) -> None:
    info = error_info("API_KEY_INVALID") | {"domain": domain}
    assert read(400, google(400, "No.", "INVALID_ARGUMENT", info)) is CLIENT_ERROR


def test_a_reason_without_a_domain_is_googles() -> None:
    info = error_info("API_KEY_INVALID")
    del info["domain"]
    assert read(400, google(400, "No.", "INVALID_ARGUMENT", info)).rest is BenchScope.RETIRED


# The Interactions API's words.

WORDS = {
    "quota_exceeded": (429, Reaction.FAILOVER, BenchScope.MODEL, UNTIL_MIDNIGHT, "daily quota exhausted"),
    "rate_limit_exceeded": (429, Reaction.FAILOVER, BenchScope.MODEL, None, "quota exhausted"),
    "too_many_requests": (429, Reaction.FAILOVER, BenchScope.MODEL, None, "quota exhausted"),
    "payment_required": (
        402,
        Reaction.FAILOVER,
        BenchScope.ACCOUNT,
        None,
        "no credit or spending cap reached",
    ),
    "unauthenticated": (401, Reaction.FAILOVER, BenchScope.RETIRED, None, "API key not accepted"),
    "permission_denied": (403, Reaction.COMPARE, BenchScope.CALLER, None, "permission denied"),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("message", ["You have exceeded the requests per minute limit.", "", "API PerDay 0s"])
def test_a_word_of_the_interactions_api_decides(word: str, message: str) -> None:
    status, then, rest, seconds, reason = WORDS[word]
    verdict = read(status, interactions(word, message))
    assert (verdict.then, verdict.rest, verdict.seconds, verdict.reason) == (then, rest, seconds, reason)
    assert verdict.day == (word == "quota_exceeded")


@pytest.mark.parametrize(
    "word", ["invalid_request", "failed_precondition", "not_found", "aborted", "cancelled"]
)
def test_any_other_word_is_a_client_error(word: str) -> None:
    status = {"not_found": 404, "aborted": 409, "cancelled": 499}.get(word, 400)
    assert read(status, interactions(word)) is CLIENT_ERROR


def test_an_interaction_of_another_project_is_looked_for_elsewhere() -> None:
    body = interactions("not_found", "Failed to get completed interaction: Result not found.")
    assert read(404, body, names_resource=True) is NOT_OWNER


def test_money_is_money_with_either_status() -> None:
    for status in (402, 429):
        assert read(status, interactions("payment_required")).rest is BenchScope.ACCOUNT
    assert read(402, google(402, "Pay.", "RESOURCE_EXHAUSTED")).rest is BenchScope.ACCOUNT


def test_a_music_model_that_the_tier_does_not_have_is_not_entitled() -> None:
    words = "Rate limit exceeded for model lyria-3-pro (limit: 0 requests per day on Free Tier)"
    assert read(429, interactions("rate_limit_exceeded", words)).then is Reaction.ENTITLED
    assert read(429, interactions("rate_limit_exceeded", words.replace(": 0", ": 10"))).day


# An error that opens a 2xx stream.

OVERLOADED = google(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")


def opened(text: bytes, *, names_resource: bool = False) -> Verdict | None:
    return judge_error(text, now=NOW, names_resource=names_resource)


@pytest.mark.parametrize(
    "form",
    [
        lambda body: body,
        as_list,
        lambda body: b"[" + body,
        lambda body: b"[" + body + b"\n,\r\n",
        lambda body: b" \r\n" + body + b"\r\n\r\n",
        lambda body: json.dumps(json.loads(body)).encode(),
    ],
    ids=["bare", "array", "open array", "array that goes on", "blanks", "compact"],
)
def test_the_code_of_an_error_that_opens_a_stream_decides(form: Any) -> None:  # noqa: ANN401 - bytes to bytes
    assert opened(form(OVERLOADED)) is UPSTREAM_FAILURE
    for status, body in (
        (429, DAY_QUOTA),
        (429, MINUTE_QUOTA),
        (429, BARE),
        (403, LEAKED),
        (400, KEY_INVALID),
    ):
        assert opened(form(body)) == read(status, body)


def test_an_error_event_of_the_interactions_api_is_read() -> None:
    def event(word: str) -> bytes:
        error = {"code": word, "message": "Words."}
        return json.dumps({"event_type": "error", "error": error, "event_id": "1"}).encode()

    assert opened(event("quota_exceeded")) == read(429, interactions("quota_exceeded"))
    assert opened(event("not_found"), names_resource=True) is NOT_OWNER
    assert opened(event("invalid_request")) is CLIENT_ERROR
    assert opened(event("unavailable")) is UPSTREAM_FAILURE
    assert (opened(event("deadline_exceeded")) or CLIENT_ERROR).deadline


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[]",
        b"{",
        b"null",
        b"[DONE]",
        b"\xff",
        b'{"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}',
        b'{"event_type": "interaction.created", "interaction": {}}',
        b'{"error": null}',
        b'{"error": "x"}',
        document(code=200, message="x", status="OK"),
        document(code=8, message="x", status="RESOURCE_EXHAUSTED"),
        document(message="x", type="server_error", code=None),
        document(code="overloaded_error", message="x", type="y"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_error_of_googles_opens_a_stream_as_ever(text: bytes) -> None:
    assert opened(text) is None
