"""Which of the upstream's answers is the client's when no key served a request."""

import gzip
import json
from typing import Any

import pytest

from proxycore.gemini.verdict import (
    DEADLINE_EXCEEDED,
    KEYS_NOT_ACCEPTED,
    NOT_GOOGLE,
    NOT_OWNER,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.relay.outcome import Outcome
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import UpstreamError
from proxycore.transport.response_head import ResponseHead

SPENT = Verdict(
    "quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 5.0, words="You exceeded your current quota."
)
DISABLED = Verdict("SERVICE_DISABLED", Reaction.FAILOVER, BenchScope.PROJECT, words="It is disabled.")
DEAD = Verdict("suspended or leaked", Reaction.FAILOVER, BenchScope.RETIRED)
VAGUE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
CALLER = Verdict("permission denied", Reaction.COMPARE, BenchScope.CALLER)
NOT_ENTITLED = Verdict("not entitled", Reaction.ENTITLED, BenchScope.MODEL)
TOO_LARGE = Verdict("token quota exhausted", Reaction.TOKENS, BenchScope.MODEL, 5.0)


def answer(number: int = 0, body: bytes = b"", *fields: tuple[str, str]) -> BufferedResponse:
    return BufferedResponse(ResponseHead(400 + number, "", list(fields)), body)


def outcome(*verdicts: Verdict) -> tuple[Outcome, list[BufferedResponse]]:
    """What comes of answers with these verdicts, in this order."""
    found, answers = Outcome(), [answer(number) for number in range(len(verdicts))]
    for verdict, kept in zip(verdicts, answers, strict=True):
        found.note(verdict, kept)
    return found, answers


def test_where_nothing_was_asked_the_response_is_the_proxys_own() -> None:
    assert Outcome().client_response is None


@pytest.mark.parametrize(
    "verdict", [DISABLED, DEAD, VAGUE, CALLER, NOT_ENTITLED, TOO_LARGE, UPSTREAM_FAILURE]
)
def test_when_all_refused_alike_the_last_response_is_the_clients(verdict: Verdict) -> None:
    found, answers = outcome(verdict, verdict, verdict)
    assert found.client_response is answers[-1]


def test_where_quotas_are_merely_spent_it_is_the_proxys_own() -> None:
    assert outcome(SPENT, SPENT)[0].client_response is None
    assert outcome(SPENT, DISABLED)[0].client_response is None


@pytest.mark.parametrize("verdict", [VAGUE, CALLER, NOT_ENTITLED, TOO_LARGE], ids=lambda v: v.reason)
@pytest.mark.parametrize("trouble", [UPSTREAM_FAILURE, DEADLINE_EXCEEDED], ids=lambda v: v.reason)
def test_a_response_about_the_request_is_shown_rather_than_a_server_error_before_or_after_it(
    verdict: Verdict, trouble: Verdict
) -> None:
    for first, second, shown in ((verdict, trouble, 0), (trouble, verdict, 1)):
        found, answers = outcome(first, second)
        assert found.client_response is answers[shown]


def test_where_keys_were_refused_for_different_reasons_it_is_the_proxys_own() -> None:
    assert outcome(DISABLED, DEAD)[0].client_response is None


@pytest.mark.parametrize(
    "verdict", [VAGUE, CALLER, TOO_LARGE, UPSTREAM_FAILURE, DEADLINE_EXCEEDED], ids=lambda v: v.reason
)
@pytest.mark.parametrize("other", [SPENT, DISABLED, DEAD, KEYS_NOT_ACCEPTED], ids=lambda v: v.reason)
def test_a_response_about_the_request_is_shown_rather_than_one_about_a_key(
    verdict: Verdict, other: Verdict
) -> None:
    found, answers = outcome(verdict, other)
    assert found.client_response is answers[0]
    found, answers = outcome(other, verdict, other)
    assert found.client_response is answers[1]


def test_that_nobody_knows_a_resource_is_shown_once_no_benched_key_may_own_it() -> None:
    found, answers = outcome(NOT_OWNER, SPENT)
    assert found.client_response is None
    found.end(owner_may_be_untried=True)
    assert found.client_response is None
    found.end(owner_may_be_untried=False)
    assert found.client_response is answers[0]


@pytest.mark.parametrize("refused", [REGION_BLOCKED, NOT_GOOGLE], ids=lambda v: v.reason)
def test_a_refusal_of_the_way_is_shown_where_the_keys_behind_another_one_can_never_serve(
    refused: Verdict,
) -> None:
    found, answers = outcome(refused, DISABLED, DEAD)
    assert found.client_response is answers[0]
    assert outcome(refused, SPENT)[0].client_response is None
    found, answers = outcome(refused, NOT_OWNER, NOT_OWNER)
    found.end(owner_may_be_untried=False)
    assert found.client_response is answers[0]


def test_what_was_decided_to_be_the_last_response_is_the_clients_whatever_came_before() -> None:
    found, answers = outcome(VAGUE, SPENT, DEAD)
    found.decided = True
    assert found.client_response is answers[-1]


def test_an_upstream_that_could_not_be_reached_is_a_result_too() -> None:
    found, error = Outcome(), UpstreamError("It could not be reached.", sent=False)
    found.note(UPSTREAM_FAILURE, error)
    assert found.client_response is error
    assert found.details() == []


def test_googles_last_words_are_kept() -> None:
    assert outcome(SPENT, DISABLED, DEAD)[0].words == "It is disabled."


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}
HELP = {"@type": "type.googleapis.com/google.rpc.Help", "links": []}


def details(document: object, *fields: tuple[str, str], packed: bool = False) -> list[dict[str, Any]]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = Outcome()
    found.note(SPENT, answer(29, gzip.compress(body) if packed else body, *fields))
    return found.details()


def test_the_upstreams_details_are_kept_less_those_that_ours_has() -> None:
    document = {"error": {"code": 429, "details": [QUOTA, RETRY, HELP]}}
    assert details(document) == [QUOTA]
    assert details([document]) == [QUOTA]
    assert details(document, ("Content-Encoding", "gzip"), packed=True) == [QUOTA]


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"text", b"[" * 100_000, b"\xff", [], {}, {"error": "x"}, {"error": {"details": 3}}),
        *({"error": {"details": [3, None, "x"]}}, {"error": {"details": [{"x": "y" * 5000}]}}),
    ],
    ids=[str(number) for number in range(10)],
)
def test_what_has_no_fit_details_has_none(document: object) -> None:
    assert details(document) == []


def test_details_without_end_are_cut() -> None:
    assert len(details({"error": {"details": [QUOTA] * 100}})) == 8
