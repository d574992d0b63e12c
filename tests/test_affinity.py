"""What a request is about: its model, and whether it names something that one project owns."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.affinity import Scope, scope_of

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
LARGE = "x" * (1024 * 1024 + 1)


def body(**content: object) -> bytes:
    return json.dumps(content).encode()


MODELS = {
    "native": (GENERATE, b"{}", "gemini-2.0-flash"),
    "stream": ("/v1/models/gemini-2.5-pro:streamGenerateContent", b"", "gemini-2.5-pro"),
    "one model": ("/v1beta/models/gemini-2.5-pro", b"", "gemini-2.5-pro"),
    "OpenAI's one model": ("/v1beta/openai/models/gemini-2.5-pro", b"", "gemini-2.5-pro"),
    "escaped": ("/v1beta/models/gemini%2D2.0%2Dflash:countTokens", b"", "gemini-2.0-flash"),
    "tuned": ("/v1beta/tunedModels/mine-123:generateContent", b"", "tunedModels/mine-123"),
    "operation": ("/v1beta/models/veo-3/operations/abc", b"", "veo-3"),
    "list": ("/v1beta/models", b"", ""),
    "path before body": (GENERATE, body(model="models/other"), "gemini-2.0-flash"),
    "OpenAI": ("/v1beta/openai/chat/completions", body(model="gemini-2.5-pro"), "gemini-2.5-pro"),
    "with prefix": ("/v1beta/cachedContents", body(model="models/gemini-2.5-pro"), "gemini-2.5-pro"),
    "interaction": ("/v1/interactions", body(model="gemini-2.5-pro", input="hi"), "gemini-2.5-pro"),
    "agent": ("/v1/interactions", body(agent="deep-research-pro"), "deep-research-pro"),
    "no JSON": ("/v1/interactions", b"model=gemini", ""),
    "broken JSON": ("/v1/interactions", b'{"model": "gemini-2.5-pro"', ""),
    "deep JSON": ("/v1/interactions", b"[" * 100_000, ""),
    "no object": ("/v1/interactions", b'["model"]', ""),
    "no text": ("/v1/interactions", b'{"model": 5}', ""),
    "null": ("/v1/interactions", b'{"model": null}', ""),
    "no UTF-8": ("/v1/interactions", b'{"model": "\xff"}', ""),
    "nested only": ("/v1/interactions", body(input={"model": "not-this"}), ""),
    "files": ("/v1beta/files", b"", ""),
    "large": ("/v1/interactions", body(model="models/gemini-2.5-pro", input=LARGE), "gemini-2.5-pro"),
    "large, at the end": ("/v1/interactions", body(input=LARGE, model="gemini-2.5-pro"), "gemini-2.5-pro"),
    "large without": ("/v1/interactions", body(input=LARGE), ""),
    # It would hold up everyone to parse it whole.
    "large and broken": (
        "/v1/interactions",
        body(model="gemini-2.5-pro", input=LARGE)[:-1],
        "gemini-2.5-pro",
    ),
    "large and quoted": (
        "/v1/interactions",
        body(input=f'{LARGE} "model": "not-this"', model="gemini-2.5-pro"),
        "gemini-2.5-pro",
    ),
}


@pytest.mark.parametrize(("path", "content", "model"), MODELS.values(), ids=MODELS)
def test_the_model_is_found_in_the_path_or_else_in_the_body(path: str, content: bytes, model: str) -> None:
    assert scope_of(path, content).model == model


OWNED_PATHS = [
    "/v1beta/files/abc-123",
    "/v1beta/files/abc-123:download",
    "/v1/cachedContents/abc",
    "/v1/batches/abc:cancel",
    "/v1/operations/abc",
    "/v1/models/veo-3/operations/abc",
    "/v1/tunedModels/mine:generateContent",
    "/v1/fileSearchStores/mine/documents/one",
    "/v1/corpora/mine:query",
    "/v1/generatedFiles/abc",
    "/v1/interactions/abc/cancel",
    "/v1/agents/mine",
    "/v1/webhooks/mine:ping",
    "/v1/triggers/mine/executions",
    "/v1/environments/mine/files/a/b.txt",
    "/v1/credentials/mine",
    "/v1/voices/mine",
    "/v1/decisions/mine",
    "/v1beta/openai/batches/abc",
    "/v1beta/openai/files/abc",
    "/download/v1beta/files/abc:download",
]


@pytest.mark.parametrize("path", OWNED_PATHS)
def test_a_path_that_names_a_projects_resource_says_so(path: str) -> None:
    assert scope_of(path, b"").names_resource


@pytest.mark.parametrize(
    "path",
    [
        GENERATE,
        "/v1beta/models",
        "/v1beta/files",
        "/v1beta/files/",
        "/v1beta/files:register",
        "/v1beta/cachedContents",
        "/v1beta/interactions",
        "/v1beta/models/files-of-mine:generateContent",
        "/v1beta/openai/chat/completions",
        "/v1beta/myfiles/abc",
        "/v1beta/filesystem/abc",
    ],
)
def test_any_other_path_names_none(path: str) -> None:
    assert not scope_of(path, b"{}").names_resource


FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc"
OWNED_BODIES = {
    "fileUri": body(contents=[{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": FILE}}]}]),
    "file_uri": body(contents=[{"parts": [{"file_data": {"file_uri": FILE}}]}]),
    "cachedContent": body(cachedContent="cachedContents/abc"),
    "cached_content": body(cached_content="cachedContents/abc"),
    "nested cached_content": body(extra_body={"google": {"cached_content": "cachedContents/abc"}}),
    "previous_interaction_id": body(previous_interaction_id="abc"),
    "previousInteractionId": body(previousInteractionId="abc"),
    "fileName": body(batch={"inputConfig": {"fileName": "files/abc"}}),
    "file_name": body(batch={"input_config": {"file_name": "files/abc"}}),
    "fileSearchStoreNames": body(tools=[{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/a"]}}]),
    "file_search_store_names": body(tools=[{"file_search": {"file_search_store_names": ["stores/a"]}}]),
    "compact": b'{"cachedContent":"cachedContents/abc"}',
    "many lines": b'{"cachedContent"\n  :\n  "cachedContents/abc"}',
    "large": body(contents=LARGE, cachedContent="cachedContents/abc"),
}


@pytest.mark.parametrize("content", OWNED_BODIES.values(), ids=OWNED_BODIES)
def test_a_body_that_names_a_projects_resource_says_so(content: bytes) -> None:
    assert scope_of(GENERATE, content).names_resource


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        body(contents=[{"parts": [{"text": 'the field "fileUri": "files/abc" is a quotation'}]}]),
        body(contents=[{"parts": [{"text": "files/abc"}]}]),
        body(cachedContent=None),
        body(contents=[{"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}]),
    ],
    ids=["empty", "nothing", "quotation", "text", "null", "inline data"],
)
def test_any_other_body_names_none(content: bytes) -> None:
    assert not scope_of(GENERATE, content).names_resource


def test_an_invented_name_of_any_length_takes_little_memory() -> None:
    name = "m" * 100_000
    assert len(scope_of(f"/v1beta/models/{name}:generateContent", b"").model) == 128
    assert len(scope_of("/v1/interactions", body(model=name)).model) == 128


def test_a_scope_says_what_it_is_about() -> None:
    assert str(Scope("gemini-2.5-pro", names_resource=False)) == "gemini-2.5-pro"
    assert str(Scope("", names_resource=True)) == "no model"


@given(
    st.text(max_size=60),
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=8) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["model", "agent", "fileUri"]), inner, max_size=2)
        ),
    ).map(lambda document: json.dumps(document).encode()),
)
@settings(max_examples=200, deadline=None)
def test_no_path_and_no_body_make_it_fail(path: str, content: bytes) -> None:
    assert len(scope_of(f"/v1/{path}", content).model) <= 128
