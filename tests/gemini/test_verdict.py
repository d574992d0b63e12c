"""What Google's answers say about a key: every row of the table, with bodies as Google sends them."""

import gzip
import json
import random
import time
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import brotli
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxycore.gemini.judge import judge
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    DAY,
    DEADLINE_EXCEEDED,
    HEALTHY,
    KEYS_NOT_ACCEPTED,
    NOT_GOOGLE,
    NOT_OWNER,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
    until_google_midnight,
)
from proxycore.http.fields import Fields

NOW = 1_800_000_000.0 + 3600
UNTIL_MIDNIGHT = 82_800.0  # NOW is one hour past midnight in Los Angeles
JSON_TYPE = ("Content-Type", "application/json; charset=UTF-8")
TYPE = "type.googleapis.com/google.rpc."


def google(code: int, message: str, status: str, *details: dict[str, Any]) -> bytes:
    """An error as Google writes it, pretty-printed."""
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = list(details)
    return json.dumps({"error": error}, indent=2).encode() + b"\n"


def as_list(body: bytes) -> bytes:
    """The same error as the OpenAI-compatible path writes it."""
    return b"[" + body + b"]\n"


def error_info(reason: str, **metadata: str) -> dict[str, Any]:
    return {"@type": f"{TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def quota_failure(*quota_ids: str, value: object = "20") -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    return {
        "@type": f"{TYPE}QuotaFailure",
        "violations": [
            {
                "quotaMetric": metric,
                "quotaId": quota_id,
                "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash-lite"},
                "quotaValue": value,
            }
            for quota_id in quota_ids
        ],
    }


def retry_info(delay: object) -> dict[str, Any]:
    return {"@type": f"{TYPE}RetryInfo", "retryDelay": delay}


HELP = {
    "@type": f"{TYPE}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
TOKENS_PER_DAY = "GenerateContentInputTokensPerModelPerDay-FreeTier"
TOKENS_PER_MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"

_EXCEEDED = (
    "You exceeded your current quota, please check your plan and billing details. For more information on "
    "this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, "
    "head to: https://ai.dev/rate-limit. "
)


def exceeded(limit: str = "20", retry: str = "41.065029449s") -> str:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    line = f"\n* Quota exceeded for metric: {metric}, limit: {limit}, model: gemini-2.5-flash-lite"
    return _EXCEEDED + line + (f"\nPlease retry in {retry}." if retry else "")


def exhausted(message: str, *details: dict[str, Any]) -> bytes:
    return google(429, message, "RESOURCE_EXHAUSTED", *details)


DAY_QUOTA = exhausted(exceeded(), HELP, quota_failure(PER_DAY), retry_info("41s"))
MINUTE_QUOTA = exhausted(exceeded("15", ""), HELP, quota_failure(PER_MINUTE), retry_info("34.074824224s"))
BARE = exhausted("Resource has been exhausted (e.g. check quota).")
PREPAID = exhausted(
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage "
    "your project and billing."
)
SPENDING_CAP = exhausted(
    "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend "
    "to change it."
)
KEY_INVALID = google(
    400,
    "API key not valid. Please pass a valid API key.",
    "INVALID_ARGUMENT",
    error_info("API_KEY_INVALID", service="generativelanguage.googleapis.com"),
    {
        "@type": f"{TYPE}LocalizedMessage",
        "locale": "en-US",
        "message": "API key not valid. Please pass a valid API key.",
    },
)
NOT_ACCEPTED = google(
    401,
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.",
    "UNAUTHENTICATED",
    error_info(
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        method="google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent",
        service="generativelanguage.googleapis.com",
    ),
)
LEAKED = google(403, "Your API key was reported as leaked. Please use another API key.", "PERMISSION_DENIED")
SUSPENDED = google(
    403,
    "Permission denied: Consumer 'api_key:AQ.made-up' has been suspended.",
    "PERMISSION_DENIED",
    error_info(
        "CONSUMER_SUSPENDED", consumer="projects/1234567", service="generativelanguage.googleapis.com"
    ),
)
DISABLED = google(
    403,
    "Generative Language API has not been used in project 1234567 before or it is disabled. Enable it by "
    "visiting https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview"
    "?project=1234567 then retry. If you enabled this API recently, wait a few minutes and retry.",
    "PERMISSION_DENIED",
    error_info("SERVICE_DISABLED", service="generativelanguage.googleapis.com", consumer="projects/1234567"),
)
BLOCKED = google(
    403,
    "Requests to this API generativelanguage.googleapis.com method "
    "google.ai.generativelanguage.v1beta.GenerativeService.StreamGenerateContent are blocked.",
    "PERMISSION_DENIED",
    error_info(
        "API_KEY_SERVICE_BLOCKED", consumer="projects/1234567", service="generativelanguage.googleapis.com"
    ),
)
REFERRER = google(
    403,
    "Requests from referer <empty> are blocked.",
    "PERMISSION_DENIED",
    error_info("API_KEY_HTTP_REFERRER_BLOCKED", service="generativelanguage.googleapis.com"),
)
IP_ADDRESS = google(
    403,
    "The provided API key has an IP address restriction. The originating IP address of the call "
    "(203.0.113.7) violates this restriction.",
    "PERMISSION_DENIED",
    error_info("API_KEY_IP_ADDRESS_BLOCKED", service="generativelanguage.googleapis.com"),
)
ANDROID = google(
    403,
    "Requests from this Android client application <empty> are blocked.",
    "PERMISSION_DENIED",
    error_info("API_KEY_ANDROID_APP_BLOCKED"),
)
SCOPES = google(
    403,
    "Request had insufficient authentication scopes.",
    "PERMISSION_DENIED",
    error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
)
BANNED = google(403, "Your project has been denied access. Please contact support.", "PERMISSION_DENIED")
BILLING_COUNTRY = google(
    403,
    "Access to generativelanguage.googleapis.com is restricted from your billing country and was denied "
    "for project 1234567.",
    "PERMISSION_DENIED",
)
NOT_PERMITTED = google(403, "The caller does not have permission", "PERMISSION_DENIED")
FOREIGN_FILE = google(
    403,
    "You do not have permission to access the File abc123 or it may not exist.",
    "PERMISSION_DENIED",
)
FOREIGN_CACHE = google(403, "CachedContent not found (or permission denied)", "PERMISSION_DENIED")
NO_ENTITY = google(404, "Requested entity was not found.", "NOT_FOUND")
NO_INTERACTION = b'{"error":{"message":"Requested entity was not found.","code":"not_found"}}'
NO_MODEL = google(
    404,
    "models/gemini-pro is not found for API version v1, or is not supported for generateContent. Call "
    "ListModels to see the list of available models and their supported methods.",
    "NOT_FOUND",
)
OLD_MODEL = google(404, "This model models/gemini-1.5-pro is no longer available to new users.", "NOT_FOUND")
BILLED_ONLY = "Imagen API is only accessible to billed users at this time."
NO_BILLING = "User location is not supported for the API use without a billing account linked."
NO_FREE_TIER = (
    "Gemini API free tier is not available in your country. Please enable billing on your project in Google"
    " AI Studio."
)
NO_PLACE = google(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")
HTML = b"\r\n<!DOCTYPE html>\n<html lang=en><title>Error (Blocked)</title><p>That's all we know.</html>"


def read(
    status: int, body: bytes, *fields: tuple[str, str], now: float = NOW, names_resource: bool = False
) -> Verdict:
    return judge(status, [JSON_TYPE, *fields], body, now=now, names_resource=names_resource)


def epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


# Rows: how each kind of answer is read.


@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 302, 304, 307, 308])
def test_success_and_redirection_are_healthy(status: int) -> None:
    verdict = read(status, b"anything")
    assert verdict is HEALTHY
    assert verdict.healthy
    assert (verdict.then, verdict.rest) == (Reaction.RELAY, BenchScope.NOTHING)


