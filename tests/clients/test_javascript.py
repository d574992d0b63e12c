"""JavaScript clients, unchanged but for address and key; their cases are in `js/`, each in one process."""

import pytest

from proxycore.demo import Health
from tests.clients.common import JAVASCRIPT, NODE, SPREAD, all_right, outcomes, pool

pytestmark = pytest.mark.usefixtures("io_loop", "npm_packages")

GENAI = ("generate", "stream", "chat", "embed", "count", "models", "unknown model")


async def test_googles_sdk_works_in_both_versions() -> None:
    async with pool() as here:
        said = await outcomes(here, NODE, JAVASCRIPT / "genai.mjs")
        versions = [f"{version} {case}" for version in ("default", "v1beta") for case in GENAI]
        assert said == all_right(*versions, "wrong key")
        assert {call.target.split("/")[1] for call in here.mock.calls} == {"v1", "v1beta"}


async def test_the_ai_sdk_works() -> None:
    async with pool() as here:
        said = await outcomes(here, NODE, JAVASCRIPT / "ai_sdk.mjs")
        assert said == all_right("generateText", "streamText", "embed", "unknown model", "wrong key")


async def test_openais_sdk_works() -> None:
    async with pool() as here:
        said = await outcomes(here, NODE, JAVASCRIPT / "openai.mjs")
        cases = ("chat", "streamed chat", "models", "embeddings", "unknown model", "wrong key")
        assert said == all_right(*cases)
        assert all(call.headers.get_list("Authorization") for call in here.mock.calls)


async def test_googles_sdk_finds_its_resources_again() -> None:
    async with pool(SPREAD) as here:
        said = await outcomes(here, NODE, JAVASCRIPT / "resources.mjs")
        assert said == all_right("files", "a file in chunks", "caches", "batches", "interactions", "live")


async def test_the_ai_sdk_finds_its_uploads_again() -> None:
    async with pool(SPREAD) as here:
        said = await outcomes(here, NODE, JAVASCRIPT / "ai_sdk_files.mjs")
        assert said == all_right("upload", "a large upload")


async def test_fifty_concurrent_live_sessions_lose_and_reorder_nothing() -> None:
    refusing = {"AQ.suspended": SPREAD["AQ.suspended"], "AQ.overloaded": Health.overloaded()}
    async with pool({key: SPREAD[key] for key in ("AQ.healthy-1", "AQ.healthy-2")} | refusing) as here:
        assert await outcomes(here, NODE, JAVASCRIPT / "live_sessions.mjs") == all_right("sessions")
        opened = [call.key for call in here.mock.calls if call.status == 101]
        assert (len(opened), set(opened) & set(refusing)) == (50, set())
        assert [call for call in here.mock.calls if call.key == "AQ.overloaded"]
