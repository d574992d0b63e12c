"""Names of owned resources, read out of answers as they pass."""

import gzip
import json
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.request_scope import COLLECTIONS, resource_in
from proxycore.gemini.response_scanner import ResponseScanner, scanner_for
from proxycore.http.fields import Fields

UPSTREAM = "https://generativelanguage.googleapis.com"
JSON: Fields = [("Content-Type", "application/json; charset=UTF-8")]
MODEL = "/v1beta/models/veo-3"

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
}


def text(document: object, indent: int | None = None) -> bytes:
    return json.dumps(document, indent=indent).encode()


def events(*documents: object, ending: bytes = b"\n") -> bytes:
    """A stream of server-sent events."""
    return b"".join(b"data: " + text(document) + ending * 2 for document in documents)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(marks)]


def read(scanner: ResponseScanner, *chunks: bytes) -> set[str]:
    return set().union(*map(scanner.scan, chunks))


ABC = {"name": "files/abc", "uri": f"{UPSTREAM}/v1beta/files/abc"}
VIDEO = {"video": {"uri": f"{UPSTREAM}/v1beta/files/clip:download?alt=media"}}
OPERATION = {"name": "models/veo-3/operations/op1", "done": False}
BATCH = {
    "name": "batches/b1",
    "metadata": {"model": "models/gemini-2.5-pro", "output": {"responsesFile": "files/batch-b1"}},
    "response": {"responses_file": "files/batch-b2"},
}
STORE = "fileSearchStores/s1"
CREATED = {"event_type": "interaction.created", "interaction": {"id": "v1_Ab-9", "status": "in_progress"}}
DONE = {"event_type": "done", "interaction_id": "v1_Ab-9", "environment_id": "e1"}
PEOPLE = {"name": "corpora/c1/permissions/p1"}

LESSONS: dict[str, tuple[str, bytes, set[str]]] = {
    "an upload's end": ("/upload/v1beta/files", text({"file": ABC}), {"files/abc"}),
    "a list": ("/v1/files", text({"files": [ABC, {"name": "files/def"}]}, 2), {"files/abc", "files/def"}),
    "a file's address": ("/v1/files/abc", text({"uri": ABC["uri"]}), {"files/abc"}),
    "a download's address": ("/v1/files/a", text({"downloadUri": f"{ABC['uri']}:download"}), {"files/abc"}),
    "the same in snake case": ("/v1/files/a", text({"download_uri": ABC["uri"]}), {"files/abc"}),
    "a cached content": ("/v1/cachedContents", text({"name": "cachedContents/c1"}), {"cachedContents/c1"}),
    "an operation": (f"{MODEL}:predictLongRunning", text(OPERATION), {"operations/op1"}),
    "an operation's end": (
        f"{MODEL}/operations/op1",
        text({**OPERATION, "response": {"generatedVideos": [VIDEO]}}),
        {"operations/op1", "files/clip"},
    ),
    "an upload into a store": (
        f"/upload/v1/{STORE}:uploadToFileSearchStore",
        text({"name": f"{STORE}/upload/operations/o"}),
        {STORE},
    ),
    "a document": (f"/v1/{STORE}/operations/o", text({"documentName": f"{STORE}/documents/d"}), {STORE}),
    "a document in snake case": (f"/v1/{STORE}", text({"document_name": f"{STORE}/documents/d"}), {STORE}),
    "a new batch": (f"{MODEL}:batchGenerateContent", text({"name": "batches/b0"}), {"batches/b0"}),
    "a batch of embeddings": (f"{MODEL}:asyncBatchEmbedContent", text({"name": "batches/e"}), {"batches/e"}),
    "a batch": ("/v1/batches/b1", text(BATCH), {"batches/b1", "files/batch-b1", "files/batch-b2"}),
    "OpenAI's batch": (
        "/v1beta/openai/batches/batches%2Fb1",
        text({"id": "batches/b1", "input_file_id": "files/in", "output_file_id": "files/out"}),
        {"batches/b1", "files/in", "files/out"},
    ),
    "a token": ("/v1alpha/auth_tokens", text({"name": "auth_tokens/t1"}), {"auth_tokens/t1"}),
    "an interaction": ("/v1/interactions", text({"id": "v1_Ab-9", "status": "x"}), {"interactions/v1_Ab-9"}),
    "an interaction's events": (
        "/v1/interactions",
        events(CREATED, {"delta": {"text": "hi"}}, DONE),
        {"interactions/v1_Ab-9", "environments/e1"},
    ),
    "an interaction resumed": (
        "/v1/interactions/i",
        events(DONE),
        {"interactions/v1_Ab-9", "environments/e1"},
    ),
    "an agent": ("/v1/agents", text({"id": "mine"}), {"agents/mine"}),
    "an agent by its name": ("/v1/agents", text({"id": "agents/mine"}), {"agents/mine"}),
    "a trigger": (
        "/v1/triggers/t1",
        text({"id": "t1", "environment_id": "e"}),
        {"triggers/t1", "environments/e"},
    ),
    "a webhook": (
        "/v1/webhooks",
        text({"webhooks": [{"id": "w1"}, {"id": "w2"}]}),
        {"webhooks/w1", "webhooks/w2"},
    ),
    "a voice": ("/v1/voices", text({"id": "v"}), {"voices/v"}),
    "a tuned model": ("/v1/tunedModels", text({"name": "tunedModels/t/operations/o"}), {"tunedModels/t"}),
    "a permission": ("/v1/corpora/c1/permissions", text(PEOPLE), {"corpora/c1"}),
    "an id that is not by itself a name": ("/v1/files", text({"id": "abc"}), set()),
    "nothing": ("/v1/files/abc", b"{}", set()),
}