def test_a_minute_quota_benches_the_key_for_the_model_as_long_as_told() -> None:
    verdict = read(429, MINUTE_QUOTA)
    assert (verdict.then, verdict.rest) == (Reaction.FAILOVER, BenchScope.MODEL)
    assert verdict.seconds == pytest.approx(34.074824224)


def test_a_day_quota_benches_the_key_for_the_model_until_googles_midnight_whatever_it_is_told() -> None:
    verdict = read(429, DAY_QUOTA)
    assert (verdict.then, verdict.rest, verdict.seconds) == (
        Reaction.FAILOVER,
        BenchScope.MODEL,
        UNTIL_MIDNIGHT,
    )


@pytest.mark.parametrize("body", [PREPAID, SPENDING_CAP], ids=["prepaid credits", "spending cap"])
@pytest.mark.parametrize("status", [402, 429])
def test_money_benches_the_billing_account_as_a_403_does(status: int, body: bytes) -> None:
    verdict = read(status, body.replace(b'"code": 429', f'"code": {status}'.encode()))
    assert (verdict.then, verdict.rest) == (Reaction.FAILOVER, BenchScope.ACCOUNT)
    assert (verdict.seconds, verdict.backoff) == (None, Backoff.FORBIDDEN)


@pytest.mark.parametrize("body", [BARE, exhausted(_EXCEEDED), exhausted(_EXCEEDED, HELP)])
def test_a_429_without_a_reason_is_compared(body: bytes) -> None:
    verdict = read(429, body)
    assert (verdict.then, verdict.rest) == (Reaction.COMPARE, BenchScope.MODEL)
    assert (verdict.seconds, verdict.backoff) == (None, Backoff.QUOTA)
    assert verdict.reason == "refused without a reason"


ZERO_QUOTAS = {
    "in the message": exhausted(exceeded("0", "")),
    "at the message's end": exhausted("Quota exceeded for metric: x, limit: 0"),
    "at a sentence's end": exhausted("Quota exceeded for metric: x, limit: 0. Please retry in 41s."),
    "in the details": exhausted(exceeded(), quota_failure(PER_MINUTE, value="0"), retry_info("41s")),
    "as a number": exhausted(exceeded(), quota_failure(PER_MINUTE, value=0), retry_info("41s")),
    "in ErrorInfo": exhausted(
        "Quota exceeded for quota metric 'Generate Content API requests per minute'",
        error_info(
            "RATE_LIMIT_EXCEEDED",
            quota_limit="GenerateContentRequestsPerMinutePerProjectPerRegion",
            quota_limit_value="0",
            quota_unit="1/min/{project}/{region}",
            consumer="projects/1234567",
        ),
    ),
}


@pytest.mark.parametrize("body", ZERO_QUOTAS.values(), ids=ZERO_QUOTAS)
def test_a_quota_of_zero_means_not_entitled_for_a_day(body: bytes) -> None:
    verdict = read(429, body)
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.ENTITLED, BenchScope.MODEL, DAY)
    assert verdict.reason == "not entitled"


