"""Which paths are relayed, which are other names of others, and which were probably meant."""

import asyncio
import json
import re
import time
from collections.abc import Callable

import pytest

from proxycore.gemini.paths import MISTAKEN, RELAYED, canonical, probable_path
from tests.support.proxy import KEYS, proxy
from tests.support.wire import RawUpstream, Seen, always, answer, ask, connect

CHAT = "/v1beta/openai/chat/completions"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
OK = always(answer(200, b"{}", ("Content-Type", "application/json")))
CLIENT = KEYS | {"OUTPUT_API_KEY": "the-clients-own-key"}
OVERLOADED = answer(503, b'{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}')

MEANT = {
    "/v1/chat/completions": CHAT,
    "/v1beta/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "//chat/completions": CHAT,
    "/api/v1/chat/completions": CHAT,
    "/v1beta/openai/v1/chat/completions": CHAT,
    "/v1beta/openai/openai/chat/completions": CHAT,
    "/openai/v1beta/chat/completions": CHAT,
    "/openai/v1/v1/chat/completions": CHAT,
    "/api/openai/v1/chat/completions": CHAT,
    "/v1/embeddings": "/v1beta/openai/embeddings",
    "/v1/completions": "/v1beta/openai/completions",
    "/v1/responses": "/v1beta/openai/responses",
    "/v1/responses/abc": "/v1beta/openai/responses/abc",
    "/v1/images/generations": "/v1beta/openai/images/generations",
    "/v1/audio/speech": "/v1beta/openai/audio/speech",
    "/v1/moderations": "/v1beta/openai/moderations",
    "/v1beta/openai/v1/models": "/v1beta/openai/models",
    "/openai": "/v1beta/openai/models",
    "/v1beta" + GENERATE: GENERATE,
    "/v1/v1beta/models/m:generateContent": "/v1beta/models/m:generateContent",
    "/v1beta/v1beta/v1beta/models": "/v1beta/models",
    "/api" + GENERATE: GENERATE,
    "/gemini" + GENERATE: GENERATE,
    "/google/gemini" + GENERATE: GENERATE,
    GENERATE.replace("v1beta", "beta"): GENERATE,
    GENERATE.replace("v1beta", "v1-beta"): GENERATE,
    GENERATE.removeprefix("/v1beta"): GENERATE,
    "/models": "/v1beta/models",
    "/files/abc": "/v1beta/files/abc",
    "/tunedModels/mine:generateContent": "/v1beta/tunedModels/mine:generateContent",
    "/cachedContents": "/v1beta/cachedContents",
    "/interactions": "/v1beta/interactions",
    "/upload/files": "/upload/v1beta/files",
    "/api/upload/v1beta/files": "/upload/v1beta/files",
    "/v1beta": "/v1beta/models",
    "/v1": "/v1/models",
    "/api/v1beta": "/v1beta/models",
    "/health": "/healthz",
    "/healthz/": "/healthz",
    "//readyz": "/readyz",
    "/status": "/status.json",
    "/requests": "/requests.json",
    "/events": "/events.json",
    "/usage": "/usage.json",
    "/history": "/history.json",
    "/dashboard": "/",
}
UNKNOWN = [
    "/",
    "/favicon.ico",
    "/robots.txt",
    "/x",
    "/v",
    "/models/../x",
    "/models/%2e%2e",
    "/.env",
    "@evil.example/models",
    "http://evil.example/v1/models",
    "*",
    "",
    "/models/" + "x" * 5000,
]


@pytest.mark.parametrize("path", MEANT)
def test_a_path_that_was_probably_meant_is_found_and_is_one_that_is_served(path: str) -> None:
    assert probable_path(path) == MEANT[path]
    json = {f"/{name}.json" for name in ("status", "requests", "events", "usage", "history")}
    own = {"/", "/healthz", "/readyz", "/metrics"} | json
    relayed = re.fullmatch(rf"{RELAYED}|/upload/.*", MEANT[path]) and not re.fullmatch(MISTAKEN, MEANT[path])
    assert MEANT[path] in own or relayed


@pytest.mark.parametrize("path", UNKNOWN)
def test_nothing_is_made_up_for_other_paths(path: str) -> None:
    assert probable_path(path) is None


