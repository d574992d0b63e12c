"""Google's error responses from public reports: status, header fields and body as on the wire."""

import json
from typing import Any, NamedTuple

from proxycore.http.fields import Fields

_TYPE = "type.googleapis.com/google.rpc."
_SERVICE = {"service": "generativelanguage.googleapis.com"}
_HELP = {
    "@type": f"{_TYPE}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
QUOTA_WORDS = (
    "You exceeded your current quota, please check your plan and billing details. For more information on"
    " this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


class Response(NamedTuple):
    """A response. With a status of 0 the connection breaks instead."""

    status: int
    fields: Fields
    body: bytes


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> Response:
    """An error in Google's shape (AIP-193), without `details` when there are none."""
    content: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        content["details"] = list(details)
    fields = [("Content-Type", "application/json; charset=UTF-8")]
    return Response(code, fields, json.dumps({"error": content}).encode())


def _info(reason: str) -> dict[str, Any]:
    metadata = dict(_SERVICE)
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def _quota_failure(metric: str, quota: str, model: str, value: int | None) -> dict[str, Any]:
    violation: dict[str, Any] = {
        "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
        "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": model},
    }
    if value is not None:
        violation["quotaValue"] = str(value)
    return {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}


def _spent(
    metric: str, quota: str, model: str, value: int | None, seconds: float | None, *, exact: bool = True
) -> Response:
    """An exhausted quota; without its `value` or the `seconds` until it is free where those are None.

    Unless `exact`, the seconds are whole, as in errors that name them in `RetryInfo` alone.
    """
    words, details = QUOTA_WORDS, [_HELP, _quota_failure(metric, quota, model, value)]
    if value is not None:
        words += (
            f"\n* Quota exceeded for metric: generativelanguage.googleapis.com/{metric}, limit:"
            f" {value}, model: {model}"
        )
    if seconds is not None:
        words += f"\nPlease retry in {seconds:.9f}s." if exact else ""
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{int(seconds)}s"})
    return error(429, "RESOURCE_EXHAUSTED", words, *details)


def minute_spent(model: str, value: int | None, seconds: float | None, *, exact: bool = True) -> Response:
    """An exhausted quota of requests per minute, with the seconds until it is free."""
    quota = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    return _spent("generate_content_free_tier_requests", quota, model, value, seconds, exact=exact)


def day_spent(model: str, value: int) -> Response:
    """An exhausted quota of requests per day, with the misleading delay that Google names."""
    quota = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    return _spent("generate_content_free_tier_requests", quota, model, value, 41.065029449)


def tokens_spent(model: str, value: int | None, seconds: float | None, *, exact: bool = True) -> Response:
    """A quota of tokens per minute that is exhausted, or smaller than the prompt."""
    quota = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
    metric = "generate_content_free_tier_input_token_count"
    return _spent(metric, quota, model, value, seconds, exact=exact)


def not_found(model: str) -> Response:
    """The error for projects that are not entitled to a model."""
    words = (
        f"models/{model} is not found for API version v1beta, or is not supported for generateContent. Call"
        " ListModels to see the list of available models and their supported methods."
    )
    return error(404, "NOT_FOUND", words)


def disabled(project: int) -> Response:
    """The API is not enabled in the project of this number."""
    words = (
        f"Generative Language API has not been used in project {project} before or it is disabled. Enable"
        " it by visiting https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview"
        f"?project={project} then retry."
    )
    return error(403, "PERMISSION_DENIED", words, _info("SERVICE_DISABLED"))


OVERLOADED = error(
    503,
    "UNAVAILABLE",
    "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try"
    " again later.",
)
INTERNAL = error(500, "INTERNAL", "Internal error encountered.")
RESET = Response(0, [], b"")
SERVED = Response(200, [("Content-Type", "application/json; charset=UTF-8")], b'{"candidates":[]}')

INVALID = error(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    _info("API_KEY_INVALID"),
    {
        "@type": f"{_TYPE}LocalizedMessage",
        "locale": "en-US",
        "message": "API key not valid. Please pass a valid API key.",
    },
)
EXPIRED = error(
    400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", _info("API_KEY_INVALID")
)
UNAUTHENTICATED = error(
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
    " valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    _info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
)
SUSPENDED = error(
    403,
    "PERMISSION_DENIED",
    "Permission denied: Consumer 'api_key:upstream-key' has been suspended.",
    _info("CONSUMER_SUSPENDED"),
)
LEAKED = error(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.")
DENIED = error(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support.")
BARE = error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
CALLER = error(403, "PERMISSION_DENIED", "The caller does not have permission")
REFERRER = error(
    403,
    "PERMISSION_DENIED",
    "Requests from referer <empty> are blocked.",
    _info("API_KEY_HTTP_REFERRER_BLOCKED"),
)
TIER = error(
    400,
    "FAILED_PRECONDITION",
    "User location is not supported for the API use without a billing account linked.",
)
NO_CREDIT = error(
    402,
    "RESOURCE_EXHAUSTED",
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage"
    " your project and billing.",
)
SPENDING = error(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed limit for your"
    " account's billing history and tier.",
)
SEARCH = error(429, "RESOURCE_EXHAUSTED", QUOTA_WORDS, _HELP)
CACHE = error(
    429,
    "RESOURCE_EXHAUSTED",
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model gemini-2.5-flash: limit=0,"
    " requested=10158",
)