@pytest.mark.parametrize(("path", "body", "names"), LESSONS.values(), ids=LESSONS)
def test_a_response_yields_the_names_in_it(path: str, body: bytes, names: set[str]) -> None:
    scanner = scanner_for(path, JSON)
    assert scanner is not None
    assert scanner.scan(body) == names


@given(
    st.sampled_from(sorted(LESSONS)),
    st.sampled_from(sorted(ENCODERS)),
    st.lists(st.integers(0, 100_000), max_size=8) | st.just(list(range(5000))),
    st.binary(max_size=3000),
)
@settings(max_examples=250, deadline=None)
def test_however_a_response_is_cut_and_coded_it_yields_the_same_names(
    case: str, coding: str, places: list[int], noise: bytes
) -> None:
    path, body, names = LESSONS[case]
    body = text({"noise": noise.hex()}) + b"\n" + body + b"\n" + text({"noise": noise.hex()})
    scanner = scanner_for(path, [*JSON, ("content-encoding", coding)])
    assert scanner is not None
    assert read(scanner, *cut(ENCODERS[coding](body), places)) == names


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_long_list_yields_every_name(coding: str) -> None:
    files = [{"name": f"files/{number:04}", "displayName": "x" * 1000} for number in range(2000)]
    body = ENCODERS[coding](text({"files": files}))  # two megabytes that decompress from little
    scanner = scanner_for("/v1/files", [*JSON, ("Content-Encoding", coding)])
    assert scanner is not None
    assert read(scanner, body[:700], body[700:]) == {file["name"] for file in files}


@pytest.mark.parametrize("length", [1, 256])
def test_the_longest_name_is_read_byte_by_byte(length: int) -> None:
    host, model, name = "h" * 255, "m" * 128, f"generatedFiles/{'i' * length}"
    body = text({"downloadUri": f"https://{host}/v1{'a' * 32}/models/{model}/{name}"})
    scanner = scanner_for("/v1/generatedFiles", JSON)
    assert scanner is not None
    assert read(scanner, *cut(body, list(range(len(body))))) == {name}


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_flood_of_names_yields_a_few_thousand(coding: str) -> None:
    body = ENCODERS[coding](b"".join(b'"name":"files/%d",' % number for number in range(50_000)))
    scanner = scanner_for("/v1/files", [*JSON, ("Content-Encoding", coding)])
    assert scanner is not None
    assert 1000 <= len(read(scanner, *(body[at : at + 65536] for at in range(0, len(body), 65536)))) <= 15_000


@pytest.mark.parametrize("coding", [coding for coding in ENCODERS if coding != "identity"])
def test_a_decompression_bomb_yields_no_more_names(coding: str) -> None:
    body = ENCODERS[coding](b" " * 20_000_000 + text(ABC))
    scanner = scanner_for("/v1/files", [*JSON, ("Content-Encoding", coding)])
    assert scanner is not None
    assert read(scanner, body) == set()