@pytest.mark.parametrize(
    ("path", "goes_to"),
    [
        ("/openai/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("//openai//v1/models", "/v1beta/openai//v1/models"),
        ("///openai/v1/models/gemini%2F2", "/v1beta/openai/models/gemini%2F2"),
        ("/openai/v1", "/v1beta/openai"),
        ("/openai/", "/v1beta/openai/"),
        ("/openai/v1alpha/models", "/v1beta/openai/v1alpha/models"),
        ("/openais/v1/models", "/openais/v1/models"),
        ("//v1beta/openai/models", "/v1beta/openai/models"),
        ("/v1/models", "/v1/models"),
    ],
)
def test_the_short_names_of_the_openai_path_go_to_googles(path: str, goes_to: str) -> None:
    assert canonical(path) == goes_to


HOSTILE: list[Callable[[int], str]] = [
    lambda size: "/v" + "1" * size,
    lambda size: "/upload/v" + "1" * size,
    lambda size: "/v1/v" + "1" * size,
    lambda size: "/openai/v" + "1" * size,
    lambda size: "/" * size,
    lambda size: "/v1" * (size // 3),
    lambda size: "/openai" * (size // 7),
    lambda size: "/models" * (size // 7) + "\u2028",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_path_takes_more_than_its_length_to_look_at(hostile: Callable[[int], str]) -> None:
    def seconds(size: int) -> float:
        path = hostile(size)
        best = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            for pattern in (MISTAKEN, RELAYED):
                re.match(f"{pattern}$", path)
            probable_path(path)
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(64_000) < 300 * max(seconds(2000), 0.0001)  # what is tried in two ways takes 1000 times


# From outside.


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize("path", [path for path, found in MEANT.items() if found != "/"])
async def test_a_404_names_the_path_that_was_probably_meant(path: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT) as here:
        bearer = ("Authorization", "Bearer the-clients-own-key")
        for method, body in (("GET", None), ("POST", b'{"model": "m"}')):
            got = await ask(here.port, method, path + "?x=1", bearer, body=body)
            error = json.loads(got.body)["error"]
            assert (got.status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
            assert error["message"] == f"{path} is not relayed. Did you mean {MEANT[path]}?"
            assert got.one("access-control-allow-origin") == "*"
    assert not upstream.seen


@pytest.mark.usefixtures("io_loop")
async def test_a_connection_is_kept_after_a_404() -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url) as here, connect(here.port) as client:
        for _ in range(3):
            client.send("GET", "/v1/chat/completions")
            assert (await client.got()).status == 404
        client.send("GET", "/v1beta/models")
        assert (await client.got()).status == 200


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize("prefix", ["/openai", "/openai/v1", "//openai", "///openai/v1"])
async def test_the_short_names_are_relayed_as_googles_path_is(prefix: str) -> None:
    async with RawUpstream(OK) as upstream, proxy(upstream.url, CLIENT) as here:
        bearer = ("Authorization", "Bearer the-clients-own-key")
        got = await ask(
            here.port, "POST", f"{prefix}/chat/completions?a=b&a=", bearer, body=b'{"model": "m"}'
        )
        assert got.status == 200
        for method in ("GET", "HEAD", "DELETE"):
            assert (await ask(here.port, method, f"{prefix}/models/a%2Fb", bearer)).status == 200
        assert (await ask(here.port, "GET", f"{prefix}/models")).status == 401
        origin = ("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")
        preflight = await ask(here.port, "OPTIONS", f"{prefix}/chat/completions", *origin)
        assert (preflight.status, preflight.one("access-control-allow-origin")) == (204, "*")
    targets = [seen.target for seen in upstream.seen]
    assert targets == [f"{CHAT}?a=b&a=", *["/v1beta/openai/models/a%2Fb"] * 3]
    for seen in upstream.seen:
        assert seen.key in KEYS.values()
        assert not seen.all("x-goog-api-key")


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize(
    "call",
    ["images/generations", "images/edits", "audio/speech", "audio/transcriptions", "embeddings", "responses"],
)
async def test_a_call_that_computes_is_retried_after_a_server_error(call: str) -> None:
    answers = [OVERLOADED, answer(200, b"{}")] * 2

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with RawUpstream(script) as upstream, proxy(upstream.url) as here:
        for prefix in ("/v1beta/openai", "/openai/v1"):
            got = await ask(here.port, "POST", f"{prefix}/{call}", body=b'{"model": "m"}')
            assert got.status == 200
    assert [seen.target for seen in upstream.seen] == [f"/v1beta/openai/{call}"] * 4
