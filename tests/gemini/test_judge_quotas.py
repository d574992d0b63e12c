"""What a refusal says of quotas and of money: how long, of whom, and what it teaches."""

from typing import Any

import pytest

from proxycore.gemini.verdict import DAY, Backoff, BenchScope, Limit, Reaction
from tests.gemini.test_judge import interactions
from tests.gemini.test_verdict import (
    _EXCEEDED,
    BANNED,
    DAY_QUOTA,
    HELP,
    PER_DAY,
    PER_MINUTE,
    TOKENS_PER_DAY,
    TOKENS_PER_MINUTE,
    UNTIL_MIDNIGHT,
    as_list,
    epoch,
    error_info,
    exceeded,
    exhausted,
    google,
    quota_failure,
    read,
    retry_info,
)

# Quotas.

METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"
TOKENS = exceeded().replace(
    "generate_content_free_tier_requests", "generate_content_free_tier_input_token_count"
)
CACHE = (
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model gemini-2.5-flash: limit={}, "
    "requested=10158"
)


def test_quotas_of_tokens_say_nothing_of_smaller_prompts() -> None:
    verdict = read(429, exhausted(TOKENS, HELP, quota_failure(TOKENS_PER_MINUTE), retry_info("34s")))
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.TOKENS, BenchScope.MODEL, 34.0)
    assert verdict.reason == "token quota exhausted"
    assert verdict.limits == (Limit(TOKENS_PER_MINUTE, 20, 60.0, of_tokens=True),)


@pytest.mark.parametrize("body", [exhausted(TOKENS), as_list(exhausted(TOKENS))], ids=["native", "OpenAI"])
def test_the_message_alone_says_that_tokens_are_spent(body: bytes) -> None:
    verdict = read(429, body)
    assert verdict.then is Reaction.TOKENS
    assert verdict.seconds == pytest.approx(41.065029449)


def test_tokens_of_a_day_are_benched_until_midnight() -> None:
    verdict = read(429, exhausted(TOKENS, quota_failure(TOKENS_PER_DAY, TOKENS_PER_MINUTE)))
    assert (verdict.then, verdict.seconds, verdict.day) == (Reaction.TOKENS, UNTIL_MIDNIGHT, True)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ((TOKENS_PER_DAY, PER_MINUTE), "quota exhausted"),
        ((TOKENS_PER_MINUTE, PER_DAY), "daily quota exhausted"),
        ((TOKENS_PER_MINUTE, PER_MINUTE), "quota exhausted"),
    ],
)
def test_a_quota_of_requests_beside_one_of_tokens_decides(ids: tuple[str, ...], reason: str) -> None:
    for order in (ids, ids[::-1]):
        verdict = read(429, exhausted(exceeded(), quota_failure(*order), retry_info("9s")))
        assert (verdict.then, verdict.reason) == (Reaction.FAILOVER, reason)


def test_storage_of_cached_content_that_is_zero_is_not_entitled() -> None:
    for limit in ("0", "0.0"):
        verdict = read(429, exhausted(CACHE.format(limit)))
        assert (verdict.then, verdict.seconds) == (Reaction.ENTITLED, DAY)


def test_storage_of_cached_content_that_is_full_is_a_quota_of_tokens() -> None:
    verdict = read(429, exhausted(CACHE.format("1000000")))
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.TOKENS, BenchScope.MODEL, None)


@pytest.mark.parametrize(
    ("quota_id", "told", "seconds"),
    [
        (PER_MINUTE, "3600s", 60.0),
        (PER_MINUTE, "60s", 60.0),
        ("ImagesPerSecond", "30s", 1.0),
        ("RequestsPerHourPerProject", "7200s", 3600.0),
        ("RequestsPerHourPerProject", "1800s", 1800.0),
        ("SomethingElse", "300s", 300.0),
    ],
)
def test_a_told_time_is_at_most_the_quotas_period(quota_id: str, told: str, seconds: float) -> None:
    verdict = read(429, exhausted(exceeded(), quota_failure(quota_id), retry_info(told)))
    assert (verdict.reason, verdict.seconds) == ("quota exhausted", seconds)


@pytest.mark.parametrize(("value", "amount"), [("15", 15), ("", None), ("many", None)])
def test_a_quota_is_learned_from_even_if_its_limit_or_the_time_is_not_told(
    value: str, amount: int | None
) -> None:
    minute, limits = quota_failure(PER_MINUTE, value=value), (Limit(PER_MINUTE, amount, 60.0),)
    assert read(429, exhausted(exceeded(), minute, retry_info("30s"))).limits == limits
    assert read(429, exhausted(exceeded(), minute, retry_info("1h"))).limits == limits
    assert read(429, exhausted(exceeded(retry=""), minute), ("Retry-After", "3600")).limits == limits
    assert read(429, exhausted(exceeded(retry=""), minute)).limits == limits