QUOTED = '{"name": "files/abc", "id": "abc", "interaction_id": "abc"}'
SILENT = {
    "text that quotes a file": {"outputs": [{"type": "text", "text": QUOTED}]},
    "text that quotes a quotation": {"outputs": [{"type": "text", "text": json.dumps(QUOTED)}]},
    "text that is a name": {"outputs": [{"type": "text", "text": "files/abc"}]},
    "a title that is a name": {"displayName": "files/abc", "title": "interactions/abc"},
    "a name that only begins like one": {"name": "filesystem/abc", "uri": "myfiles/abc"},
    "a collection without a member": {"name": "files/"},
    "what was asked": {"file_uri": "files/abc", "file_name": "files/abc", "event_id": "abc"},
    "a model": {"name": "models/gemini-2.5-pro"},
    "somebody's page": {"uri": "https://example.com/pages/files/abc"},
}


@pytest.mark.parametrize("document", SILENT.values(), ids=SILENT)
@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/batches/b"])
def test_what_a_model_or_a_user_writes_yields_no_name(path: str, document: object) -> None:
    for body in (text(document), events(document)):
        for chunks in ([body], cut(body, list(range(len(body))))):
            scanner = scanner_for(path, JSON)
            assert scanner is not None
            assert read(scanner, *chunks) == set()


@pytest.mark.parametrize(
    "body",
    [gzip.compress(text(ABC))[2:], b"\0" * 99, b"{", b'"name": "files/abc'],
    ids=["beheaded gzip", "zeros", "begun object", "torn name"],
)
@pytest.mark.parametrize("coding", [*ENCODERS, "zstd"])
def test_what_cannot_be_read_yields_no_name_and_does_not_fail(coding: str, body: bytes) -> None:
    scanner = ResponseScanner("/v1/files", [("Content-Encoding", coding)])
    assert read(scanner, body[:5], body[5:], b"") == set()


@pytest.mark.parametrize(
    ("kind", "teaches"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/event-stream", True),
        ("text/event-stream; charset=utf-8", True),
        ("application/jsonl", False),
        ("application/octet-stream", False),
        ("text/html", False),
        ("video/mp4", False),
    ],
)
def test_only_json_and_events_are_read(kind: str, teaches: bool) -> None:
    assert (scanner_for("/v1/files/abc", [("Date", "x"), ("CONTENT-type", kind)]) is not None) is teaches


def test_a_response_of_no_kind_is_not_read() -> None:
    assert scanner_for("/v1/files", [("Content-Length", "2")]) is None


@pytest.mark.parametrize(
    "path",
    [
        f"{MODEL}:generateContent",
        f"{MODEL}:streamGenerateContent",
        f"{MODEL}:countTokens",
        f"{MODEL}:embedContent",
        f"{MODEL}:predict",
        "/v1beta/tunedModels/t:generateContent",
        "/v1beta/models",
        "/v1beta/myfiles/abc",
        "/v1beta/openai/chat/completions",
        "/v1beta/openai/embeddings",
    ],
)
def test_a_generation_is_never_read(path: str) -> None:
    assert scanner_for(path, JSON) is None


@given(
    st.sampled_from(COLLECTIONS.split("|")),
    st.text("abcXYZ019-_.", min_size=1, max_size=40),
    st.sampled_from(["", "models/veo-3/", f"{UPSTREAM}/v1beta/", f"{UPSTREAM}/v1beta/models/veo-3/"]),
    st.sampled_from(["", "/documents/d", "/operations/o", ":download?alt=media", "?x=y"]),
)
@settings(max_examples=200, deadline=None)
def test_a_name_is_learned_as_requests_name_it(collection: str, member: str, before: str, after: str) -> None:
    # Otherwise what was learned would never be found.
    address = f"{before}{collection}/{member}{after}"
    names = ResponseScanner("/v1/any", JSON).scan(text({"uri": address}))
    assert (
        names
        == {f"{collection}/{member}"}
        == {resource_in(f"/v1/{address.removeprefix(f'{UPSTREAM}/v1beta/')}")}
    )
