"""How far one request goes: which answers lead to another attempt, and how many."""

import random

import pytest

from proxycore.gemini.methods import repeatable, spends
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    DEADLINE_EXCEEDED,
    HEALTHY,
    KEYS_NOT_ACCEPTED,
    NOT_GOOGLE,
    NOT_OWNER,
    REGION_BLOCKED,
    TIMED_OUT,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.relay.retry_policy import FEW, GiveUp, NextStep, Proceed, Respond, RetryPolicy, settle
from proxycore.rotation.case import About, Case
from proxycore.rotation.key import Key

QUOTA = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 5.0)
DEAD = Verdict("suspended", Reaction.FAILOVER, BenchScope.RETIRED)
VAGUE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
CALLER = Verdict("permission denied", Reaction.COMPARE, BenchScope.CALLER, backoff=Backoff.FORBIDDEN)
NOT_ENTITLED = Verdict("not entitled", Reaction.ENTITLED, BenchScope.MODEL)
TOO_LARGE = Verdict("token quota exhausted", Reaction.TOKENS, BenchScope.MODEL, 30.0)

MODEL = "/v1beta/models/gemini-2.0-flash"
COMPUTES = [
    f"{MODEL}:generateContent",
    f"{MODEL}:streamGenerateContent",
    f"{MODEL}:countTokens",
    f"{MODEL}:computeTokens",
    f"{MODEL}:embedContent",
    f"{MODEL}:batchEmbedContents",
    f"{MODEL}:predict",
    "/v1beta/models/text-bison-001:generateText",
    "/v1beta/models/chat-bison-001:generateMessage",
    "/v1beta/models/aqa:generateAnswer",
    "/v1beta/models/embedding-gecko-001:embedText",
    "/v1beta/models/embedding-gecko-001:batchEmbedText",
    "/v1beta/models/text-bison-001:countTextTokens",
    "/v1beta/models/chat-bison-001:countMessageTokens",
    "/v1beta/corpora/mine:query",
    "/v1beta/tunedModels/mine:generateContent",
    "/v1beta/openai/chat/completions",
    "/v1beta/openai/completions",
    "/v1beta/openai/embeddings",
    "/v1beta/openai/images/generations",
    "/v1beta/openai/images/edits",
    "/v1beta/openai/images/variations",
    "/v1beta/openai/audio/speech",
    "/v1beta/openai/audio/transcriptions",
    "/v1beta/openai/audio/translations",
    "/v1beta/openai/moderations",
    "/v1beta/openai/responses",
]
CREATES = [
    f"{MODEL}:predictLongRunning",
    f"{MODEL}:batchGenerateContent",
    f"{MODEL}:asyncBatchEmbedContent",
    "/v1beta/interactions",
    "/v1beta/batches",
    "/v1beta/cachedContents",
    "/v1beta/fileSearchStores",
    "/v1beta/fileSearchStores/mine:importFile",
    "/v1beta/tunedModels",
    "/v1beta/auth_tokens",
    "/v1beta/files:register",
    "/v1beta/agents",
    "/v1beta/webhooks/mine:ping",
    "/v1beta/corpora/mine/documents/one/chunks:batchCreate",
    "/v1beta/openai/batches",
    "/v1beta/openai/files",
    "/v1beta/openai/videos",
    "/v1beta/openai/responses/abc/cancel",
    "/v1beta/fine-tunings/responses",
    "/upload/v1beta/files",
]


def keys(count: int) -> list[Key]:
    return [Key(str(number), f"secret-{number}") for number in range(count)]


def attempts(failover: RetryPolicy, verdict: Verdict, most: int = 50, *, sent: bool = True) -> int:
    """How many attempts come out when every one ends in the same verdict."""
    for count, key in enumerate(keys(most), 1):
        if not failover.note(key, verdict, Case(), sent=sent) or failover.spent:
            return count
    return most


# What may be sent again.


@pytest.mark.parametrize("path", COMPUTES)
def test_a_call_that_only_computes_may_be_repeated(path: str) -> None:
    assert repeatable("POST", path)


@pytest.mark.parametrize("path", CREATES)
def test_a_call_that_creates_something_may_not_be_repeated(path: str) -> None:
    assert not repeatable("POST", path)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("path", [f"{MODEL}:generateContent", "/v1beta/interactions", "/v1beta/files/abc"])
def test_an_idempotent_method_may_be_repeated_wherever_it_goes(method: str, path: str) -> None:
    assert repeatable(method, path)


