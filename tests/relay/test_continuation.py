"""A generation that ends with a token goes on with the key that it began with."""

import asyncio
import base64
import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.gemini.request_scope import continuation_name, scope_of
from proxycore.gemini.response_scanner import scanner_for
from proxycore.http.fields import Fields
from tests.support.proxy import proxy, rests
from tests.support.wire import CHUNKED, RawUpstream, Seen, answer, ask, chunk

PATH = "/v1beta/models/gemini-4-pro"
JSON: Fields = [("Content-Type", "application/json; charset=UTF-8")]
TOKEN = bytes(range(256)) * 3
PLAIN = base64.b64encode(TOKEN).decode()
WRITTEN = {
    "as it was": PLAIN,
    "for URLs": base64.urlsafe_b64encode(TOKEN).decode(),
    "without padding": PLAIN.rstrip("="),
}

pytestmark = pytest.mark.usefixtures("io_loop")


def body_of(token: str, name: str = "continuationToken") -> bytes:
    """An answer as Google writes it, with the padding escaped."""
    document = {
        "candidates": [{"content": {"parts": [{"text": "Once"}]}, "finishReason": "CONTINUATION"}],
        "usageMetadata": {"promptTokenCount": 3},
        name: token,
    }
    return json.dumps(document, indent=2).replace("=", "\\u003d").encode()


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
async def test_the_next_request_goes_to_the_key_that_gave_the_token(
    written: str, method: str, coding: str
) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keys.append(seen.key)
        body = body_of(PLAIN)
        if method == "streamGenerateContent":
            event = b"data: " + json.dumps(json.loads(body)).replace("=", "\\u003d").encode() + b"\r\n\r\n"
            writer.write(CHUNKED + chunk(event[:900]))
            await asyncio.sleep(0.01)
            writer.write(chunk(event[900:]) + b"0\r\n\r\n")
            return
        fields = [*JSON, ("Content-Encoding", coding)]
        writer.write(answer(200, gzip.compress(body) if coding == "gzip" else body, *fields))

    keys: list[str] = []
    pool = {f"GOOGLE_API_KEY_{n}": f"AQ.secret-of-key-{n}" for n in range(10)}
    contents = [{"parts": [{"text": "Tell me a story"}]}]
    async with RawUpstream(script) as upstream, proxy(upstream.url, pool) as here:
        await ask(here.port, "POST", f"{PATH}:{method}", body=json.dumps({"contents": contents}).encode())
        for name in ("continuationToken", "continuation_token"):
            asked = json.dumps({"contents": contents, name: written}).encode()
            got = await ask(here.port, "POST", f"{PATH}:{method}", body=asked)
            assert got.status == 200
    assert keys == [keys[0]] * 3


async def test_a_token_that_is_not_known_goes_to_any_key_and_is_looked_for_with_none() -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        body = b'{"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}'
        writer.write(answer(404, body, *JSON))

    pool = {f"GOOGLE_API_KEY_{n}": f"AQ.secret-of-key-{n}" for n in range(5)}
    async with RawUpstream(script) as upstream, proxy(upstream.url, pool) as here:
        asked = json.dumps({"continuationToken": "bm9ib2R5cw=="}).encode()
        assert (await ask(here.port, "POST", f"{PATH}:generateContent", body=asked)).status == 404
        assert not any(map(rests, here.app.rotator.keys))
        assert len(here.app.affinity) == 0
    assert len(upstream.seen) == 1


@given(
    st.lists(st.integers(0, 1500), max_size=8), st.sampled_from(["continuationToken", "continuation_token"])
)
def test_however_a_response_is_cut_it_yields_the_token(places: list[int], name: str) -> None:
    body = body_of(PLAIN, name)
    scanner = scanner_for(f"{PATH}:generateContent", JSON)
    assert scanner
    marks = [0, *sorted(min(place, len(body)) for place in places), len(body)]
    found: set[str] = set()
    for start, end in pairwise(marks):
        found |= scanner.scan(body[start:end])
    assert found == {continuation_name(PLAIN.encode())}


@pytest.mark.parametrize(
    ("model", "reads"),
    [
        ("gemini-1.5-pro", False),
        ("gemini-2.5-flash", False),
        ("gemini-3-pro-preview", False),
        ("gemini-4-pro", True),
        ("gemini-10-flash", True),
        ("gemini-flash-latest", True),
    ],
)
def test_only_generations_of_models_that_give_tokens_are_read(model: str, reads: bool) -> None:
    assert (scanner_for(f"/v1beta/models/{model}:generateContent", JSON) is not None) is reads


@pytest.mark.parametrize(
    "document",
    [
        {"text": '"continuationToken": "eA=="'},
        {"continuationToken": 7},
        {"continuationToken": ""},
        {"continuationTokens": "eA=="},
        {"continuationToken": "x" * 20_000},
    ],
)
def test_what_is_no_token_names_nothing(document: object) -> None:
    body = json.dumps(document).encode()
    scanner = scanner_for(f"{PATH}:generateContent", JSON)
    assert scanner
    assert scanner.scan(body) | scanner.scan(b"") == set()
    assert scope_of(f"{PATH}:generateContent", body).possible_resources == ()


def test_an_endless_token_is_not_kept() -> None:
    scanner = scanner_for(f"{PATH}:streamGenerateContent", JSON)
    assert scanner
    scanner.scan(b'data: {"continuationToken": "')
    for _ in range(1000):
        assert not scanner.scan(b"x" * 1000)
    assert len(scanner._window) < 16 * 1024
