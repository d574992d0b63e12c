"""The mock of the Gemini API, as clients see it and as tests script it."""

import asyncio
import base64
import gzip
import itertools
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors
from tornado.ioloop import IOLoop

from proxycore.demo import Asked, Health, MockServer, Refusal, demo_keys
from tests.support.clocks import TurnedClock
from tests.support.demo_client import Served
from tests.support.waiting import at_once, quiet, until
from tests.support.wire import Got, ask, connect

KEY = "AQ.good-key"
WITH_KEY = ("X-Goog-Api-Key", KEY)
BEARER = ("Authorization", f"Bearer {KEY}")
FLASH = "/v1beta/models/gemini-2.0-flash"
GENERATE = f"{FLASH}:generateContent"
STREAM = f"{FLASH}:streamGenerateContent"
CHAT = "/v1beta/openai/chat/completions"
HELLO = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]}).encode()
TYPE = "type.googleapis.com/google.rpc."


class Here(Served):
    async def ask(self, target: str, *fields: tuple[str, str], body: bytes | None = HELLO) -> Got:
        return await ask(self.port, "GET" if body is None else "POST", target, *fields, body=body)

    async def refusal(self, health: Health, target: str = GENERATE) -> Any:  # noqa: ANN401 - JSON
        self.mock.keys[KEY] = health
        got = await self.ask(target, WITH_KEY)
        error = json.loads(got.body)["error"]
        assert error["code"] == got.status
        return error


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def here(io_loop: IOLoop, clock: TurnedClock) -> Iterator[Here]:
    mock = MockServer({KEY: Health.healthy()}, clock=clock)
    yield Here(mock, mock.listen())
    io_loop.run_sync(mock.stop)