@pytest.mark.parametrize("method", ["PATCH", "post", "CONNECT", "X"])
def test_any_other_method_may_not_be_repeated(method: str) -> None:
    assert not repeatable(method, f"{MODEL}:generateContent")


# What leads to another attempt.


@pytest.mark.parametrize(
    "verdict", [HEALTHY, CLIENT_ERROR, REGION_BLOCKED, NOT_GOOGLE, TIMED_OUT], ids=lambda v: v.reason
)
def test_a_response_about_the_request_is_the_last(verdict: Verdict) -> None:
    assert attempts(RetryPolicy(0, repeatable=True), verdict) == 1


ABOUT_KEYS = [QUOTA, DEAD, VAGUE, CALLER, NOT_ENTITLED, NOT_OWNER, KEYS_NOT_ACCEPTED]


@pytest.mark.parametrize("verdict", ABOUT_KEYS, ids=lambda v: v.reason)
@pytest.mark.parametrize("may_repeat", [True, False], ids=["repeatable", "creates"])
def test_a_response_about_the_key_leads_to_every_other_key(verdict: Verdict, may_repeat: bool) -> None:
    assert attempts(RetryPolicy(0, may_repeat), verdict, most=30) == 30


def test_after_a_server_error_a_request_goes_on_for_as_long_as_it_may_be_repeated() -> None:
    failover = RetryPolicy(0, repeatable=True)
    assert attempts(failover, UPSTREAM_FAILURE, most=30) == 30
    assert failover.server_errors == 30


def test_a_server_error_is_counted_among_other_responses() -> None:
    failover = RetryPolicy(0, repeatable=True)
    key = keys(1)[0]
    verdicts = [UPSTREAM_FAILURE, QUOTA, UPSTREAM_FAILURE, VAGUE, NOT_OWNER, UPSTREAM_FAILURE]
    assert [failover.note(key, verdict, Case()) for verdict in verdicts] == [True] * 6
    assert (failover.server_errors, failover.attempts) == (3, 6)


def test_a_deadline_that_the_upstream_ran_into_is_tried_once_more() -> None:
    assert attempts(RetryPolicy(0, repeatable=True), DEADLINE_EXCEEDED) == 2
    assert attempts(RetryPolicy(0, repeatable=False), DEADLINE_EXCEEDED) == 1


@pytest.mark.parametrize("verdict", [UPSTREAM_FAILURE, DEADLINE_EXCEEDED], ids=lambda v: v.reason)
def test_after_a_server_error_what_creates_something_is_not_sent_again(verdict: Verdict) -> None:
    assert attempts(RetryPolicy(0, repeatable=False), verdict) == 1


def test_what_never_reached_the_upstream_is_sent_again_whatever_it_is() -> None:
    assert attempts(RetryPolicy(0, repeatable=False), UPSTREAM_FAILURE, most=30, sent=False) == 30


def test_three_refusals_of_tokens_are_enough_whatever_comes_between() -> None:
    assert attempts(RetryPolicy(0, repeatable=True), TOO_LARGE) == 3
    failover = RetryPolicy(0, repeatable=True)
    verdicts = [TOO_LARGE, UPSTREAM_FAILURE, TOO_LARGE, QUOTA, VAGUE, TOO_LARGE]
    noted = [failover.note(key, verdict, Case()) for key, verdict in zip(keys(6), verdicts, strict=True)]
    assert noted == [True] * 5 + [False]


@pytest.mark.parametrize("verdict", [VAGUE, CALLER], ids=lambda v: v.reason)
def test_no_other_key_is_asked_once_the_request_is_known_to_be_at_fault(verdict: Verdict) -> None:
    failover, case = RetryPolicy(0, repeatable=True), Case()
    first, second = keys(2)
    assert failover.note(first, verdict, case)
    case.about = About.MANY
    assert failover.note(first, verdict, case)
    case.about = About.REQUEST
    assert not failover.note(second, verdict, case)


EVERY_OTHER = [*ABOUT_KEYS, UPSTREAM_FAILURE]


@pytest.mark.parametrize("verdict", EVERY_OTHER, ids=lambda v: v.reason)
@pytest.mark.parametrize("most", [1, 2, 7])
def test_max_attempts_is_the_limit_of_everything(verdict: Verdict, most: int) -> None:
    assert attempts(RetryPolicy(most, repeatable=True), verdict) == most