def test_the_longest_period_of_several_quotas_bounds_the_time() -> None:
    both = quota_failure("ImagesPerSecond", PER_MINUTE)
    assert read(429, exhausted(exceeded(), both, retry_info("50s"))).seconds == 50.0


@pytest.mark.parametrize(("age", "seconds"), [(0, 1), (1.5, 1.5), (20, 20), (400, 300), (1799, 300)])
@pytest.mark.parametrize("body", [DAY_QUOTA, interactions("quota_exceeded")], ids=["quotaId", "word"])
def test_a_day_that_has_just_begun_is_tried_again_soon(age: float, seconds: float, body: bytes) -> None:
    verdict = read(429, body, now=epoch("2027-01-15T08:00:00Z") + age)
    assert (verdict.seconds, verdict.day) == (seconds, True)


def test_a_day_that_is_half_an_hour_old_is_benched_until_it_ends() -> None:
    verdict = read(429, DAY_QUOTA, now=epoch("2027-01-15T08:30:00Z"))
    assert (verdict.seconds, verdict.day) == (84_600.0, True)


def test_googles_older_sentences_for_a_quota_are_known() -> None:
    words = (
        "Quota exceeded for quota metric 'Generate Content API requests per {0}' and limit 'GenerateContent"
        " request limit per {0} for a region' of service 'generativelanguage.googleapis.com' for consumer"
        " 'project_number:500902514898'."
    )
    minute, day = (read(429, exhausted(words.format(period))) for period in ("minute", "day"))
    assert (minute.reason, minute.seconds, minute.project) == ("quota exhausted", None, "500902514898")
    assert (day.reason, day.seconds) == ("daily quota exhausted", UNTIL_MIDNIGHT)


def test_a_zero_in_the_message_does_not_count_where_the_details_have_the_values() -> None:
    line = "\n* Quota exceeded for metric: x, limit: 0, model: y"
    body = exhausted(_EXCEEDED + line, quota_failure(PER_MINUTE, value="20"))
    assert read(429, body).reason == "quota exhausted"
    without = quota_failure(PER_MINUTE)
    del without["violations"][0]["quotaValue"]
    assert read(429, exhausted(_EXCEEDED + line, without)).reason == "not entitled"


# Money.

FAST = (
    "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed limit for your "
    "account's billing history and tier."
)
CAP = (
    "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to"
    " manage your project spend cap. Learn more at https://ai.google.dev/gemini-api/docs/billing#caps."
)


@pytest.mark.parametrize(
    ("details", "fields", "seconds"),
    [
        ((), (), None),
        ((retry_info("45s"),), (), 45.0),
        ((quota_failure(),), (("Retry-After", "90"),), 90.0),
        ((retry_info("2h"),), (), 600.0),
    ],
)
def test_spending_too_fast_benches_the_billing_account_for_ten_minutes_at_most(
    details: tuple[dict[str, Any], ...], fields: tuple[tuple[str, str], ...], seconds: float | None
) -> None:
    verdict = read(429, exhausted(FAST, *details), *fields)
    assert (verdict.then, verdict.rest, verdict.seconds) == (Reaction.FAILOVER, BenchScope.ACCOUNT, seconds)
    assert (verdict.reason, verdict.backoff) == ("spend-based rate limit exceeded", Backoff.QUOTA)


@pytest.mark.parametrize(
    "message",
    [
        "Your billing account has exceeded its monthly spending cap.",
        CAP,
        "Your prepayment credits are depleted.\n",
    ],
)
def test_money_is_known_in_all_its_sentences(message: str) -> None:
    for status in (402, 429):
        verdict = read(status, google(status, message, "RESOURCE_EXHAUSTED"))
        assert (verdict.rest, verdict.backoff) == (BenchScope.ACCOUNT, Backoff.FORBIDDEN)


# What else is told.


@pytest.mark.parametrize("consumer", ["projects/500902514898", "project_number:500902514898"])
def test_the_keys_project_is_learned_from_either_form(consumer: str) -> None:
    info = error_info("RATE_LIMIT_EXCEEDED", consumer=consumer)
    assert read(429, exhausted(exceeded(), info)).project == "500902514898"


@pytest.mark.parametrize(
    "consumer", ["projects/x", "projects/1 or 2", "folders/500902514898", "500902514898"]
)
def test_what_is_no_project_number_is_not_learned(consumer: str) -> None:
    info = error_info("RATE_LIMIT_EXCEEDED", consumer=consumer)
    assert read(429, exhausted(exceeded(), info)).project == ""


def test_googles_words_are_one_line_of_at_most_300_characters() -> None:
    verdict = read(429, exhausted("One\n* two\t\x1b[31m\u2028 three. " + "x" * 1000))
    assert verdict.words.startswith("One * two [31m three. xxx")
    assert len(verdict.words) == 300
    assert read(403, BANNED).words == "Your project has been denied access. Please contact support."
