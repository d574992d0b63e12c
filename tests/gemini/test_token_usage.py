"""Tokens, read off the end of an answer."""

import json

import pytest

from proxycore.gemini.token_usage import TAIL, TokenUsage, usage_in

GOOGLES = {
    "promptTokenCount": 7,
    "candidatesTokenCount": 20,
    "totalTokenCount": 57,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
    "thoughtsTokenCount": 30,
}


def event(**usage: object) -> bytes:
    return b"data: " + json.dumps({"candidates": [{}], "usageMetadata": usage}).encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            {"candidates": [], "usageMetadata": GOOGLES, "modelVersion": "gemini-2.5-flash"},
            TokenUsage(7, 50, thinking=30),
        ),
        ({"usageMetadata": {"promptTokenCount": 3, "toolUsePromptTokenCount": 4}}, TokenUsage(7, 0, tool=4)),
        ({"usageMetadata": {"promptTokenCount": 3, "responseTokenCount": 9}}, TokenUsage(3, 9)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}}, TokenUsage(5, 6)),
        (
            {"usage": {"total_input_tokens": 5, "total_output_tokens": 6, "total_thought_tokens": 1}},
            TokenUsage(5, 7, thinking=1),
        ),
        ({"usage": {"total_input_tokens": 5, "total_tool_use_tokens": 2}}, TokenUsage(7, 0, tool=2)),
        (
            {"usage": {"completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 4}}},
            TokenUsage(0, 6, thinking=4),
        ),
        ({"usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 8}}, TokenUsage(9, 0, 8)),
        (
            {"usage": {"prompt_tokens": 5, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}},
            TokenUsage(5, 0, 4),
        ),
        ({"usage": {"total_input_tokens": 5, "total_cached_tokens": 3}}, TokenUsage(5, 0, 3)),
        ({"candidates": []}, TokenUsage()),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_google_and_openai_call_usage_is_read(
    answer: object, usage: TokenUsage, indent: int | None
) -> None:
    assert usage_in(json.dumps(answer, indent=indent).encode()[-TAIL:]) == usage


def test_a_stream_counts_from_its_beginning_so_the_last_event_holds() -> None:
    stream = event(promptTokenCount=4, candidatesTokenCount=1) + event(
        promptTokenCount=4, candidatesTokenCount=9
    )
    assert usage_in(stream) == TokenUsage(4, 9)


def test_what_a_model_says_about_tokens_is_not_counted() -> None:
    said = json.dumps({"text": 'He wrote {"promptTokenCount": 999, "candidatesTokenCount": 999}'})
    assert usage_in(said.encode()) == TokenUsage()


def test_a_name_that_ends_in_a_counts_name_is_another() -> None:
    usage = {'not "promptTokenCount': 999, "candidatesTokenCount": 9}
    assert usage_in(json.dumps({"usageMetadata": usage}).encode()) == TokenUsage(0, 9)


def test_an_end_that_begins_anywhere_counts_whole_usage_alone() -> None:
    whole = event(promptTokenCount=4, candidatesTokenCount=1) + event(**GOOGLES)
    last = whole.rindex(b'"usage')
    for start in range(len(whole)):
        read = TokenUsage(7, 50, thinking=30) if start <= last else TokenUsage()
        assert usage_in(whole[start:]) == read, whole[start:]