@pytest.mark.parametrize(("verdict", "limit"), [(DEADLINE_EXCEEDED, 2), (TOO_LARGE, 3)])
@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_max_attempts_does_not_loosen_other_limits(verdict: Verdict, limit: int, most: int) -> None:
    assert attempts(RetryPolicy(most, repeatable=True), verdict) == min(most, limit)


def test_spent_says_whether_another_attempt_may_be_had() -> None:
    failover = RetryPolicy(2, repeatable=True)
    first, second = keys(2)
    assert not failover.spent
    failover.note(first, QUOTA, Case())
    assert not failover.spent
    failover.note(second, QUOTA, Case())
    assert failover.spent
    assert not RetryPolicy(0, repeatable=True, attempts=1000).spent


def test_the_keys_that_were_used_are_known_and_those_that_need_not_be_asked_again() -> None:
    failover = RetryPolicy(0, repeatable=True)
    spent, stranger, troubled, vague, unentitled, small = asked = keys(6)
    verdicts = [QUOTA, NOT_OWNER, UPSTREAM_FAILURE, VAGUE, NOT_ENTITLED, TOO_LARGE]
    for key, verdict in zip(asked, verdicts, strict=True):
        failover.note(key, verdict, Case())
    assert failover.used == set(asked)
    assert failover.refused == {stranger, vague, unentitled, small}
    assert not failover.refused & {spent, troubled}  # these may serve later
    assert failover.attempts == 6


def test_a_key_that_is_called_dead_twice_is_not_asked_a_third_time() -> None:
    failover, key = RetryPolicy(0, repeatable=True), keys(1)[0]
    assert failover.note(key, DEAD, Case())
    assert key not in failover.refused
    assert failover.note(key, DEAD, Case())
    assert key in failover.refused


def test_after_a_search_a_key_that_refused_may_be_asked_again_once() -> None:
    failover, key = RetryPolicy(0, repeatable=True), keys(1)[0]
    failover.note(key, VAGUE, Case())
    assert failover.pardon({key})
    assert key not in failover.refused | failover.used
    failover.note(key, VAGUE, Case())
    assert not failover.pardon({key})
    assert key in failover.refused & failover.used


@pytest.mark.parametrize(
    ("method", "path", "spent"),
    [
        ("POST", "/v1beta/models/m:generateContent", True),
        ("POST", "/v1beta/models/m:streamGenerateContent", True),
        ("POST", "/v1beta/openai/chat/completions", True),
        ("POST", "/v1beta/models/m:countTokens", False),
        ("GET", "/v1beta/models/m", False),
        ("DELETE", "/v1beta/files/abc", False),
    ],
)
def test_a_quota_of_requests_is_spent_by_what_asks_a_model(method: str, path: str, spent: bool) -> None:
    assert spends(method, path) is spent


def after_troubles(troubles: int, *, most: int = 0) -> RetryPolicy:
    return RetryPolicy(most, repeatable=True, attempts=troubles, server_errors=troubles)


def decide(
    policy: RetryPolicy, verdict: Verdict = UPSTREAM_FAILURE, *, useful: bool = True, window: float = 30.0
) -> NextStep:
    source = random.Random(0)  # noqa: S311 - seeded
    return settle(policy, verdict, useful=useful, window=window, source=source)


def test_the_last_response_is_the_clients_when_no_other_attempt_could_succeed() -> None:
    assert decide(after_troubles(1), useful=False) == Respond()
    assert decide(after_troubles(1, most=1), useful=False) == Respond()


def test_a_request_that_has_had_all_its_attempts_gives_up() -> None:
    assert decide(after_troubles(2, most=2)) == GiveUp()


def test_another_key_is_tried_without_a_pause() -> None:
    assert decide(RetryPolicy(0, repeatable=True, attempts=1), QUOTA) == Proceed()


def test_pauses_double_with_every_server_error_up_to_a_limit() -> None:
    for troubles in range(1, 10):
        step = decide(after_troubles(troubles))
        assert isinstance(step, Proceed)
        factor = 2 ** (troubles - 1)
        assert min(0.05 * factor, 2.0) <= step.pause <= min(0.25 * factor, 2.0)


def test_few_attempts_are_made_however_little_time_is_left_and_no_more_then() -> None:
    assert decide(after_troubles(2), window=-1.0) == Proceed(0.05)
    assert decide(after_troubles(FEW), window=-1.0) == Respond()
