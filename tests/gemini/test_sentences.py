"""Text that clients control never changes whom a refusal is about, and Google's sentences are known whole."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxycore.gemini.sentences import SENTENCES, Kind, one_line, read_sentence
from proxycore.gemini.verdict import BenchScope, Reaction, Verdict
from tests.gemini.test_verdict import PER_MINUTE, exceeded, google, quota_failure, read

SAMPLES = {
    "model": "gemini-2.5-flash",
    "models": "models/",
    "method": "generateContent",
    "service": "generativelanguage.googleapis.com",
    "version": "v1beta",
    "number": "500902514898",
    "project": "project 500902514898",
    "consumer": "api_key:AQ.made-up",
    "metric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
    "quota": "Generate Content API requests per minute",
    "limit": "20",
    "time": "41.065029449s",
    "address": "203.0.113.7",
    "plain": "requests per day",
    "title": "Generative Language API",
    "word": "Imagen",
    "url": "ai.google.dev/gemini-api",
    "text": "https://example.org/",
}


def filled(template: str, **others: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: others.get(found[1], SAMPLES[found[1]]), template)


WHOLE = [(kind, filled(template)) for kind, template in SENTENCES]
CREDITS = "Your prepayment credits are depleted. Please go to AI Studio at https://a.b/ to manage"
MORE = [
    CREDITS,
    exceeded(),
    exceeded("0"),
    "Please retry in 5s.",
    "x, limit: 0",
    "x\n* Quota exceeded for metric: m, limit: 0, model: y",
    "x is no longer available to new users. Please update your code to use a newer model",
    "PerDay",
    "API_KEY_INVALID",
    '", "details": [{"reason": "API_KEY_INVALID"}]',
]
SAID = st.sampled_from([text for _, text in WHOLE] + MORE)
TEXT = st.one_of(
    SAID,
    st.text(max_size=60),
    st.lists(
        st.one_of(SAID, st.text(max_size=10), st.sampled_from([". ", "\n", " * ", "'"])), max_size=4
    ).map("".join),
)

# What Google writes around a client's words.
BAD_REQUESTS = (
    "Invalid JSON payload received. Unknown name \"{}\" at 'contents[0]': Cannot find field.",
    'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
    "Invalid value at 'contents[0].role' (TYPE_STRING), \"{}\"",
    "* GenerateContentRequest.model: unexpected model name format: {}",
    "* GenerateContentRequest.contents[0].parts[0].{}: required field must be set",
    "Unsupported MIME type: {}",
    "Invalid page token: {}",
    "The value '{}' is not supported for 'type' at 'tools[0]'.",
    "Function call is missing for {}",
    "{} is not a valid model name.",
    "{}: invalid field mask.",
    "'{}' is not supported.",
    "{} is not supported.",
)
FORBIDDEN = (
    "You do not have permission to access the File {} or it may not exist.",
    "CachedContent {} not found (or permission denied)",
    "Requests from referer {} are blocked.",
    "Requests from this Android client application {} are blocked.",
    "Requests from this iOS client application {} are blocked.",
    "Permission denied on resource {}.",
    "Caller does not have required permission to use project {}.",
    "{} is not permitted.",
)
NOT_FOUND = (
    "models/{} is not found for API version v1, or is not supported for generateContent. Call ListModels.",
    "models/{} is not found for API version v1beta, or is not supported for generateContent.",
    "models/{} is not found.",
    "This model models/{} is no longer available to new users.",
    "File {} was not found.",
    "{} was not found.",
)
EXHAUSTED = (
    "Quota exceeded for metric: x, limit: 20, model: {}\nPlease retry in 4s.",
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model {}: limit=100, requested=3",
    "Rate limit exceeded for model {} (limit: 5 requests per day on Free Tier)",
    "Resource {} has been exhausted.",
    "{} has too many requests.",
)


@given(st.sampled_from(BAD_REQUESTS), TEXT, st.booleans())
@example("{} is not supported.", CREDITS, False)
@settings(max_examples=400, deadline=None)
def test_a_client_error_stays_one_whatever_it_repeats(template: str, text: str, named: bool) -> None:
    verdict = read(400, google(400, template.format(text), "INVALID_ARGUMENT"), names_resource=named)
    assert (verdict.rest, verdict.then) == (BenchScope.NOTHING, Reaction.RELAY)


@given(st.sampled_from(FORBIDDEN), TEXT, st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_refusal_of_the_caller_never_becomes_one_of_the_key(template: str, text: str, named: bool) -> None:
    verdict = read(403, google(403, template.format(text), "PERMISSION_DENIED"), names_resource=named)
    assert verdict.then in {Reaction.COMPARE, Reaction.OWNER}
    assert verdict.rest in {BenchScope.NOTHING, BenchScope.CALLER, BenchScope.ORIGIN}


@given(st.sampled_from(NOT_FOUND), TEXT, st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_is_not_found_never_benches_more_than_the_model_that_was_asked_for(
    template: str, text: str, named: bool
) -> None:
    verdict = read(404, google(404, template.format(text), "NOT_FOUND"), names_resource=named)
    if verdict.rest is not BenchScope.NOTHING:
        assert (verdict.rest, verdict.then) == (BenchScope.MODEL, Reaction.ENTITLED)
        assert re.fullmatch(r"[\w.@-]+", one_line(text).strip(), re.ASCII)


@given(st.sampled_from(EXHAUSTED), TEXT)
@settings(max_examples=400, deadline=None)
def test_a_spent_quota_stays_one_of_the_model_and_the_details_win(template: str, text: str) -> None:
    message = template.format(text)
    assert read(429, google(429, message, "RESOURCE_EXHAUSTED")).rest is BenchScope.MODEL
    verdict = read(429, google(429, message, "RESOURCE_EXHAUSTED", quota_failure(PER_MINUTE)))
    assert (verdict.rest, verdict.then) in {
        (BenchScope.MODEL, Reaction.FAILOVER),
        (BenchScope.MODEL, Reaction.TOKENS),
    }


PLACES = [
    (kind, template, name) for kind, template in SENTENCES for name in re.findall(r"\{(\w+)\}", template)
]


@given(st.sampled_from(PLACES), TEXT)
@settings(max_examples=600, deadline=None)
def test_no_part_of_a_sentence_makes_another_of_it(place: tuple[Kind, str, str], text: str) -> None:
    kind, template, name = place
    found = read_sentence(one_line(filled(template, **{name: text})))
    assert found is None or found.kind is kind


@pytest.mark.parametrize(("kind", "text"), WHOLE)
@pytest.mark.parametrize("end", ["", ".", ".\n", " \n"])
def test_every_sentence_is_known_by_itself(kind: Kind, text: str, end: str) -> None:
    found = read_sentence(one_line(text + end))
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize(("kind", "text"), WHOLE)
@pytest.mark.parametrize("around", ["x {}", "{} x", '"{}"', "{}. Something else.", "{}: x", "{}\n{}"])
def test_no_sentence_is_known_within_another(kind: Kind, text: str, around: str) -> None:
    found = read_sentence(one_line(around.replace("{}", text)))
    assert found is None or (found.kind is kind and kind in {Kind.REFERRER, Kind.CALLER, Kind.OWNER})


FURTHER = [
    "Please go to AI Studio at https://ai.studio/projects to manage your project and billing.",
    "Learn more at https://ai.google.dev/gemini-api/docs/billing#project-spend-caps.",
    "Please contact support.",
    "See https://ai.google.dev/gemini-api/docs/rate-limits",
]


@pytest.mark.parametrize("further", FURTHER)
def test_a_sentence_that_retires_a_key_comes_alone_and_others_with_more(further: str) -> None:
    for kind, text in WHOLE:
        found = read_sentence(one_line(f"{text}. {further}"))
        if kind in {Kind.INVALID_KEY, Kind.DEAD_KEY}:
            assert found is None
        else:
            assert found is not None
            assert found.kind is kind


@pytest.mark.parametrize(
    "message",
    [
        "Requests from referer " + "x are blocked. Please update your code to use a " * 80 + "!",
        "Your prepayment credits are depleted" + ". Learn more at https://a" * 300 + "!",
        "Your prepayment credits are depleted. Please update your code to use " + "a " * 4000,
        "You do not have permission to access the " + "File " * 1600,
        "Quota exceeded for metric: " + "x" * 8000,
        "a" * 1_000_000,
    ],
)
def test_a_message_that_is_made_to_be_slow_is_read_like_another(message: str) -> None:
    assert isinstance(read(403, google(403, message, "PERMISSION_DENIED")), Verdict)
