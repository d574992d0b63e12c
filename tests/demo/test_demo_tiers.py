"""What the free tier does not include, as the mock Gemini API refuses it."""

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Health
from tests.support.demo_client import FLASH, GENERATE, HELLO, MINE, Here, started

INTERACTIONS = "/v1beta/interactions"
TYPE = "type.googleapis.com/google.rpc."
QUOTA = "You exceeded your current quota, please check your plan and billing details."
HELP = {
    "@type": f"{TYPE}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


SEARCHES: dict[str, tuple[str, object]] = {
    "snake": (GENERATE, HELLO | {"tools": [{"google_search": {}}]}),
    "camel": (GENERATE, HELLO | {"tools": [{"googleSearch": {}}]}),
    "among others": (GENERATE, HELLO | {"tools": [{"functionDeclarations": []}, {"googleMaps": {}}]}),
    "retrieval": (GENERATE, HELLO | {"tools": [{"googleSearchRetrieval": {}}]}),
    "an interaction": (
        INTERACTIONS,
        {"model": "gemini-2.5-flash", "input": "hi", "tools": [{"type": "google_search"}]},
    ),
}
SIMPLE: dict[str, tuple[str, object]] = {
    "no tools": (GENERATE, HELLO),
    "functions": (GENERATE, HELLO | {"tools": [{"functionDeclarations": []}]}),
    "a null": (GENERATE, HELLO | {"tools": None}),
    "no object": (GENERATE, HELLO | {"tools": ["google_search"]}),
    "named in the prompt": (GENERATE, {"contents": [{"parts": [{"text": '"tools": "google_search"'}]}]}),
    "tokens": (f"{FLASH}:countTokens", HELLO | {"tools": [{"google_search": {}}]}),
}


@pytest.mark.parametrize("case", SEARCHES)
async def test_the_free_tier_has_no_search(here: Here, case: str) -> None:
    found = await here.error(Health.free_tier(), *SEARCHES[case])
    assert (found["code"], found["status"], found["details"]) == (429, "RESOURCE_EXHAUSTED", [HELP])
    assert found["message"].startswith(QUOTA)
    assert "Quota exceeded for metric" not in found["message"]


@pytest.mark.parametrize("case", SIMPLE)
async def test_the_free_tier_serves_requests_without_search_tools(here: Here, case: str) -> None:
    here.mock.keys[MINE] = Health.free_tier()
    target, body = SIMPLE[case]
    assert (await here.ask("POST", target, body)).status == 200


NO_CACHING = (
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model gemini-2.5-flash: limit=0,"
    " requested=10158"
)
NO_VIDEO = (
    "models/veo-2.0-generate-001 is not found for API version v1beta, or is not supported for"
    " predictLongRunning. Call ListModels to see the list of available models and their supported methods."
)
CACHE = {"model": "models/gemini-2.5-flash", **HELLO}
BATCH = {"batch": {"inputConfig": {"requests": {"requests": [{"request": HELLO}]}}}}


async def test_the_free_tier_has_no_caching(here: Here) -> None:
    found = await here.error(Health.free_tier(), "/v1beta/cachedContents", CACHE)
    assert (found["code"], found["status"], found["message"]) == (
        429,
        "RESOURCE_EXHAUSTED",
        NO_CACHING,
    )
    assert "details" not in found


@pytest.mark.parametrize("method", ["batchGenerateContent", "asyncBatchEmbedContent"])
async def test_the_free_tier_has_no_batches(here: Here, method: str) -> None:
    model = "gemini-embedding-001" if "Embed" in method else "gemini-2.5-flash"
    found = await here.error(Health.free_tier(), f"/v1beta/models/{model}:{method}", BATCH)
    assert (found["code"], found["details"]) == (429, [HELP])


async def test_caching_and_batches_are_not_in_the_models_quotas(here: Here) -> None:
    for health in (Health.day_spent(), Health.quota(0), Health.tokens(0), Health.day_quota(0)):
        here.mock.keys[MINE] = health
        assert (await here.ask("POST", "/v1beta/cachedContents", CACHE)).status == 200
        assert (await here.ask("POST", f"{FLASH}:batchGenerateContent", BATCH)).status == 200
        assert (await here.generate()).status == 429
    here.mock.keys[MINE] = Health.payment_required()  # but they cost money
    assert (await here.ask("POST", f"{FLASH}:batchGenerateContent", BATCH)).status == 402


IMAGEN = "/v1beta/models/imagen-4.0-generate-001:predict"
VEO = "/v1beta/models/veo-2.0-generate-001:predictLongRunning"
INSTANCES = {"instances": [{"prompt": "x"}]}


async def test_images_and_videos_need_billing(here: Here) -> None:
    images = await here.json("POST", IMAGEN, INSTANCES)
    assert [image["mimeType"] for image in images["predictions"]] == ["image/png"]
    assert "operations/" in (await here.json("POST", VEO, INSTANCES))["name"]
    found = await here.error(Health.free_tier(), IMAGEN, INSTANCES)
    assert (found["code"], found["status"], found["message"]) == (
        400,
        "INVALID_ARGUMENT",
        "Imagen API is only accessible to billed users at this time.",
    )
    found = await here.error(Health.free_tier(), VEO, INSTANCES)
    assert (found["code"], found["status"], found["message"]) == (
        404,
        "NOT_FOUND",
        NO_VIDEO,
    )