def details(error: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {detail["@type"].removeprefix(TYPE): detail for detail in error.get("details", [])}


# What it answers


@pytest.mark.parametrize("version", ["v1", "v1alpha", "v1beta"])
async def test_a_unary_answer_quotes_the_prompt_and_has_googles_fields(here: Here, version: str) -> None:
    got = await here.ask(f"/{version}/models/gemini-2.5-pro:generateContent", WITH_KEY)
    answer = json.loads(got.body)
    (candidate,) = answer["candidates"]
    assert candidate["content"]["parts"][0]["text"].startswith('You asked: "Hello there". ')
    assert candidate["finishReason"] == "STOP"
    assert answer["modelVersion"] == "gemini-2.5-pro"
    usage = answer["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert got.one("content-type") == "application/json; charset=UTF-8"
    assert got.one("server") == "scaffolding on HTTPServer2"
    assert got.all("vary") == ["Origin", "X-Origin", "Referer"]
    assert got.one("alt-svc") == 'h3=":443"; ma=2592000,h3-29=":443"; ma=2592000'
    assert got.one("server-timing").startswith("gfet4t7; dur=")
    assert (got.one("x-xss-protection"), got.one("x-frame-options")) == ("0", "SAMEORIGIN")


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        ({"prompt": "Write a short story", "max_tokens": 100}, "Write a short story"),
        (
            {"contents": [{"parts": [{"text": "one"}]}, {"parts": [{"text": "two"}, {"text": "three"}]}]},
            "two three",
        ),
        ({"contents": {"parts": {"text": "no lists"}}}, "no lists"),
        ({"contents": [{"parts": [{"inlineData": {"data": "AA=="}}]}]}, ""),
        ({"contents": [{"parts": [{"text": "żółć <b> 🙂"}]}]}, "żółć <b> 🙂"),
    ],
)
async def test_prompts_come_in_many_shapes(here: Here, body: object, quoted: str) -> None:
    got = await here.ask(GENERATE, WITH_KEY, body=json.dumps(body).encode())
    assert f'You asked: "{quoted}".' in json.loads(got.body)["candidates"][0]["content"]["parts"][0]["text"]
    assert b"<" not in got.body  # escaped, as Google does


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON payload received. "),
        (b'{"contents": oops}', "Invalid JSON payload received. "),
        (b"\xff\xfe\xfd", "Invalid JSON payload received. "),
        (b"[1]", "Invalid JSON payload received. "),
        (b"{}", "* GenerateContentRequest.contents: contents is not specified\n"),
        (b'{"contents": []}', "* GenerateContentRequest.contents: contents is not specified\n"),
    ],
)
async def test_a_body_without_contents_is_an_invalid_argument(here: Here, body: bytes, message: str) -> None:
    got = await here.ask(GENERATE, WITH_KEY, body=body)
    error = json.loads(got.body)["error"]
    assert (got.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"].startswith(message)


@pytest.mark.parametrize("accepted", ["gzip, deflate", "br, gzip;q=0.5"])
async def test_documents_are_compressed_when_asked_and_streams_never(here: Here, accepted: str) -> None:
    field = ("Accept-Encoding", accepted)
    whole = await here.ask(GENERATE, WITH_KEY, field)
    assert whole.one("content-encoding") == "gzip"
    assert json.loads(gzip.decompress(whole.body))["candidates"]
    refused = await here.ask(GENERATE, field)
    assert json.loads(gzip.decompress(refused.body))["error"]["code"] == 403
    for target in (STREAM, f"{STREAM}?alt=sse"):
        assert not (await here.ask(target, WITH_KEY, field)).all("content-encoding")
        assert not (await here.ask(target, field)).all("content-encoding")


@pytest.mark.parametrize(
    "query", ["?alt=sse", "?%24alt=sse", "?$alt=sse;enum-encoding=int", "?a=b&alt=sse&c"]
)
async def test_sse_is_framed_as_google_frames_it(here: Here, query: str) -> None:
    here.mock.chunks = 5
    got = await here.ask(STREAM + query, WITH_KEY)
    assert got.one("content-type") == "text/event-stream"
    assert got.one("content-disposition") == "attachment"
    assert len(got.chunks) == 5  # each event is flushed by itself
    for chunk in got.chunks:
        assert re.fullmatch(rb'data: \{"candidates": [^\r\n]*\}\r\n\r\n', chunk)
    *events, last = [json.loads(chunk.removeprefix(b"data: ")) for chunk in got.chunks]
    assert all("finishReason" not in event["candidates"][0] for event in events)
    assert all("candidatesTokenCount" not in event["usageMetadata"] for event in events)
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"]["candidatesTokenCount"] > 0
    assert len({event["responseId"] for event in [*events, last]}) == 1


async def test_without_sse_one_array_grows_element_by_element(here: Here) -> None:
    here.mock.chunks = 4
    got = await here.ask(STREAM + "?%24alt=json%3Benum-encoding%3Dint", WITH_KEY)
    assert got.one("content-type") == "application/json; charset=UTF-8"
    *growing, end = got.chunks
    for size in range(1, 5):
        assert len(json.loads(b"".join(growing[:size]) + b"]")) == size
    assert end == b"]"
    streamed = "".join(e["candidates"][0]["content"]["parts"][0]["text"] for e in json.loads(got.body))
    assert streamed.startswith('You asked: "Hello there". This response')
    assert json.loads(got.body)[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize(("chunks", "chunk_bytes"), [(1, 0), (7, 0), (1000, 0), (1, 10), (3, 5000)])
async def test_a_response_has_the_configured_number_and_size_of_chunks(
    here: Here, chunks: int, chunk_bytes: int
) -> None:
    here.mock.chunks, here.mock.chunk_bytes = chunks, chunk_bytes
    got = await here.ask(f"{STREAM}?alt=sse", WITH_KEY)
    events = [json.loads(chunk.removeprefix(b"data: ")) for chunk in got.chunks]
    texts = [event["candidates"][0]["content"]["parts"][0]["text"] for event in events]
    assert len(texts) == chunks
    assert all(texts)
    assert not chunk_bytes or {len(text.encode()) for text in texts} == {chunk_bytes}


@pytest.mark.turned
async def test_it_delays_the_head_and_paces_the_chunks(here: Here) -> None:
    here.mock.chunks, here.mock.think, here.mock.pace = 4, 0.1, 0.05
    async with connect(here.port) as client:
        now = asyncio.get_running_loop().time
        started = now()
        client.send("POST", f"{STREAM}?alt=sse", WITH_KEY, body=HELLO)
        await client.head()
        times = [started, *[now() async for _ in client.chunks()]]
    thought, *gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert thought == pytest.approx(0.1, abs=0.01)
    assert gaps == pytest.approx([0.05] * 3, abs=0.01)


async def test_the_list_of_models_comes_in_pages(here: Here) -> None:
    whole = json.loads((await here.ask("/v1/models", WITH_KEY, body=None)).body)
    assert "nextPageToken" not in whole
    names, token = [], ""
    while True:
        page = json.loads(
            (await here.ask(f"/v1/models?pageSize=2&pageToken={token}", WITH_KEY, body=None)).body
        )
        assert len(page["models"]) <= 2
        names += [model["name"] for model in page["models"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert names == [model["name"] for model in whole["models"]]
    assert "models/gemini-2.5-flash" in names
    one = await here.ask("/v1/models/gemini-2.5-flash", WITH_KEY, body=None)
    assert json.loads(one.body) in whole["models"]
    assert not one.all("etag")
    assert (await here.ask("/v1/models?pageToken=x", WITH_KEY, body=None)).status == 400


@pytest.mark.parametrize(
    ("target", "version", "model", "method"),
    [
        ("/v1/models/gemini-9:generateContent", "v1", "gemini-9", "generateContent"),
        ("/v1beta/models/gemini-9:streamGenerateContent?alt=sse", "v1beta", "gemini-9", "generateContent"),
        (f"{FLASH}:embedContent", "v1beta", "gemini-2.0-flash", "embedContent"),
        (f"{FLASH}:predict", "v1beta", "gemini-2.0-flash", "predict"),
        (
            "/v1/models/gemini-embedding-001:generateContent",
            "v1",
            "gemini-embedding-001",
            "generateContent",
        ),
    ],
)
async def test_a_model_without_the_method_is_not_found(
    here: Here, target: str, version: str, model: str, method: str
) -> None:
    got = await here.ask(target, WITH_KEY)
    assert got.status == 404
    assert json.loads(got.body) == {
        "error": {
            "code": 404,
            "message": f"models/{model} is not found for API version {version}, or is not supported for"
            f" {method}. Call ListModels to see the list of available models and their supported methods.",
            "status": "NOT_FOUND",
        }
    }


async def test_the_colon_may_be_escaped(here: Here) -> None:
    assert (await here.ask(f"{FLASH}%3AgenerateContent", WITH_KEY)).status == 200
    assert here.last.model == "gemini-2.0-flash"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("POST", "/v2/models"),
        ("GET", GENERATE),
        ("DELETE", "/v1/models"),
        ("BREW", "/v1/files/a"),
    ],
)
async def test_any_other_path_or_method_is_not_found(here: Here, method: str, target: str) -> None:
    got = await ask(here.port, method, target, WITH_KEY)
    assert (got.status, json.loads(got.body)["error"]["status"]) == (404, "NOT_FOUND")


async def test_tokens_are_counted(here: Here) -> None:
    plain = json.loads((await here.ask(f"{FLASH}:countTokens", WITH_KEY)).body)
    wrapped = b'{"generateContentRequest": ' + HELLO + b"}"
    assert json.loads((await here.ask(f"{FLASH}:countTokens", WITH_KEY, body=wrapped)).body) == plain
    assert plain["totalTokens"] > 0


async def test_embeddings_depend_on_the_text_and_the_size_alone(here: Here) -> None:
    target = "/v1/models/gemini-embedding-001"
    request = {"content": {"parts": [{"text": "a"}]}}
    single = await here.ask(f"{target}:embedContent", WITH_KEY, body=json.dumps(request).encode())
    batch = {"requests": [request, request | {"outputDimensionality": 8}]}
    several = await here.ask(f"{target}:batchEmbedContents", WITH_KEY, body=json.dumps(batch).encode())
    values = json.loads(single.body)["embedding"]["values"]
    first, short = (each["values"] for each in json.loads(several.body)["embeddings"])
    assert first == values
    assert (len(first), len(short)) == (3072, 8)
    assert sum(number * number for number in first) == pytest.approx(1)


# The OpenAI surface


async def test_chat_streams_in_openais_framing(here: Here) -> None:
    here.mock.chunks = 3
    body = {"model": "gemini-2.0-flash", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    got = await here.ask(CHAT, BEARER, body=json.dumps(body).encode())
    *frames, done = got.body.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    assert b"\r" not in got.body
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text.startswith('You asked: "Hello".')
    assert [chunk["choices"][0].get("finish_reason") for chunk in chunks] == [None, None, "stop"]
    asked = body | {"stream_options": {"include_usage": True}}
    got = await here.ask(CHAT, BEARER, body=json.dumps(asked).encode())
    last = json.loads(got.body.decode().split("\n\n")[-3].removeprefix("data: "))
    assert (last["choices"], last["usage"]["total_tokens"] > 0) == ([], True)


async def test_openai_embeddings_come_as_numbers_or_packed(here: Here) -> None:
    body = {"model": "gemini-embedding-001", "input": ["a", "b"], "dimensions": 4}
    target = "/v1beta/openai/embeddings"
    plain = json.loads((await here.ask(target, BEARER, body=json.dumps(body).encode())).body)
    body["encoding_format"] = "base64"
    packed = json.loads((await here.ask(target, BEARER, body=json.dumps(body).encode())).body)
    for one, other in zip(plain["data"], packed["data"], strict=True):
        assert struct.unpack("<4f", base64.b64decode(other["embedding"])) == pytest.approx(one["embedding"])
    bad = await here.ask(target, BEARER, body=json.dumps(body | {"input": [1, 2]}).encode())
    assert (bad.status, json.loads(bad.body)[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_openai_lists_models_and_finds_one_by_either_name(here: Here) -> None:
    every = json.loads((await here.ask("/v1beta/openai/models", BEARER, body=None)).body)
    one = {"id": "models/gemini-2.5-pro", "object": "model", "owned_by": "google"}
    assert one in every["data"]
    for name in ("gemini-2.5-pro", "models/gemini-2.5-pro", "models%2Fgemini-2.5-pro"):
        assert json.loads((await here.ask(f"/v1beta/openai/models/{name}", BEARER, body=None)).body) == one
    (missing,) = json.loads((await here.ask("/v1beta/openai/models/gpt-4", BEARER, body=None)).body)
    assert "models/gpt-4 is not found for API version v1main" in missing["error"]["message"]


# Credentials

MULTIPLE = "Multiple authentication credentials received. Please pass only one."
OTHER_KEY = ("X-Goog-Api-Key", "AQ.unknown")


@pytest.mark.parametrize(
    ("query", "fields", "kind", "message"),
    [
        ("", (), "403 PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without"),
        ("", (("X-Goog-Api-Key", ""),), "403 PERMISSION_DENIED", "Method doesn't allow unregistered callers"),
        ("", (BEARER,), "401 UNAUTHENTICATED", "Request had invalid authentication credentials. Expected"),
        ("", (BEARER, WITH_KEY), "401 UNAUTHENTICATED", "API key for authentication is used with other"),
        (f"?key={KEY}", (WITH_KEY,), "401 UNAUTHENTICATED", "API key for authentication is used with other"),
        (f"?key={KEY}&key=b", (), "401 UNAUTHENTICATED", "API key for authentication is used with other"),
        ("", (OTHER_KEY,), "400 INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        ("?key=AQ.unknown", (), "400 INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    ],
)
async def test_native_credentials_are_refused_as_google_does(
    here: Here, query: str, fields: tuple[tuple[str, str], ...], kind: str, message: str
) -> None:
    got = await here.ask(GENERATE + query, *fields)
    error = json.loads(got.body)["error"]
    assert (got.status, f"{error['code']} {error['status']}") == (error["code"], kind)
    assert error["message"].startswith(message)


async def test_a_native_key_may_come_in_the_query(here: Here) -> None:
    assert (await here.ask(f"{GENERATE}?key={KEY}")).status == 200
    assert here.last.key == KEY


async def test_native_refusals_of_credentials_have_the_reason_in_their_details(here: Here) -> None:
    invalid = details(json.loads((await here.ask(GENERATE, OTHER_KEY)).body)["error"])
    assert invalid["ErrorInfo"] == {
        "@type": f"{TYPE}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    assert invalid["LocalizedMessage"]["message"] == "API key not valid. Please pass a valid API key."
    token = details(json.loads((await here.ask(GENERATE, BEARER)).body)["error"])
    assert token["ErrorInfo"]["reason"] == "ACCESS_TOKEN_TYPE_UNSUPPORTED"


@pytest.mark.parametrize(
    ("query", "fields", "message"),
    [
        ("", (), "Missing or invalid Authorization header."),
        ("", (WITH_KEY,), "Missing or invalid Authorization header."),
        (f"?key={KEY}", (), "Missing or invalid Authorization header."),
        ("", (("Authorization", f"Basic {KEY}"),), "Missing or invalid Authorization header."),
        ("", (BEARER, WITH_KEY), MULTIPLE),
        (f"?key={KEY}", (BEARER,), MULTIPLE),
        ("", (("Authorization", "Bearer AQ.unknown"),), "Please pass a valid API key"),
    ],
)
@pytest.mark.parametrize("target", [CHAT, "/v1beta/openai/models"])
async def test_openai_credentials_are_refused_in_an_array(
    here: Here, target: str, query: str, fields: tuple[tuple[str, str], ...], message: str
) -> None:
    body = json.dumps({"model": "gemini-2.0-flash"}).encode() if target == CHAT else None
    got = await here.ask(target + query, *fields, body=body)
    assert got.status == 400
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    assert json.loads(got.body) == [{"error": error}]


async def test_a_missing_credential_is_seen_before_a_bad_body(here: Here) -> None:
    for target in (GENERATE, CHAT):
        got = await here.ask(target, body=b"not JSON")
        assert b"JSON" not in got.body


# The health of keys


MONEY, DENIED = "429 RESOURCE_EXHAUSTED", "403 PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("name", "kind", "message", "reason"),
    [
        ("bare_429", MONEY, "Resource has been exhausted (e.g. check quota).", ""),
        ("out_of_credit", MONEY, "Your prepayment credits are depleted.", ""),
        ("over_spending_cap", MONEY, "Your project has exceeded its monthly spending cap.", ""),
        (
            "service_disabled",
            DENIED,
            "Generative Language API has not been used in project 5",
            "SERVICE_DISABLED",
        ),
        ("service_blocked", DENIED, "Requests to this API generativelanguage.", "API_KEY_SERVICE_BLOCKED"),
        ("referrer_blocked", DENIED, "Requests from referer <empty> are", "API_KEY_HTTP_REFERRER_BLOCKED"),
        ("ip_blocked", DENIED, "The provided API key has an IP address", "API_KEY_IP_ADDRESS_BLOCKED"),
        ("forbidden", DENIED, "The caller does not have permission", ""),
        ("suspended", DENIED, f"Permission denied: Consumer 'api_key:{KEY}' has", "CONSUMER_SUSPENDED"),
        ("leaked", DENIED, "Your API key was reported as leaked. Please use another API key.", ""),
        ("invalid", "400 INVALID_ARGUMENT", "API key not valid. Please pass", "API_KEY_INVALID"),
        ("expired", "400 INVALID_ARGUMENT", "API key expired. Please renew", "API_KEY_INVALID"),
        ("bad_region", "400 FAILED_PRECONDITION", "User location is not supported for the API use.", ""),
        ("unsupported_token", "401 UNAUTHENTICATED", "Request had invalid", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ("internal_error", "500 INTERNAL", "Internal error encountered.", ""),
        ("overloaded", "503 UNAVAILABLE", "This model is currently experiencing high demand.", ""),
        ("timed_out", "504 DEADLINE_EXCEEDED", "Deadline expired before operation could complete.", ""),
    ],
)
async def test_every_refusal_has_googles_shape(
    here: Here, name: str, kind: str, message: str, reason: str
) -> None:
    error = await here.refusal(getattr(Health, name)())
    assert f"{error['code']} {error['status']}" == kind
    assert error["message"].startswith(message)
    found = details(error)
    assert found.get("ErrorInfo", {}).get("reason", "") == reason
    assert "RetryInfo" not in found
    assert "$" not in json.dumps(error)  # nothing is left to be put in
    if "LocalizedMessage" in found:
        assert found["LocalizedMessage"]["message"] == error["message"]


async def test_a_suspended_key_is_quoted_wherever_google_can_quote_it(here: Here) -> None:
    error = await here.refusal(Health.suspended())
    assert f"'api_key:{KEY}'" in error["message"]
    found = details(error)
    assert found["ErrorInfo"]["metadata"]["containerInfo"] == f"api_key:{KEY}"
    assert KEY in found["LocalizedMessage"]["message"]
    assert KEY in found["DebugInfo"]["detail"]


async def test_each_key_has_a_project_of_its_own(here: Here) -> None:
    here.mock.keys["AQ.other"] = Health.forbidden()
    projects = set()
    for key in (KEY, "AQ.other"):
        here.mock.keys[key] = Health.ip_blocked()
        error = json.loads((await here.ask(GENERATE, ("X-Goog-Api-Key", key))).body)["error"]
        projects.add(details(error)["ErrorInfo"]["metadata"]["consumer"])
    assert len(projects) == 2
    assert all(re.fullmatch(r"projects/\d{12}", project) for project in projects)


async def test_a_quota_is_counted_in_a_sliding_window(here: Here, clock: TurnedClock) -> None:
    here.mock.keys[KEY] = Health.quota(2)
    statuses = []
    for _ in range(3):
        statuses.append((await here.ask(GENERATE, WITH_KEY)).status)
        clock.turn(12.5)
    assert statuses == [200, 200, 429]
    got = await here.ask(GENERATE, WITH_KEY)  # the first was 37.5 seconds ago
    error = json.loads(got.body)["error"]
    assert got.status == 429
    assert error["message"].endswith(
        "/rate-limit. \n* Quota exceeded for metric: generativelanguage.googleapis.com/"
        "generate_content_free_tier_requests, limit: 2, model: gemini-2.0-flash\nPlease retry in 22.5s."
    )
    found = details(error)
    assert list(found) == ["Help", "QuotaFailure", "RetryInfo"]
    assert found["RetryInfo"]["retryDelay"] == "22.5s"
    assert found["QuotaFailure"]["violations"] == [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gemini-2.0-flash"},
            "quotaValue": "2",
        }
    ]
    clock.turn(22.25)
    assert (await here.refusal(here.mock.keys[KEY]))["message"].endswith("Please retry in 250ms.")
    clock.turn(0.25)
    assert (await here.ask(GENERATE, WITH_KEY)).status == 200
    assert (await here.ask(GENERATE, WITH_KEY)).status == 429  # the second still counts, for 12.5 seconds
    clock.turn(12.5)
    assert (await here.ask(GENERATE, WITH_KEY)).status == 200


async def test_a_quota_is_of_one_key_and_one_model(here: Here, clock: TurnedClock) -> None:
    here.mock.keys[KEY] = here.mock.keys["AQ.two"] = Health.quota(1, window=1.0)
    pro = GENERATE.replace("2.0-flash", "2.5-pro")
    for target, field in ((GENERATE, WITH_KEY), (pro, WITH_KEY), (GENERATE, ("X-Goog-Api-Key", "AQ.two"))):
        assert [(await here.ask(target, field)).status for _ in range(2)] == [200, 429]
    assert (await here.ask("/v1/models", WITH_KEY, body=None)).status == 200
    assert (await here.ask("/v1/models", WITH_KEY, body=None)).status == 200
    body = json.dumps({"model": "models/gemini-2.0-flash", "messages": [{"content": "x"}]}).encode()
    (answer,) = json.loads((await here.ask(CHAT, BEARER, body=body)).body)  # the same quota by another door
    assert details(answer["error"])["RetryInfo"]["retryDelay"] == "1s"
    clock.turn(1)
    assert (await here.ask(CHAT, BEARER, body=body)).status == 200


async def test_an_exhausted_daily_quota_comes_with_a_misleading_delay(here: Here) -> None:
    error = await here.refusal(Health.day_spent())
    found = details(error)
    (violation,) = found["QuotaFailure"]["violations"]
    assert violation["quotaId"] == "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    assert (violation["quotaValue"], violation["quotaDimensions"]["model"]) == ("20", "gemini-2.0-flash")
    assert found["RetryInfo"]["retryDelay"] == "41s"
    assert error["message"].endswith("limit: 20, model: gemini-2.0-flash\nPlease retry in 41.065029449s.")
    assert (await here.ask("/v1/models", WITH_KEY, body=None)).status == 200  # which costs nothing


async def test_a_quota_of_zero_says_so_in_its_message_alone(here: Here) -> None:
    error = await here.refusal(Health.not_entitled())
    assert "limit: 0, model: gemini-2.0-flash\n" in error["message"]
    violations = details(error)["QuotaFailure"]["violations"]
    assert {violation["quotaId"].split("Per")[1] for violation in violations} >= {"Day", "Minute"}
    assert not any("quotaValue" in violation for violation in violations)


async def test_a_health_may_be_that_of_some_models_only(here: Here) -> None:
    here.mock.keys[KEY] = Health(models={"gemini-2.5-pro": Health.day_spent()})
    assert (await here.ask(GENERATE, WITH_KEY)).status == 200
    assert (await here.ask(GENERATE.replace("2.0-flash", "2.5-pro"), WITH_KEY)).status == 429
    rest = Health(Health.overloaded().refusal, models={"gemini-2.0-flash": Health.healthy()})
    here.mock.keys[KEY] = rest
    assert (await here.ask(GENERATE, WITH_KEY)).status == 200
    assert (await here.ask(GENERATE.replace("2.0-flash", "2.5-pro"), WITH_KEY)).status == 503


async def test_a_health_can_be_a_sequence_once_or_repeated(here: Here) -> None:
    turns = [Health.overloaded(), Health.overloaded(), Health.healthy()]
    here.mock.keys[KEY] = Health.in_turn(*turns)
    assert [(await here.ask(GENERATE, WITH_KEY)).status for _ in range(5)] == [503, 503, 200, 200, 200]
    here.mock.keys[KEY] = Health.in_turn(*turns, repeat=True)
    assert [(await here.ask(GENERATE, WITH_KEY)).status for _ in range(5)] == [503, 503, 200, 503, 503]


async def test_a_health_can_be_a_function(here: Here) -> None:
    def odd(asked: Asked) -> Refusal:
        return Refusal(418, f"{asked.key} {asked.model} {asked.now:.0f}", status="TEAPOT")

    error = await here.refusal(Health(odd))
    assert (error["status"], error["message"]) == ("TEAPOT", f"{KEY} gemini-2.0-flash 1800000000")


async def test_a_stream_is_refused_in_the_framing_it_would_have_had(here: Here) -> None:
    here.mock.keys[KEY] = Health.overloaded()
    sse = await here.ask(f"{STREAM}?alt=sse", WITH_KEY)
    assert (sse.status, sse.one("content-type")) == (503, "text/event-stream")
    assert sse.body.startswith(b'{\n  "error": {\n    "code": 503,\n')
    array = await here.ask(STREAM, WITH_KEY)
    assert (array.status, array.one("content-type")) == (503, "application/json; charset=UTF-8")
    assert json.loads(array.body) == [json.loads(sse.body)]
    asked = json.dumps({"model": "gemini-2.0-flash", "messages": [{"content": "x"}], "stream": True})
    chat = await here.ask(CHAT, BEARER, body=asked.encode())
    assert (chat.status, json.loads(chat.body)) == (503, [json.loads(sse.body)])


@pytest.mark.parametrize(
    ("name", "model", "statuses"),
    [
        ("HEALTHY_1", "gemini-2.5-pro", [200] * 5),
        ("HEALTHY_2", "gemini-2.5-pro", [200] * 5),
        ("THREE_PER_MINUTE", "gemini-2.5-pro", [200, 200, 200, 429, 429]),
        ("PRO_SPENT_TODAY", "gemini-2.5-pro", [429] * 5),
        ("PRO_SPENT_TODAY", "gemini-2.5-flash", [200] * 5),
        ("SOMETIMES_OVERLOADED", "gemini-2.5-pro", [200, 200, 200, 503, 200]),
        ("FREE_TIER_NO_SEARCH", "gemini-2.5-pro", [200] * 5),
        ("ERROR_IN_STREAM", "gemini-2.5-pro", [200] * 5),
        ("PROJECT_DENIED", "gemini-2.5-pro", [403] * 5),
        ("SUSPENDED", "gemini-2.5-pro", [403] * 5),
        ("INVALID", "gemini-2.5-pro", [400] * 5),
    ],
)
async def test_the_demo_keys_behave_as_their_names_say(
    here: Here, name: str, model: str, statuses: list[int]
) -> None:
    secret, health = demo_keys()[name]
    here.mock.keys = {secret: health}
    target = GENERATE.replace("gemini-2.0-flash", model)
    assert [(await here.ask(target, ("X-Goog-Api-Key", secret))).status for _ in statuses] == statuses


async def test_a_demo_key_has_no_quota_for_search(here: Here) -> None:
    secret, health = demo_keys()["FREE_TIER_NO_SEARCH"]
    here.mock.keys = {secret: health}
    searching = json.dumps(json.loads(HELLO) | {"tools": [{"google_search": {}}]}).encode()
    assert (await here.ask(GENERATE, ("X-Goog-Api-Key", secret), body=searching)).status == 429


async def test_half_the_streams_of_a_demo_key_begin_with_an_error(here: Here) -> None:
    secret, health = demo_keys()["ERROR_IN_STREAM"]
    here.mock.keys = {secret: health}
    got = [await here.ask(f"{STREAM}?alt=sse", ("X-Goog-Api-Key", secret)) for _ in range(4)]
    assert [each.status for each in got] == [200] * 4
    assert [each.body.startswith(b'data: {"error": ') for each in got] == [False, True] * 2


# What tests see of it


async def test_a_call_is_recorded_as_it_arrived(here: Here, clock: TurnedClock) -> None:
    here.mock.think = 0.02
    target = f"{FLASH}%3AgenerateContent?b=&a=1&a=%20&&c"
    body = b'{"prompt": "a=b&c"}' + b"&x" * 2000
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    got = await here.ask(target, WITH_KEY, ("X-Twice", "a"), ("X-Twice", "b"), kind, body=body)
    call = here.last
    assert (call.method, call.target, bytes(call.body)) == ("POST", target, body)
    assert call.headers.get_list("x-twice") == ["a", "b"]
    assert (call.key, call.model, call.status, got.status) == (KEY, "gemini-2.0-flash", 400, 400)
    assert (call.arrived, call.ended, call.cut) == (clock.now, clock.now, False)
    assert here.mock.open == 0


@pytest.mark.turned
@pytest.mark.parametrize("phase", ["uploading", "thinking", "pacing", "stalled"])
async def test_a_client_that_disconnects_is_noticed_immediately(here: Here, phase: str) -> None:
    mock = here.mock
    mock.think = 30 * (phase == "thinking")
    mock.pace = 30 * (phase == "pacing")
    mock.chunk_bytes = 2**23 * (phase == "stalled")
    idle = len(asyncio.all_tasks())
    async with connect(here.port) as client:
        length = ("Content-Length", str(len(HELLO) + (phase == "uploading")))
        client.send("POST", f"{STREAM}?alt=sse", WITH_KEY, length)
        client.writer.write(HELLO)
        status = 200 if phase in {"pacing", "stalled"} else 0
        await until(lambda: mock.open == 1 and here.last.body == HELLO and here.last.status == status)
        await quiet()
        assert mock.open == 1
        assert here.last.status == status
    await at_once(lambda: mock.open == 0, 0.5)  # and not after the 30 seconds
    assert here.last.cut
    await until(lambda: len(asyncio.all_tasks()) == idle)  # nothing goes on being made


@pytest.mark.turned
async def test_a_slow_client_applies_backpressure(here: Here) -> None:
    here.mock.chunks, here.mock.chunk_bytes = 40, 2**20
    async with connect(here.port) as client:
        client.send("POST", f"{STREAM}?alt=sse", WITH_KEY, body=HELLO)
        await client.head()
        await quiet()
        assert here.mock.open == 1  # most of it is not even made yet
        sizes = [len(chunk) async for chunk in client.chunks()]
    assert sum(sizes) > 40 * 2**20
    assert (here.last.status, here.last.cut) == (200, False)


@pytest.mark.parametrize("target", [GENERATE, STREAM, f"{STREAM}?alt=sse"])
async def test_it_can_break_off_before_its_head(here: Here, target: str) -> None:
    here.mock.break_after = 0
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await here.ask(target, WITH_KEY)
    assert (here.last.status, here.last.cut, here.mock.open) == (0, False, 0)


async def test_it_can_break_off_in_the_middle_of_a_stream(here: Here) -> None:
    here.mock.break_after = 3
    got = await here.ask(f"{STREAM}?alt=sse", WITH_KEY)
    assert (got.status, len(got.chunks), got.whole) == (200, 3, False)
    assert (here.last.status, here.last.cut, here.mock.open) == (200, False, 0)


async def test_a_body_of_200_megabytes_is_accepted(here: Here) -> None:
    async with connect(here.port) as client:
        client.send("POST", GENERATE, WITH_KEY, ("Content-Length", "200000000"))
        client.writer.write(HELLO)
        await until(lambda: here.mock.open == 1 and here.last.body == HELLO)
        assert here.last.status == 0


async def test_a_connection_serves_many_requests(here: Here) -> None:
    async with connect(here.port) as client:
        for field in (WITH_KEY, OTHER_KEY, WITH_KEY):
            client.send("POST", GENERATE, field, body=HELLO)
            await client.got()
    assert [call.status for call in here.mock.calls] == [200, 400, 200]


async def test_stopping_cuts_what_is_open_and_frees_the_port(here: Here) -> None:
    here.mock.think = 30
    async with connect(here.port) as client:
        client.send("POST", GENERATE, WITH_KEY, body=HELLO)
        await until(lambda: here.mock.open == 1)
        await here.mock.stop()
        assert await client.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await here.ask(GENERATE, WITH_KEY)


# The official SDKs


async def test_google_genai_async_works(here: Here) -> None:
    client = genai.Client(api_key=KEY, http_options={"base_url": here.url}).aio
    try:
        answer = await client.models.generate_content(model="gemini-2.0-flash", contents="Hello there")
        assert (answer.text or "").startswith('You asked: "Hello there".')
        stream = await client.models.generate_content_stream(model="gemini-2.0-flash", contents="Hello there")
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.text or "" for chunk in chunks) == answer.text
        assert chunks[-1].usage_metadata == answer.usage_metadata
        here.mock.keys[KEY] = Health.suspended()
        with pytest.raises(errors.ClientError, match="has been suspended") as caught:
            async for _ in await client.models.generate_content_stream(
                model="gemini-2.0-flash", contents="x"
            ):
                pass
        assert caught.value.code == 403
    finally:
        await client.aclose()


async def test_google_genai_sync_works(here: Here) -> None:
    def use() -> None:
        with genai.Client(
            api_key=KEY, http_options={"base_url": here.url, "api_version": "v1beta"}
        ) as client:
            model = "gemini-2.5-flash"
            assert model in [(each.name or "").removeprefix("models/") for each in client.models.list()]
            assert client.models.get(model=model).input_token_limit == 1_048_576
            stream = client.models.generate_content_stream(model=model, contents="Hello there")
            assert "Hello there" in "".join(chunk.text or "" for chunk in stream)
            assert (client.models.count_tokens(model=model, contents="Hello").total_tokens or 0) > 0
            vectors = client.models.embed_content(
                model="gemini-embedding-001", contents=["a", "b"]
            ).embeddings
            assert [len(vector.values or []) for vector in vectors or []] == [3072, 3072]
            with pytest.raises(errors.ClientError, match="is not found for API version v1beta"):
                client.models.generate_content(model="gemini-9", contents="x")
            here.mock.keys[KEY] = Health.overloaded()
            with pytest.raises(errors.ServerError, match="high demand"):
                client.models.generate_content(model=model, contents="x")

    await asyncio.to_thread(use)


async def test_openai_works(here: Here) -> None:
    base_url = f"{here.url}/v1beta/openai/"
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url, max_retries=0) as client:
        model = "gemini-2.0-flash"
        answer = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello there"}]
        )
        text = answer.choices[0].message.content or ""
        assert text.startswith('You asked: "Hello there".')
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        assert chunks[-1].usage is not None
        vectors = await client.embeddings.create(model="gemini-embedding-001", input="a")
        assert len(vectors.data[0].embedding) == 3072
        assert f"models/{model}" in [each.id async for each in client.models.list()]
        assert (await client.models.retrieve(model)).id == f"models/{model}"
        here.mock.keys[KEY] = Health.day_spent()
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
        assert "PerDay" in str(
            caught.value.body
        )  # its message has nothing but the code, as the body is an array
