"""What a request is about: its model, and whether it names something that one project owns."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.request_scope import MOST_NAMES, RequestScope, resource_in, scope_of, scope_steps

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
    "file_search_store_names": body(tools=[{"file_search": {"file_search_store_names": ["corpora/a"]}}]),
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


INTERACTIONS = "/v1/interactions"

# Path, body, and the names that are found.
NAMES: dict[str, tuple[str, bytes, str]] = {
    "input_file_id": ("/v1beta/openai/batches", body(input_file_id="files/abc"), "files/abc"),
    "uri": (INTERACTIONS, body(input=[{"type": "image", "uri": FILE}]), "files/abc"),
    "a file's name": (GENERATE, body(fileUri="files/abc"), "files/abc"),
    "a download": (GENERATE, body(fileUri=f"{FILE}:download?alt=media"), "files/abc"),
    "a tuned model": (INTERACTIONS, body(model="tunedModels/t"), "tunedModels/t"),
    "a document": (GENERATE, body(uri="fileSearchStores/s/documents/d"), "fileSearchStores/s"),
    "an operation": (GENERATE, body(uri="https://x/v1beta/models/veo/operations/o"), "operations/o"),
    "stores": (GENERATE, body(fileSearchStoreNames=["corpora/a", "x/y", "corpora/b"]), "corpora/a corpora/b"),
    "escaped slashes": (GENERATE, rb'{"fileUri": "https:\/\/x\/v1\/files\/abc"}', "files/abc"),
    "an escaped letter": (GENERATE, rb'{"cachedContent": "cachedContents\u002fc"}', "cachedContents/c"),
    "each once": ("/v1/batches/b", body(a=[{"uri": FILE}], uri="batches/b"), "batches/b files/abc"),
    "previous": (INTERACTIONS, body(previous_interaction_id="v1_a"), "interactions/v1_a"),
    "previous, as a name": (GENERATE, body(previousInteractionId="interactions/a"), "interactions/a"),
    "environment": (INTERACTIONS, body(environment="e"), "environments/e"),
    "environment to change": (INTERACTIONS, body(environment={"environment_id": "e"}), "environments/e"),
    "a trigger's": ("/v1/triggers/t", body(environment_id="e"), "triggers/t environments/e"),
    "where a tool runs": (INTERACTIONS, body(tools=[{"type": "x", "environment": "browser"}]), ""),
    "an interaction's arguments": (INTERACTIONS, body(input=[{"arguments": {"environment": "test"}}]), ""),
    "a file on the web": (GENERATE, body(fileUri="https://example.com/v1/files/report.pdf"), ""),
    "arguments": (GENERATE, body(x={"environment": "production", "environment_id": "e", "agent": "a"}), ""),
    "a public model": (INTERACTIONS, body(model="models/gemini-2.5-pro"), ""),
    "somebody's page": (GENERATE, body(fileUri="https://www.youtube.com/watch?v=files/abc"), ""),
    "a bucket": (GENERATE, body(fileUri="gs://bucket/files/abc"), ""),
    "a collection": (GENERATE, body(fileUri="files/"), ""),
    "a number": (GENERATE, body(fileUri=5, fileSearchStoreNames=[7]), ""),
    "a broken escape": (GENERATE, rb'{"fileUri": "\x/files/abc"}', ""),
    "data": (GENERATE, body(uri=f"files/{'x' * 600}"), ""),
}


@pytest.mark.parametrize(("path", "content", "names"), NAMES.values(), ids=NAMES)
def test_the_names_of_resources_are_found(path: str, content: bytes, names: str) -> None:
    scope = scope_of(path, content)
    assert (scope.resources, scope.possible_resources) == (tuple(names.split()), ())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=files%2Fabc&x=1", ("files/abc",)),
        ("x&uri=https://g.example/v1beta/files/abc&y=cachedContents/c", ("files/abc", "cachedContents/c")),
        ("previous_interaction_id=v1_a", ("interactions/v1_a",)),
        ("q=what+is+files/abc&alt=sse&=files", ()),
    ],
)
def test_the_names_of_resources_are_found_in_queries(query: str, names: tuple[str, ...]) -> None:
    assert scope_of("/v1/models", b"", query).resources == names


@pytest.mark.parametrize("agent", ["mine", "agents/mine"])
def test_an_agent_is_a_possible_resource(agent: str) -> None:
    scope = scope_of(INTERACTIONS, body(agent=agent, previous_interaction_id="i"))
    assert (scope.resources, scope.possible_resources) == (("interactions/i",), ("agents/mine",))
    assert not scope_of(INTERACTIONS, body(agent=agent)).names_resource


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1beta/openai/batches/batches%2Fabc", "batches/abc"),
        ("/v1beta/openai/batches/batches/abc/cancel", "batches/abc"),
        ("/v1beta/openai/files/files%2fabc/content", "files/abc"),
        ("/v1beta/openai/files/abc", "files/abc"),
        ("/v1/files%2Fabc", "files/abc"),
        ("/v1/files/%61bc%3Adownload", "files/abc"),
        ("/download/v1beta/files/abc:download", "files/abc"),
        ("/v1/models/veo/operations/x", "operations/x"),
        ("/v1/fileSearchStores/s/upload/operations/o", "fileSearchStores/s"),
        ("/upload/v1/environments/e/files/a/b.txt", "environments/e"),
        ("/v1alpha/auth_tokens/t", "auth_tokens/t"),
        ("files/abc", "files/abc"),
        ("/v1/files/files", "files/files"),
        ("/v1/files", None),
        ("/v1/myfiles/abc", None),
    ],
)
def test_a_path_names_one_resource(path: str, name: str | None) -> None:
    assert resource_in(path) == name


@pytest.mark.parametrize(
    "name",
    ['"fileUri": "files/%d"', '"fileSearchStoreNames": ["corpora/%d"]', '"previous_interaction_id": "%d"'],
)
def test_of_a_flood_of_names_the_first_are_found(name: str) -> None:
    body = ", ".join(name % number for number in range(20_000))
    found = scope_of(GENERATE, body.encode()).resources
    assert len(found) == len(set(found)) == MOST_NAMES
    assert found[0].endswith("/0")
    assert found[-1].endswith(f"/{MOST_NAMES - 1}")


def test_of_a_flood_of_names_in_a_query_the_first_are_found() -> None:
    query = "&".join(f"uri=files/{number}" for number in range(5000))
    assert len(scope_of(GENERATE, b"", query).resources) == MOST_NAMES


def test_names_are_found_wherever_they_stand_in_a_large_body() -> None:
    # The same at every place around the seams of the pieces that a body is searched in.
    name = b'"fileUri" : "https://generativelanguage.googleapis.com/v1beta/files/abc"'
    stores = b'"fileSearchStoreNames": [%b"corpora/last"]' % (b'"x/y", ' * 1000)
    for seam in (64 * 1024, 5 * 64 * 1024):
        for place in range(seam - len(name) - 2, seam + 2):
            body = b"x" * place + name + b"x" * seam
            assert scope_of(GENERATE, body).resources == ("files/abc",)
    for place in range(64 * 1024 - len(stores), 64 * 1024, 311):
        body = b"x" * place + stores + b"x" * 300_000
        assert scope_of(GENERATE, body).resources == ("corpora/last",)


def test_the_model_is_found_wherever_it_stands_in_a_large_body() -> None:
    member = b'"model": "models/gemini-2.5-pro"'
    for place in range(64 * 1024 - len(member) - 2, 64 * 1024 + 2):
        body = b"{" + b"x" * place + member + b'"model": "another"' + b"x" * 300_000
        assert scope_of(INTERACTIONS, body).model == "gemini-2.5-pro"


def test_a_large_body_is_searched_in_steps_and_a_small_one_at_once() -> None:
    assert len(list(scope_steps(GENERATE, bytes(32 * 1024)))) == 0
    assert len(list(scope_steps(GENERATE, bytes(32 * 1024 + 1)))) == 1
    assert len(list(scope_steps(GENERATE, bytes(2**20)))) == 16


def test_an_invented_name_of_any_length_takes_little_memory() -> None:
    name = "m" * 100_000
    assert len(scope_of(f"/v1beta/models/{name}:generateContent", b"").model) == 128
    assert len(scope_of("/v1/interactions", body(model=name)).model) == 128


def test_a_scope_says_what_it_is_about() -> None:
    assert str(RequestScope("gemini-2.5-pro")) == "gemini-2.5-pro"
    assert str(RequestScope("", ("files/abc",))) == "no model"


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
