"""The refusals of the mock Gemini API: the response in each state of a key, and to which requests."""

import json
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Gateway, Health
from tests.support.demo_client import GENERATE, HELLO, MINE, STREAM, Here, details, started

INTERACTIONS = "/v1beta/interactions"
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


SENTENCES = {
    "payment_required": (402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    "over_account_cap": (429, "RESOURCE_EXHAUSTED", "Your billing account has exceeded its monthly spending"),
    "spending_too_fast": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your spend-based rate limit. Your spending",
    ),
    "denied": (403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support."),
    "billing_country": (
        403,
        "PERMISSION_DENIED",
        "Access to generativelanguage.googleapis.com is restricted",
    ),
    "no_billing_here": (
        400,
        "FAILED_PRECONDITION",
        "User location is not supported for the API use without a billing account linked.",
    ),
    "no_free_tier_here": (
        400,
        "FAILED_PRECONDITION",
        "Gemini API free tier is not available in your country.",
    ),
    "no_new_users": (
        404,
        "NOT_FOUND",
        "This model models/gemini-2.5-flash is no longer available to new users.",
    ),
    "model_overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "cancelled": (499, "CANCELLED", "The operation was cancelled."),
    "aborted": (409, "ABORTED", "The operation was aborted."),
    "too_late": (503, "UNAVAILABLE", "Deadline expired before operation could complete."),
}


@pytest.mark.parametrize("name", SENTENCES)
async def test_some_refusals_have_no_details(here: Here, name: str) -> None:
    code, status, message = SENTENCES[name]
    found = await here.error(getattr(Health, name)())
    assert (found["code"], found["status"]) == (code, status)
    assert found["message"].startswith(message)
    assert set(found) == {"code", "message", "status"}


REASONS = {
    "unknown": (400, "API Key not found. Please pass a valid API key.", "API_KEY_INVALID"),
    "android_blocked": (
        403,
        "Requests from this Android client application <empty> are blocked.",
        "API_KEY_ANDROID_APP_BLOCKED",
    ),
    "ios_blocked": (
        403,
        "Requests from this iOS client application <empty> are blocked.",
        "API_KEY_IOS_APP_BLOCKED",
    ),
    "scopes": (403, "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
    "user_project": (403, "Caller does not have required permission to use project ", "USER_PROJECT_DENIED"),
    "consumer_spent": (429, "Quota exceeded for quota metric 'Generate Content API ", "RATE_LIMIT_EXCEEDED"),
}


@pytest.mark.parametrize("name", REASONS)
async def test_some_refusals_have_a_reason_in_their_details(here: Here, name: str) -> None:
    code, message, reason = REASONS[name]
    found = await here.error(getattr(Health, name)())
    assert found["code"] == code
    assert found["message"].startswith(message)
    assert details(found)["ErrorInfo"]["reason"] == reason
    assert "$" not in json.dumps(found)


async def test_a_quota_may_name_its_consumer_and_its_value_in_the_reason_alone(here: Here) -> None:
    for health, value in ((Health.consumer_spent(), "15"), (Health.consumer_not_entitled(), "0")):
        found = await here.error(health)
        about = details(found)["ErrorInfo"]["metadata"]
        number = about["consumer"].removeprefix("projects/")
        assert number.isdigit()
        assert found["message"].endswith(f"for consumer 'project_number:{number}'.")
        assert about["quota_limit_value"] == value
        assert "QuotaFailure" not in details(found)


WORDS = {
    "day_spent": (429, "quota_exceeded", "You have exceeded your daily quota."),
    "bare_429": (429, "too_many_requests", "Too many requests."),
    "payment_required": (402, "payment_required", "Your prepayment credits are depleted."),
    "out_of_credit": (402, "payment_required", "Your prepayment credits are depleted."),
    "invalid": (401, "unauthenticated", "Invalid API key"),
    "expired": (401, "unauthenticated", "Invalid API key"),
    "cancelled": (499, "cancelled", "The operation was cancelled."),
    "aborted": (409, "aborted", "The operation was aborted."),
    "unsupported_token": (401, "unauthenticated", "Invalid API key"),
}


@pytest.mark.parametrize("name", WORDS)
async def test_interactions_have_error_codes_of_their_own(here: Here, name: str) -> None:
    code, word, message = WORDS[name]
    here.mock.keys[MINE] = getattr(Health, name)()
    got = await here.ask("POST", INTERACTIONS, {"model": "gemini-2.5-flash", "input": "hi"})
    found = json.loads(got.body)["error"]
    assert (got.status, found["code"], set(found)) == (code, word, {"code", "message"})
    assert found["message"].startswith(message)


async def test_interactions_are_counted_in_the_quota_of_their_model(here: Here) -> None:
    here.mock.keys[MINE] = Health.quota(1)
    asked = {"model": "gemini-2.5-flash", "input": "hi"}
    assert (await here.ask("POST", INTERACTIONS, asked)).status == 200
    got = await here.ask("POST", INTERACTIONS, asked)
    assert json.loads(got.body)["error"]["code"] == "rate_limit_exceeded"
    assert (await here.generate()).status == 429
    here.clock.turn(60)
    assert (await here.ask("POST", INTERACTIONS, asked)).status == 200


@pytest.mark.parametrize("kind", Gateway)
@pytest.mark.parametrize("code", [401, 403, 429])
async def test_a_gateways_error_is_not_in_googles_shape(here: Here, kind: Gateway, code: int) -> None:
    here.mock.keys[MINE] = Health.gateway(kind, code)
    content_type, body = kind.value
    for target, method in ((GENERATE, "POST"), (f"{STREAM}?alt=sse", "POST"), ("/v1beta/models", "GET")):
        got = await here.ask(method, target, HELLO if method == "POST" else None)
        assert (got.status, got.body.decode(), got.all("content-type")) == (
            code,
            body,
            [content_type] if content_type else [],
        )
        assert not got.all("alt-svc")


async def test_a_key_can_be_restricted_to_a_site(here: Here) -> None:
    here.mock.keys[MINE] = Health.for_referrers("https://shop.example/*")
    for fields in ([("Referer", "https://shop.example/cart")], [("Origin", "https://shop.example")]):
        assert (await here.generate(*fields)).status == 200
    for fields, seen in (
        ([], "<empty>"),
        ([("Referer", "https://else.example/cart")], "https://else.example/cart"),
        ([("Origin", "https://else.example")], "https://else.example/"),
        ([("Referer", "https://else.example/"), ("Origin", "https://shop.example")], "https://else.example/"),
    ):
        got = await here.generate(*fields)
        found = json.loads(got.body)["error"]
        assert (got.status, found["message"]) == (403, f"Requests from referer {seen} are blocked.")
        info = details(found)["ErrorInfo"]
        assert (info["reason"], info["metadata"]["httpReferrer"]) == ("API_KEY_HTTP_REFERRER_BLOCKED", seen)


async def test_a_key_can_be_restricted_to_an_address(here: Here) -> None:
    here.mock.keys[MINE] = Health.for_addresses("127.0.0.1")
    assert (await here.generate()).status == 200
    found = await here.error(Health.for_addresses("203.0.113.7"))
    assert "originating IP address of the call (127.0.0.1) violates" in found["message"]
    assert details(found)["ErrorInfo"]["reason"] == "API_KEY_IP_ADDRESS_BLOCKED"


async def test_permission_can_be_missing_for_one_model(here: Here) -> None:
    here.mock.keys[MINE] = Health(models={"gemini-2.5-pro": Health.forbidden()})
    assert (await here.generate()).status == 200
    got = await here.generate(model="gemini-2.5-pro")
    assert (got.status, json.loads(got.body)["error"]["message"]) == (
        403,
        "The caller does not have permission",
    )