@pytest.mark.parametrize("limit", ["20", "05", "0.5", "100", "1000000"])
def test_a_quota_that_only_begins_with_zero_or_ends_with_it_is_not_zero(limit: str) -> None:
    assert read(429, exhausted(exceeded(limit))).reason == "quota exhausted"


@pytest.mark.parametrize(
    "quota_id",
    [PER_MINUTE, "GenerateRequestsPerHourPerProject", "GenerateImagesPerSecond", ""],
)
def test_any_named_quota_but_the_days_is_a_short_one(quota_id: str) -> None:
    verdict = read(429, exhausted(exceeded(retry=""), quota_failure(quota_id)))
    assert (verdict.then, verdict.rest) == (Reaction.FAILOVER, BenchScope.MODEL)
    assert (verdict.seconds, verdict.backoff) == (None, Backoff.QUOTA)


@pytest.mark.parametrize("quota_id", [PER_DAY, TOKENS_PER_DAY, PER_DAY.lower()])
def test_every_quota_per_day_is_a_days(quota_id: str) -> None:
    verdict = read(429, exhausted(exceeded(), quota_failure(quota_id)))
    assert (verdict.seconds, verdict.day) == (UNTIL_MIDNIGHT, True)


def test_a_limit_that_only_error_info_names_is_a_named_quota() -> None:
    info = error_info(
        "RATE_LIMIT_EXCEEDED", quota_limit="ApiRequestsPerMinutePerProjectPerRegion", quota_limit_value="60"
    )
    verdict = read(429, exhausted("Quota exceeded.", info))
    assert (verdict.then, verdict.backoff) == (Reaction.FAILOVER, Backoff.QUOTA)


