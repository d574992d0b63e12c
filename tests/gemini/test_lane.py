"""What Google counts quotas for: the lane of a request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.gemini.lane import counted_as, lane_of, model_of

FLASH = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{FLASH}:generateContent"


def body(*tools: object, text: str = "hi") -> bytes:
    return json.dumps({"contents": [{"parts": [{"text": text}]}], "tools": tools}).encode()


@pytest.mark.parametrize(
    ("path", "lane"),
    [
        (GENERATE, FLASH),
        (f"/v1beta/models/{FLASH}:streamGenerateContent", FLASH),
        (f"/v1beta/models/{FLASH}:embedContent", FLASH),
        ("/v1beta/interactions", FLASH),
        ("/v1beta/openai/chat/completions", FLASH),
        (f"/v1beta/models/{FLASH}:countTokens", f"{FLASH}:countTokens"),
        (f"/v1beta/models/{FLASH}:batchGenerateContent", f"{FLASH}:batchGenerateContent"),
        (f"/v1beta/models/{FLASH}:asyncBatchEmbedContent", f"{FLASH}:asyncBatchEmbedContent"),
        ("/v1beta/cachedContents", f"{FLASH}:cachedContents"),
        ("/v1beta/cachedContents/abc", FLASH),
        (f"/v1beta/models/{FLASH}:countTokensX", FLASH),
    ],
)
def test_methods_with_quotas_of_their_own_have_lanes_of_their_own(path: str, lane: str) -> None:
    assert lane_of(FLASH, path, b"{}") == lane
    assert model_of(lane) == FLASH
    assert counted_as(lane) == lane


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ({"google_search": {}}, "google_search"),
        ({"googleSearch": {}}, "google_search"),
        ({"googleSearchRetrieval": {}}, "google_search"),
        ({"google_search_retrieval": {"x": 1}}, "google_search"),
        ({"googleMaps": {}}, "google_maps"),
        ({"urlContext": {}}, "url_context"),
        ({"codeExecution": {}}, "code_execution"),
        ({"fileSearch": {"names": ["x"]}}, "file_search"),
        ({"computerUse": {}}, "computer_use"),
        ({"type": "google_search"}, "google_search"),
        ({"type": "code_execution"}, "code_execution"),
    ],
)
def test_a_tool_of_googles_own_has_a_lane_that_spends_the_models_quotas(tool: object, name: str) -> None:
    lane = lane_of(FLASH, GENERATE, body(tool))
    assert lane == f"{FLASH}+{name}"
    assert (model_of(lane), counted_as(lane)) == (FLASH, FLASH)


def test_a_tool_is_found_however_the_body_is_written() -> None:
    assert lane_of(FLASH, GENERATE, b'{"tools"\n:\t[ {"googleSearch" :{} } ]}') == f"{FLASH}+google_search"
    assert lane_of(FLASH, GENERATE, bytearray(body({"googleSearch": {}}))) == f"{FLASH}+google_search"


def test_a_clients_own_function_makes_no_lane() -> None:
    assert lane_of(FLASH, GENERATE, body({"functionDeclarations": [{"name": "look_up"}]})) == FLASH
    assert lane_of(FLASH, GENERATE, b'{"generationConfig": {}}') == FLASH


def test_a_request_without_a_model_has_no_lane() -> None:
    assert lane_of("", "/v1beta/files", body({"googleSearch": {}})) == ""
    assert (model_of(""), counted_as("")) == ("", "")


@given(st.text() | st.sampled_from(['"tools": [{"googleSearch": {}}]', '"tools"', '{"google_search": {}}']))
def test_a_clients_text_can_not_make_a_lane(text: str) -> None:
    assert lane_of(FLASH, GENERATE, json.dumps({"contents": [{"parts": [{"text": text}]}]}).encode()) == FLASH
    assert lane_of(FLASH, GENERATE, body({"functionDeclarations": []}, text=text)) == FLASH


def test_a_big_body_costs_no_more_than_a_look_for_its_tools() -> None:
    big = b"x" * (20 * 1024 * 1024)
    assert lane_of(FLASH, GENERATE, b'{"data": "%b", "tools": [{"googleSearch": {}}]}' % big) == (
        f"{FLASH}+google_search"
    )
    # So far behind the member's name, nobody has tools.
    assert lane_of(FLASH, GENERATE, b'{"tools": [], "data": "%b", "x": {"google_search": {}}}' % big) == FLASH


@given(st.binary(max_size=300))
def test_no_body_is_too_odd(odd: bytes) -> None:
    assert model_of(lane_of(FLASH, GENERATE, b'{"tools": ' + odd)) == FLASH
