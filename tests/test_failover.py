"""How far one request goes: which answers lead to another attempt, and how many."""

import pytest

from proxycore.failover import Failover, repeatable, spends
from proxycore.key import Key
from proxycore.verdict import (
    FOREIGN,
    HEALTHY,
    MISTAKE,
    PLACE,
    STRANGER,
    TROUBLE,
    Backoff,
    Rest,
    Then,
    Verdict,
)

QUOTA = Verdict("quota spent", Then.FAILOVER, Rest.MODEL, 5.0)
DEAD = Verdict("suspended", Then.FAILOVER, Rest.RETIRED)
REFUSED = Verdict("refused", Then.ADDRESS, Rest.MODEL, backoff=Backoff.ADDRESS)

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


def attempts(failover: Failover, verdict: Verdict, most: int = 50, *, sent: bool = True) -> int:
    """How many attempts come out when every one ends in the same verdict."""
    for count, key in enumerate(keys(most), 1):
        if not failover.note(key, verdict, sent=sent):
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


@pytest.mark.parametrize("verdict", [HEALTHY, MISTAKE, PLACE, FOREIGN], ids=lambda v: v.reason)
def test_an_answer_about_the_request_is_the_last(verdict: Verdict) -> None:
    assert attempts(Failover(0, repeatable=True), verdict) == 1


@pytest.mark.parametrize("verdict", [QUOTA, DEAD, STRANGER], ids=lambda v: v.reason)
@pytest.mark.parametrize("may_repeat", [True, False], ids=["repeatable", "creates"])
def test_an_answer_about_the_key_leads_to_every_other_key(verdict: Verdict, may_repeat: bool) -> None:
    assert attempts(Failover(0, may_repeat), verdict, most=30) == 30


def test_googles_trouble_costs_three_attempts_at_most() -> None:
    assert attempts(Failover(0, repeatable=True), TROUBLE) == 3


def test_googles_trouble_is_counted_among_other_answers() -> None:
    failover = Failover(0, repeatable=True)
    key = keys(1)[0]
    verdicts = [TROUBLE, QUOTA, TROUBLE, QUOTA, STRANGER, TROUBLE]
    assert [failover.note(key, verdict) for verdict in verdicts] == [True] * 5 + [False]
    assert failover.troubles == 3


def test_after_trouble_what_creates_something_is_not_sent_again() -> None:
    assert attempts(Failover(0, repeatable=False), TROUBLE) == 1


def test_what_never_reached_the_upstream_is_sent_again_whatever_it_is() -> None:
    assert attempts(Failover(0, repeatable=False), TROUBLE, sent=False) == 3


def test_three_refusals_that_may_be_about_the_address_are_enough() -> None:
    assert attempts(Failover(0, repeatable=True), REFUSED) == 3


def test_refusals_of_the_address_and_trouble_are_counted_apart() -> None:
    failover = Failover(0, repeatable=True)
    key = keys(1)[0]
    verdicts = [TROUBLE, REFUSED, TROUBLE, REFUSED, REFUSED]
    assert [failover.note(key, verdict) for verdict in verdicts] == [True] * 4 + [False]


@pytest.mark.parametrize("verdict", [QUOTA, DEAD, STRANGER], ids=lambda v: v.reason)
@pytest.mark.parametrize("most", [1, 2, 7])
def test_max_attempts_is_the_limit_of_everything(verdict: Verdict, most: int) -> None:
    assert attempts(Failover(most, repeatable=True), verdict) == most


@pytest.mark.parametrize("verdict", [TROUBLE, REFUSED], ids=lambda v: v.reason)
@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_max_attempts_does_not_loosen_the_limit_of_three(verdict: Verdict, most: int, expected: int) -> None:
    assert attempts(Failover(most, repeatable=True), verdict) == expected


def test_spent_says_whether_another_attempt_may_be_had() -> None:
    failover = Failover(2, repeatable=True)
    first, second = keys(2)
    assert not failover.spent
    failover.note(first, QUOTA)
    assert not failover.spent
    failover.note(second, QUOTA)
    assert failover.spent
    assert not Failover(0, repeatable=True, attempts=1000).spent


def test_the_keys_that_were_used_are_known_and_those_that_did_not_own_the_resource() -> None:
    failover = Failover(0, repeatable=True)
    spent, stranger, troubled = keys(3)
    failover.note(spent, QUOTA)
    failover.note(stranger, STRANGER)
    failover.note(troubled, TROUBLE)
    assert failover.used == {spent, stranger, troubled}
    assert failover.strangers == {stranger}
    assert failover.attempts == 3


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


def test_while_the_upstream_is_known_to_be_in_trouble_each_request_is_tried_once() -> None:
    failover = Failover(0, repeatable=True)
    assert not failover.note(Key("1", "secret"), TROUBLE, outage=True)