DEAD = {
    "invalid": (400, KEY_INVALID),
    "invalid, by message": (
        400,
        google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
    ),
    "not found": (400, google(400, "API Key not found. Please pass a valid API key.", "INVALID_ARGUMENT")),
    "expired": (
        400,
        google(
            400,
            "API key expired. Please renew the API key.",
            "INVALID_ARGUMENT",
            error_info("API_KEY_INVALID"),
        ),
    ),
    "expired, by message": (
        400,
        google(400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT"),
    ),
    "expired, by reason": (400, google(400, "No.", "INVALID_ARGUMENT", error_info("API_KEY_EXPIRED"))),
    "OpenAI surface": (
        400,
        as_list(google(400, "Please pass a valid API key", "INVALID_ARGUMENT")),
    ),
    "401": (401, NOT_ACCEPTED),
    "401 without details": (401, google(401, "Request had invalid credentials.", "UNAUTHENTICATED")),
    "suspended": (403, SUSPENDED),
    "suspended, by message": (
        403,
        google(403, "Permission denied: Consumer 'api_key:AQ.x' has been suspended.", "PERMISSION_DENIED"),
    ),
    "leaked": (403, LEAKED),
}


@pytest.mark.parametrize(("status", "body"), DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
def test_a_dead_key_is_retired(status: int, body: bytes, names_resource: bool) -> None:
    verdict = read(status, body, names_resource=names_resource)
    assert (verdict.then, verdict.rest) == (Reaction.FAILOVER, BenchScope.RETIRED)


DENIED = {
    "service disabled": (DISABLED, BenchScope.PROJECT, "SERVICE_DISABLED"),
    "service blocked": (BLOCKED, BenchScope.KEY, "API_KEY_SERVICE_BLOCKED"),
    "banned project": (BANNED, BenchScope.PROJECT, "project access denied"),
    "billing country": (BILLING_COUNTRY, BenchScope.PROJECT, "billing country not supported"),
}


@pytest.mark.parametrize(("body", "rest", "reason"), DENIED.values(), ids=DENIED)
@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
def test_a_403_about_a_key_or_its_project_benches_it_and_doubles(
    body: bytes, rest: BenchScope, reason: str, names_resource: bool
) -> None:
    verdict = read(403, body, names_resource=names_resource)
    assert (verdict.then, verdict.rest, verdict.reason) == (Reaction.FAILOVER, rest, reason)
    assert (verdict.seconds, verdict.backoff) == (None, Backoff.FORBIDDEN)


COMPARED = {
    "referrer": (REFERRER, BenchScope.ORIGIN, "API_KEY_HTTP_REFERRER_BLOCKED"),
    "IP address": (IP_ADDRESS, BenchScope.CALLER, "API_KEY_IP_ADDRESS_BLOCKED"),
    "Android": (ANDROID, BenchScope.CALLER, "API_KEY_ANDROID_APP_BLOCKED"),
    "scopes": (SCOPES, BenchScope.CALLER, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
    "plain": (NOT_PERMITTED, BenchScope.CALLER, "permission denied"),
    "nothing said": (google(403, "", "PERMISSION_DENIED"), BenchScope.CALLER, "permission denied"),
    "new words": (google(403, "Nobody knows.", "PERMISSION_DENIED"), BenchScope.CALLER, "permission denied"),
}


@pytest.mark.parametrize(("body", "rest", "reason"), COMPARED.values(), ids=COMPARED)
def test_a_403_about_the_caller_is_compared(body: bytes, rest: BenchScope, reason: str) -> None:
    verdict = read(403, body)
    assert (verdict.then, verdict.rest, verdict.reason) == (Reaction.COMPARE, rest, reason)
    assert (verdict.seconds, verdict.backoff) == (None, Backoff.FORBIDDEN)


@pytest.mark.parametrize("body", [REFERRER, IP_ADDRESS])
def test_a_403_about_the_caller_stays_one_when_the_request_names_a_resource(body: bytes) -> None:
    assert read(403, body, names_resource=True) == read(403, body)


@pytest.mark.parametrize(
    "message", ["The caller does not have permission", "Permission denied: restricted.", ""]
)
def test_a_reason_about_the_key_wins_over_general_words(message: str) -> None:
    body = google(403, message, "PERMISSION_DENIED", error_info("API_KEY_SERVICE_BLOCKED"))
    assert read(403, body, names_resource=True).rest is BenchScope.KEY


def test_a_project_that_the_client_named_is_not_the_keys() -> None:
    body = google(
        403,
        "Caller does not have required permission to use project other-people.",
        "PERMISSION_DENIED",
        error_info("USER_PROJECT_DENIED", consumer="projects/7654321"),
    )
    verdict = read(403, body)
    assert (verdict.then, verdict.rest, verdict.project) == (Reaction.COMPARE, BenchScope.CALLER, "")


STRANGERS = {
    "file": (403, FOREIGN_FILE),
    "cached content": (403, FOREIGN_CACHE),
    "generic 403": (403, NOT_PERMITTED),
    "empty 403": (403, b""),
    "generic 404": (404, NO_ENTITY),
    "interaction": (404, NO_INTERACTION),
    "tuned model": (404, google(404, "tunedModels/mine is not found.", "NOT_FOUND")),
    "empty 404": (404, b""),
}


@pytest.mark.parametrize(("status", "body"), STRANGERS.values(), ids=STRANGERS)
def test_a_resource_of_another_project_is_no_blame(status: int, body: bytes) -> None:
    verdict = read(status, body, names_resource=True)
    assert verdict is NOT_OWNER
    assert (verdict.then, verdict.rest) == (Reaction.OWNER, BenchScope.NOTHING)


@pytest.mark.parametrize("body", [FOREIGN_FILE, FOREIGN_CACHE], ids=["file", "cached content"])
def test_googles_sentences_for_a_resource_are_known_when_the_request_was_not(body: bytes) -> None:
    assert read(403, body) is NOT_OWNER


NOT_ENTITLED = {
    "unknown model": (404, NO_MODEL, True),
    "model closed to new users": (404, OLD_MODEL, False),
    "billed users": (400, google(400, BILLED_ONLY, "INVALID_ARGUMENT"), False),
    "Veo": (400, google(400, BILLED_ONLY.replace("Imagen", "Veo"), "INVALID_ARGUMENT"), False),
    "location": (400, google(400, NO_BILLING, "FAILED_PRECONDITION"), False),
    "country": (400, google(400, NO_FREE_TIER, "FAILED_PRECONDITION"), False),
}


@pytest.mark.parametrize(("status", "body", "unknown"), NOT_ENTITLED.values(), ids=NOT_ENTITLED)
@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
def test_what_another_project_may_do_benches_this_one_for_the_model_for_a_day(
    status: int, body: bytes, unknown: bool, names_resource: bool
) -> None:
    verdict = read(status, body, names_resource=names_resource)
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.ENTITLED, BenchScope.MODEL, DAY)
    assert (verdict.reason, verdict.unknown_model) == ("not entitled", unknown)


@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
def test_a_model_that_nobody_has_any_more_is_a_client_error(names_resource: bool) -> None:
    body = google(404, "models/gemini-1.0-pro is no longer available.", "NOT_FOUND")
    assert read(404, body, names_resource=names_resource) is CLIENT_ERROR


def test_a_404_without_a_resource_is_a_client_error() -> None:
    assert read(404, NO_ENTITY) is CLIENT_ERROR


def test_a_region_that_is_not_served_is_the_same_for_all_keys() -> None:
    verdict = read(400, NO_PLACE)
    assert verdict is REGION_BLOCKED
    assert (verdict.then, verdict.rest) == (Reaction.RELAY, BenchScope.NOTHING)


MISTAKES = {
    "precondition": (400, google(400, "Precondition check failed.", "FAILED_PRECONDITION")),
    "deadline": (
        400,
        google(
            400,
            "Manually set deadline 5s is too short. Minimum allowed deadline is 10s.",
            "INVALID_ARGUMENT",
        ),
    ),
    "two credentials": (
        400,
        as_list(
            google(
                400,
                "Multiple authentication credentials received. Please pass only one.",
                "INVALID_ARGUMENT",
            )
        ),
    ),
    "empty 400": (400, b""),
    "method": (405, b""),
    "conflict": (409, google(409, "Requested entity already exists", "ALREADY_EXISTS")),
    "too large": (413, b"Payload Too Large"),
    "range": (416, b""),
    "cancelled": (499, google(499, "The operation was cancelled.", "CANCELLED")),
}


@pytest.mark.parametrize(("status", "body"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
def test_any_other_4xx_is_a_client_error(status: int, body: bytes, names_resource: bool) -> None:
    verdict = read(status, body, names_resource=names_resource)
    assert verdict is CLIENT_ERROR
    assert (verdict.then, verdict.rest) == (Reaction.RELAY, BenchScope.NOTHING)


TROUBLES = {
    "500": (500, google(500, "Internal error encountered.", "INTERNAL")),
    "502": (502, HTML),
    "503": (
        503,
        google(
            503,
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. "
            "Please try again later.",
            "UNAVAILABLE",
        ),
    ),
    "503 that names a key": (503, KEY_INVALID),
    "500 empty": (500, b""),
}


@pytest.mark.parametrize(("status", "body"), TROUBLES.values(), ids=TROUBLES)
def test_a_5xx_is_a_server_error_and_no_keys(status: int, body: bytes) -> None:
    verdict = read(status, body)
    assert verdict is UPSTREAM_FAILURE
    assert (verdict.then, verdict.rest) == (Reaction.RETRY, BenchScope.NOTHING)


TIMEOUTS = {
    "504": (504, google(504, "Deadline expired before operation could complete.", "DEADLINE_EXCEEDED")),
    "504 of a gateway": (504, HTML),
    "504 empty": (504, b""),
    "503 deadline": (503, google(503, "Deadline expired before operation could complete.", "UNAVAILABLE")),
}


@pytest.mark.parametrize(("status", "body"), TIMEOUTS.values(), ids=TIMEOUTS)
def test_a_deadline_of_googles_is_an_upstream_failure_after_a_long_wait(status: int, body: bytes) -> None:
    verdict = read(status, body)
    assert verdict is DEADLINE_EXCEEDED
    assert (verdict.then, verdict.rest, verdict.deadline) == (Reaction.RETRY, BenchScope.NOTHING, True)


# Precedence among several things in one answer.


@pytest.mark.parametrize("seed", range(6))
def test_the_day_wins_over_the_minute_in_any_order_of_violations_and_details(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - an order, not a secret
    ids = [PER_DAY, PER_MINUTE, TOKENS_PER_MINUTE]
    source.shuffle(ids)
    details = [HELP, quota_failure(*ids), retry_info("41s")]
    source.shuffle(details)
    assert read(429, exhausted(exceeded(), *details)).reason == "daily quota exhausted"


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_the_day_wins_when_it_has_a_detail_of_its_own(first: bool) -> None:
    details = [quota_failure(PER_DAY), quota_failure(PER_MINUTE), retry_info("3s")]
    body = exhausted(exceeded(), *(details if first else reversed(details)))
    assert read(429, body).seconds == UNTIL_MIDNIGHT


@pytest.mark.parametrize("others", [(PER_DAY,), (PER_MINUTE,), (PER_DAY, PER_MINUTE)])
def test_a_zero_quota_wins_over_every_other(others: tuple[str, ...]) -> None:
    zero = quota_failure(TOKENS_PER_MINUTE, value="0")
    for details in ([zero, quota_failure(*others)], [quota_failure(*others), zero]):
        verdict = read(429, exhausted(exceeded(), *details, retry_info("41s")))
        assert (verdict.reason, verdict.seconds) == ("not entitled", DAY)


@pytest.mark.parametrize(
    "details",
    [
        (quota_failure(PER_DAY),),
        (quota_failure(PER_MINUTE, value="0"),),
        (quota_failure(PER_MINUTE), retry_info("41s")),
    ],
    ids=["a day", "a zero", "a minute"],
)
def test_money_wins_over_every_quota(details: tuple[dict[str, Any], ...]) -> None:
    message = "Your prepayment credits are depleted. Please retry in 5s."
    assert read(429, exhausted(message, *details)).rest is BenchScope.ACCOUNT


def test_the_usual_quota_text_is_not_about_money_although_it_says_billing() -> None:
    assert "billing details" in exceeded()
    assert read(429, exhausted(exceeded())).rest is BenchScope.MODEL


# How long: what is told, and in which form.

TOLD = {
    "whole seconds": (retry_info("41s"), 41.0),
    "a fraction": (retry_info("34.074824224s"), 34.074824224),
    "nothing": (retry_info("0s"), 0.0),
    "milliseconds": (retry_info("500ms"), 0.5),
    "hours": (retry_info("1h2m3s"), 60.0),
    "more than a day": (retry_info("999999s"), 60.0),
    "no unit": (retry_info("41"), None),
    "no number": (retry_info("soon"), None),
    "two points": (retry_info("1.2.3s"), None),
    "an object": (retry_info({"seconds": 34, "nanos": 5}), 34.000000005),
    "an object with text": (retry_info({"seconds": "34"}), 34.0),
    "an object with nanos only": (retry_info({"nanos": 500_000_000}), 0.5),
    "an empty object": (retry_info({}), None),
    "an object of nothing": (retry_info({"seconds": None, "nanos": []}), None),
    "an object with less than nothing": (retry_info({"seconds": -34}), None),
    "an endless object": (retry_info({"seconds": 10**30}), 60.0),
    "an object that is no number": (retry_info({"seconds": "NaN"}), None),
    "less than nothing": (retry_info("-34s"), None),
    "thousands of digits": (retry_info("9" * 5000 + "s"), None),
    "something around it": (retry_info("about 34s"), None),
    "a list": (retry_info(["34s"]), None),
    "null": (retry_info(None), None),
}


@pytest.mark.parametrize(("info", "seconds"), TOLD.values(), ids=TOLD)
def test_a_retry_delay_is_read_in_every_form(info: dict[str, Any], seconds: float | None) -> None:
    verdict = read(429, exhausted("Quota exceeded.", quota_failure(PER_MINUTE), info))
    assert verdict.reason == "quota exhausted"
    assert verdict.seconds == pytest.approx(seconds)


def test_a_retry_delay_alone_makes_it_a_quota() -> None:
    verdict = read(429, exhausted("Resource has been exhausted (e.g. check quota).", retry_info("7s")))
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.FAILOVER, BenchScope.MODEL, 7.0)


@pytest.mark.parametrize(
    ("told", "seconds"), [("34.07s", 34.07), ("536.139ms", 0.536139), ("2h13m42.5s", 8022.5), ("41s", 41.0)]
)
def test_the_message_alone_has_the_delay(told: str, seconds: float) -> None:
    verdict = read(429, exhausted(exceeded(retry=told)))
    assert (verdict.then, verdict.rest) == (Reaction.FAILOVER, BenchScope.MODEL)
    assert verdict.seconds == pytest.approx(seconds)


def test_a_time_that_one_of_the_two_rounds_down_is_the_same_time() -> None:
    seconds = read(429, exhausted(exceeded(retry="41.065029449s"), retry_info("41s"))).seconds
    assert seconds == pytest.approx(41.065029449)


def test_the_delay_of_the_details_wins_over_the_message() -> None:
    body = exhausted(exceeded(retry="41.065029449s"), quota_failure(PER_MINUTE), retry_info("7s"))
    assert read(429, body).seconds == 7.0


RETRY_AFTER = {
    "seconds": ("120", 120.0),
    "zero": ("0", 0.0),
    "spaces": (" 30 ", 30.0),
    "a date": ("Fri, 15 Jan 2027 09:02:00 GMT", 120.0),
    "a date that has passed": ("Fri, 15 Jan 2027 08:00:00 GMT", 0.0),
    "a date far away": ("Fri, 15 Jan 2038 08:00:00 GMT", 86_400.0),
    "a huge number": ("9" * 400, 86_400.0),
    "less than nothing": ("-5", None),
    "a fraction": ("1.5", None),
    "other digits": ("\u0661\u0662", None),
    "a word": ("soon", None),
    "empty": ("", None),
    "a date that is none": ("Fri, 45 Jan 2027 99:00:00 GMT", None),
}


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after_is_the_delay_of_a_429_that_has_nothing_else(value: str, seconds: float | None) -> None:
    verdict = read(429, BARE, ("retry-after", value))
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.COMPARE, BenchScope.MODEL, seconds)


@pytest.mark.parametrize(
    "date",
    ["Fri, 15 Jan 2027 09:02:00 GMT", "Friday, 15-Jan-27 09:02:00 GMT", "Fri Jan 15 09:02:00 2027"],
    ids=["IMF-fixdate", "RFC 850", "asctime"],
)
def test_all_three_forms_of_a_date_mean_gmt_wherever_the_program_runs(
    monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        verdict = read(429, BARE, ("Retry-After", date))
    time.tzset()
    assert verdict.seconds == 120.0


@pytest.mark.parametrize(
    ("date", "seconds"), [("Fri, 15 Jan 2027 07:01:00 GMT", 60.0), ("Thu, 01 Jan 1970 00:00:00", 86_400.0)]
)
def test_a_date_counts_from_that_of_the_response_whatever_our_clock_says(date: str, seconds: float) -> None:
    fields = [("Retry-After", "Fri, 15 Jan 2027 07:02:00 GMT"), ("Date", date)]
    assert read(429, BARE, *fields).seconds == seconds


def test_a_date_counts_from_our_clock_where_the_response_has_none_that_can_be_read() -> None:
    fields = [("Retry-After", "Fri, 15 Jan 2027 09:02:00 GMT"), ("Date", "today")]
    assert read(429, BARE, *fields).seconds == 120.0


def test_retry_after_is_the_delay_of_a_quota_without_retry_delay() -> None:
    body = exhausted("Quota exceeded.", quota_failure(PER_MINUTE))
    assert read(429, body, ("Retry-After", "17")).seconds == 17.0


def test_a_retry_delay_wins_over_retry_after() -> None:
    assert read(429, MINUTE_QUOTA, ("Retry-After", "17")).seconds == pytest.approx(34.074824224)


def test_a_day_quota_and_money_care_for_no_retry_after() -> None:
    assert read(429, DAY_QUOTA, ("Retry-After", "17")).seconds == UNTIL_MIDNIGHT
    assert read(429, PREPAID, ("Retry-After", "17")).seconds is None


# Google's day.

MIDNIGHTS = {
    "the last second of a winter's day": ("2027-01-15T07:59:59Z", 1.0),
    "a winter's midnight itself": ("2027-01-15T08:00:00Z", 86_400.0),
    "a summer's noon": ("2026-07-01T19:00:00Z", 43_200.0),
    "a summer's midnight itself": ("2026-07-01T07:00:00Z", 86_400.0),
    "the last second before the short day of 2026": ("2026-03-08T07:59:59Z", 1.0),
    "the short day of 2026": ("2026-03-08T08:00:00Z", 82_800.0),
    "the second before the change of March 2026": ("2026-03-08T09:59:59Z", 75_601.0),
    "the change of March 2026": ("2026-03-08T10:00:00Z", 75_600.0),
    "the day after the short one of 2026": ("2026-03-09T07:00:00Z", 86_400.0),
    "the long day of 2026": ("2026-11-01T07:00:00Z", 90_000.0),
    "the hour that comes twice in 2026, first": ("2026-11-01T08:30:00Z", 84_600.0),
    "the hour that comes twice in 2026, again": ("2026-11-01T09:30:00Z", 81_000.0),
    "the day after the long one of 2026": ("2026-11-02T08:00:00Z", 86_400.0),
    "the short day of 2027": ("2027-03-14T08:00:00Z", 82_800.0),
    "the long day of 2027": ("2027-11-07T07:00:00Z", 90_000.0),
    "the hour that comes twice in 2027, again": ("2027-11-07T09:15:00Z", 81_900.0),
    "the end of a year": ("2027-01-01T07:30:00Z", 1800.0),
    "a leap day": ("2028-02-29T08:00:00Z", 86_400.0),
}


@pytest.mark.parametrize(("moment", "seconds"), MIDNIGHTS.values(), ids=MIDNIGHTS)
def test_a_day_quota_benches_until_midnight_in_los_angeles_through_both_clock_changes(
    moment: str, seconds: float
) -> None:
    assert until_google_midnight(epoch(moment)) == seconds
    verdict = read(429, DAY_QUOTA, now=epoch(moment))
    is_young = until_google_midnight(epoch(moment) - 1800) <= 1800  # yesterday's quota may still be counted
    assert (verdict.seconds, verdict.day) == (1.0 if is_young else seconds, True)


@given(st.floats(min_value=0, max_value=4e9))
@settings(max_examples=100, deadline=None)
def test_midnight_is_always_ahead_and_never_more_than_a_long_day_away(now: float) -> None:
    assert 0 < until_google_midnight(now) <= 90_000


# The forms in which an error arrives: body and header fields.

Form = Callable[[bytes], tuple[bytes, Fields]]


def as_array(body: bytes) -> tuple[bytes, Fields]:
    return as_list(body), []


def as_gzip(body: bytes) -> tuple[bytes, Fields]:
    return gzip.compress(body), [("Content-Encoding", "gzip")]


def as_brotli(body: bytes) -> tuple[bytes, Fields]:
    return brotli.compress(body), [("content-encoding", "br")]


def as_deflate(body: bytes) -> tuple[bytes, Fields]:
    return zlib.compress(body), [("CONTENT-ENCODING", "Deflate")]


def as_gzipped_array(body: bytes) -> tuple[bytes, Fields]:
    return as_gzip(as_list(body))


def as_compact(body: bytes) -> tuple[bytes, Fields]:
    return json.dumps(json.loads(body), separators=(",", ":")).encode(), []


def as_event_stream(body: bytes) -> tuple[bytes, Fields]:
    return body, [("Content-Type", "text/event-stream")]


ROWS = {
    "day quota": (429, DAY_QUOTA, False),
    "minute quota": (429, MINUTE_QUOTA, False),
    "bare": (429, BARE, False),
    "prepaid": (429, PREPAID, False),
    "zero": (429, ZERO_QUOTAS["in ErrorInfo"], False),
    "invalid": (400, KEY_INVALID, False),
    "place": (400, NO_PLACE, False),
    "unauthenticated": (401, NOT_ACCEPTED, False),
    "suspended": (403, SUSPENDED, False),
    "leaked": (403, LEAKED, False),
    "disabled": (403, DISABLED, False),
    "foreign file": (403, FOREIGN_FILE, False),
    "foreign entity": (404, NO_ENTITY, True),
    "no model": (404, NO_MODEL, True),
}


@pytest.mark.parametrize(
    "form",
    [as_array, as_gzip, as_brotli, as_deflate, as_gzipped_array, as_compact, as_event_stream],
)
@pytest.mark.parametrize(("status", "body", "names_resource"), ROWS.values(), ids=ROWS)
def test_an_error_reads_the_same_in_every_form(
    form: Form,
    status: int,
    body: bytes,
    names_resource: bool,
) -> None:
    plain = read(status, body, names_resource=names_resource)
    formed, fields = form(body)
    assert judge(status, fields, formed, now=NOW, names_resource=names_resource) == plain


UNREADABLE: dict[str, tuple[bytes, Fields]] = {
    "damaged gzip": (gzip.compress(DAY_QUOTA)[:60] + b"\0\0\0\0", [("Content-Encoding", "gzip")]),
    "truncated gzip": (gzip.compress(DAY_QUOTA)[:-9], [("Content-Encoding", "gzip")]),
    "damaged br": (brotli.compress(DAY_QUOTA)[::-1], [("Content-Encoding", "br")]),
    "truncated br": (brotli.compress(DAY_QUOTA)[:-9], [("Content-Encoding", "br")]),
    "no gzip at all": (DAY_QUOTA, [("Content-Encoding", "gzip")]),
    "unknown coding": (DAY_QUOTA, [("Content-Encoding", "zstd")]),
    "broken JSON": (DAY_QUOTA[:-20], []),
    "deep JSON": (b"[" * 100_000, []),
    "empty": (b"", []),
    "empty array": (b"[]", []),
    "null": (b"null", []),
    "a number": (b"429", []),
    "no error": (b'{"candidates": []}', []),
    "error as a text": (b'{"error": "PerDay limit: 0 prepaid credits"}', []),
    "no UTF-8": (b'{"error": {"message": "\xff limit: 0"}}', []),
    "HTML": (HTML, []),
}


@pytest.mark.parametrize(("body", "fields"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_refusal_that_cannot_be_read_is_nobodys_fault(status: int, body: bytes, fields: Fields) -> None:
    verdict = judge(status, fields, body, now=NOW)
    assert verdict is NOT_GOOGLE
    assert (verdict.then, verdict.rest) == (Reaction.RELAY, BenchScope.NOTHING)


@pytest.mark.parametrize(("body", "fields"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_400_that_cannot_be_read_blames_no_key(body: bytes, fields: Fields) -> None:
    assert judge(400, fields, body, now=NOW).rest is BenchScope.NOTHING


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429])
@pytest.mark.parametrize("names_resource", [False, True], ids=["", "with a resource"])
@pytest.mark.parametrize("form", [lambda body: (body, []), as_gzip, as_brotli], ids=["plain", "gzip", "br"])
def test_a_page_of_a_middlebox_blames_no_key(
    status: int,
    form: Form,
    names_resource: bool,
) -> None:
    body, fields = form(HTML)
    verdict = judge(status, fields, body, now=NOW, names_resource=names_resource)
    assert verdict is NOT_GOOGLE
    assert (verdict.then, verdict.rest) == (Reaction.RELAY, BenchScope.NOTHING)


@pytest.mark.parametrize("status", [400, 403, 429])
@pytest.mark.parametrize(
    "details",
    [None, {}, "x", [], [None], ["x"], [{}], [{"@type": 5}], [[[]]], [{"@type": f"{TYPE}ErrorInfo"}]],
)
def test_details_of_another_shape_are_ignored(status: int, details: object) -> None:
    error = {"code": status, "message": "no word of interest", "status": "UNKNOWN", "details": details}
    body = json.dumps({"error": error}).encode()
    assert read(status, body) == read(status, google(status, "no word of interest", "UNKNOWN"))


# Whatever comes.

NAMES = st.sampled_from(["Content-Encoding", "Retry-After", "Content-Type", "x"])
VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=20),
    st.sampled_from(["gzip", "br", "deflate", "gzip, br", "5", "Fri, 15 Jan 2027 09:02:00 GMT"]),
)
WORDS = st.sampled_from(
    ["PerDay", "limit: 0", "0", "0s", "-1s", "1e9s", "API_KEY_INVALID", f"{TYPE}ErrorInfo", "retry in 5s"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=3)
    ),
    max_leaves=10,
)
DETAIL = st.fixed_dictionaries(
    {},
    optional={
        "@type": st.sampled_from([f"{TYPE}{kind}" for kind in ("ErrorInfo", "QuotaFailure", "RetryInfo")])
        | VALUE,
        "reason": WORDS | VALUE,
        "metadata": st.fixed_dictionaries({}, optional={"quota_limit": VALUE, "quota_limit_value": VALUE})
        | VALUE,
        "violations": st.lists(
            st.fixed_dictionaries({}, optional={"quotaId": WORDS | VALUE, "quotaValue": VALUE}) | VALUE,
            max_size=3,
        )
        | VALUE,
        "retryDelay": WORDS | VALUE,
    },
)
ERROR = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from([400, 401, 402, 403, 404, 429, 503]) | VALUE,
        "message": WORDS | VALUE,
        "status": st.sampled_from(["RESOURCE_EXHAUSTED", "PERMISSION_DENIED"]) | VALUE,
        "details": st.lists(DETAIL, max_size=3) | VALUE,
    },
)
DOCUMENT = st.fixed_dictionaries({"error": ERROR}) | st.lists(
    st.fixed_dictionaries({"error": ERROR}), max_size=2
)
BODY = st.binary(max_size=60) | (DOCUMENT | VALUE).map(lambda document: json.dumps(document).encode())


@given(st.integers(0, 999), st.lists(st.tuples(NAMES, VALUES), max_size=3), BODY, st.booleans())
@example(429, [("Retry-After", "Mon, 01 Jan 0001 00:00:00 +2359")], b"", False)
@example(429, [("Retry-After", "Fri, 31 Dec 9999 23:59:59 -2359")], b"", False)
@example(429, [("Retry-After", "Fri, 15 Jan 2027 09:02:00 +9999")], b"", False)
@settings(max_examples=400, deadline=None)
def test_no_response_whatever_is_in_it_makes_judging_fail(
    status: int,
    fields: Fields,
    body: bytes,
    names_resource: bool,
) -> None:
    verdict = judge(status, fields, body, now=NOW, names_resource=names_resource)
    if status < 400:
        assert verdict is HEALTHY
    assert verdict.healthy == (status < 400)
    if verdict.then is Reaction.RELAY:
        assert verdict.rest is BenchScope.NOTHING
    if verdict.seconds is not None:
        assert 0 <= verdict.seconds <= 90_000
    assert (verdict.seconds is None) or verdict.rest in {BenchScope.MODEL, BenchScope.ACCOUNT}


@given(st.integers(-10, 399), BODY)
@settings(max_examples=50, deadline=None)
def test_nothing_is_benched_after_a_response_that_is_no_error(status: int, body: bytes) -> None:
    assert judge(status, [], body, now=NOW).rest is BenchScope.NOTHING


KEYLESS_ONES = {
    "by reason": (
        401,
        google(
            401,
            "API keys are not supported by this API. Expected OAuth2 access token or other credentials.",
            "UNAUTHENTICATED",
            error_info("CREDENTIALS_MISSING"),
        ),
    ),
    "by sentence": (
        401,
        google(
            401,
            "API keys are not supported by this API. Expected OAuth2 access token or other authentication"
            " credentials that assert a principal. See https://cloud.google.com/docs/authentication",
            "UNAUTHENTICATED",
        ),
    ),
    "no key came": (
        403,
        google(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API"
            " Key or other form of API consumer identity to call this API.",
            "PERMISSION_DENIED",
        ),
    ),
}


@pytest.mark.parametrize(("status", "body"), KEYLESS_ONES.values(), ids=KEYLESS_ONES)
def test_a_method_that_takes_no_key_at_all_blames_no_key(status: int, body: bytes) -> None:
    verdict = read(status, body)
    assert verdict is KEYS_NOT_ACCEPTED
    assert (verdict.rest, verdict.then) == (BenchScope.NOTHING, Reaction.OWNER)
