"""What a Live session's close frame says of its key before the setup is complete."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.judge import judge_close
from proxycore.gemini.verdict import DAY, NOT_OWNER, REGION_BLOCKED, BenchScope, Reaction, Verdict
from tests.gemini.test_verdict import NO_BILLING, NOW, exceeded

EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
UNKNOWN = (
    "models/gemini-live-2.5-flash is not found for API version v1beta, or is not supported for "
    "bidiGenerateContent. Call ListModels to see the list of available models and their supported methods."
)
CAP = (
    "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend"
    " to manage your project spend cap."
)


def closed(reason: str, code: int = 1008) -> Verdict | None:
    return judge_close(code, reason.encode()[:123].decode(errors="ignore"), now=NOW)


SAID = {
    "expired": (1007, "API key expired. Please renew the API key.", Reaction.FAILOVER, BenchScope.RETIRED),
    "invalid": (
        1007,
        "API key not valid. Please pass a valid API key.",
        Reaction.FAILOVER,
        BenchScope.RETIRED,
    ),
    "leaked": (
        1008,
        "Your API key was reported as leaked. Please use another API key.",
        Reaction.FAILOVER,
        BenchScope.RETIRED,
    ),
    "quota": (1011, EXCEEDED, Reaction.COMPARE, BenchScope.MODEL),
    "quota, cut": (1011, exceeded(), Reaction.COMPARE, BenchScope.MODEL),
    "bare": (1011, "Resource has been exhausted (e.g. check quota).", Reaction.COMPARE, BenchScope.MODEL),
    "credit": (1011, "Your prepayment credits are depleted.", Reaction.FAILOVER, BenchScope.ACCOUNT),
    "spending cap, cut": (1008, CAP, Reaction.FAILOVER, BenchScope.ACCOUNT),
    "spending too fast": (
        1011,
        "You exceeded your spend-based rate limit.",
        Reaction.FAILOVER,
        BenchScope.ACCOUNT,
    ),
    "denied": (
        1008,
        "Your project has been denied access. Please contact support.",
        Reaction.FAILOVER,
        BenchScope.PROJECT,
    ),
    "caller": (1008, "The caller does not have permission", Reaction.COMPARE, BenchScope.CALLER),
    "referrer": (1008, "Requests from referer <empty> are blocked.", Reaction.COMPARE, BenchScope.ORIGIN),
    "referrer, cut": (
        1008,
        f"Requests from referer https://{'example.' * 20}org/ are blocked.",
        Reaction.COMPARE,
        BenchScope.ORIGIN,
    ),
    "model, cut": (1008, UNKNOWN, Reaction.ENTITLED, BenchScope.MODEL),
    "model without models/": (1008, UNKNOWN.removeprefix("models/"), Reaction.ENTITLED, BenchScope.MODEL),
    "billing": (1007, NO_BILLING, Reaction.ENTITLED, BenchScope.MODEL),
}


@pytest.mark.parametrize(("code", "reason", "then", "rest"), SAID.values(), ids=SAID)
def test_a_close_says_what_its_sentence_does(
    code: int, reason: str, then: Reaction, rest: BenchScope
) -> None:
    verdict = closed(reason, code)
    assert verdict is not None
    assert (verdict.then, verdict.rest) == (then, rest)
    assert verdict.words
    assert reason.startswith(verdict.words)


def test_a_close_about_the_region_or_another_projects_resource_blames_nobody() -> None:
    assert closed("User location is not supported for the API use.", 1007) is REGION_BLOCKED
    assert closed("CachedContent not found (or permission denied)") is NOT_OWNER


def test_a_model_that_the_tier_has_no_quota_of_is_not_entitled() -> None:
    verdict = closed("Quota exceeded for metric: x, limit: 0, model: y", 1011)
    assert verdict is not None
    assert (verdict.then, verdict.seconds) == (Reaction.ENTITLED, DAY)


NOTHING = {
    "no reason": "",
    "internal": "Internal error encountered.",
    "going away": "The service is currently unavailable.",
    "deadline": "Deadline expired before operation could complete.",
    "a mistake": "Request contains an invalid argument.",
    "a field's name": 'Invalid JSON payload received. Unknown name "API key not valid. Please pass a valid"',
    "a model's name": "models/API key not valid. Please pass a valid API key. is not found",
    "words within": f"Error: {EXCEEDED}",
    "short beginning": "You exceeded your current quota",
    "something after it": "API key not valid. Please pass a valid API key. Or not.",
    "long, and something after it": f"{EXCEEDED} {'x' * 100}",
    "a long name": "a" * 200,
    "wide characters": "\u20ac" * 60,
}


@pytest.mark.parametrize("reason", NOTHING.values(), ids=NOTHING)
def test_a_close_that_speaks_of_no_key_says_nothing(reason: str) -> None:
    assert closed(reason) is None


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1006, 1009, 1012, 3000])
def test_only_the_codes_that_google_refuses_with_count(code: int) -> None:
    assert closed(EXCEEDED, code) is None


@given(st.sampled_from([1007, 1008, 1011, 4000]), st.text(max_size=130))
@settings(max_examples=200, deadline=None)
def test_no_reason_whatever_is_in_it_makes_judging_fail(code: int, reason: str) -> None:
    judge_close(code, reason, now=NOW)
