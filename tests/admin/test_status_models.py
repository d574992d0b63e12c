"""`models` in `/status.json`: each model's keys, what is left of its quotas, and who asked for it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.cases_support import FLASH, PRO, pool, target
from tests.support.clocks import TurnedClock
from tests.support.proxy import Proxy, proxy
from tests.support.scripted import Call, error
from tests.support.wire import HOME, RawUpstream, always, answer, ask

pytestmark = pytest.mark.usefixtures("io_loop")
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
OLDER = "gemini-2.0-flash"
EVENING = 1_800_007_200.0  # two hours after midnight at Google


@asynccontextmanager
async def mocked(healths: dict[str, Health], **variables: str) -> AsyncIterator[tuple[Proxy, TurnedClock]]:
    clock = TurnedClock(EVENING)
    mock = MockServer({f"AQ.{name}": health for name, health in healths.items()}, clock=clock)
    keys = {f"GOOGLE_API_KEY_{name}": f"AQ.{name}" for name in healths}
    async with proxy(mock.listen(), keys, clock, MAX_WAIT="0", **variables) as here:
        yield here, clock
    await mock.stop()


async def generate(here: Proxy, count: int, model: str = FLASH) -> set[int]:
    return {(await ask(here.port, "POST", target(model), body=BODY)).status for _ in range(count)}


async def models(here: Proxy) -> dict[str, dict[str, Any]]:
    shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)["models"]
    return {one["name"]: one for one in shown}


def keys(model: dict[str, Any]) -> tuple[int, int, int, int]:
    return model["ready"], model["resting"], model["retired"], model["not_entitled"]


async def test_each_key_is_ready_or_resting_or_retired_or_not_entitled() -> None:
    healths = {
        "fine": Health.healthy(),
        "other": Health.healthy(),
        "dead": Health.suspended(),
        "day": Health(models={FLASH: Health.day_spent()}),
        "free": Health(models={FLASH: Health.not_entitled()}),
        "off": Health.service_disabled(),
    }
    async with mocked(healths) as (here, clock):
        rotator = here.app.rotator
        named = {key.name: key for key in rotator.keys}
        assert await models(here) == {}
        while not (named["dead"].retired and named["off"].whole and named["free"].project.limiters):
            assert await generate(here, 4) == {200}
            clock.turn(0.2)
        await generate(here, 60)
        await generate(here, 1, OLDER)
        now = clock()
        rotator.set_bench(named["other"], BenchPlace.CALLER, Bench("permission denied", now + 90), FLASH)
        shown = await models(here)
        assert keys(shown[FLASH]) == (1, 3, 1, 1)
        assert keys(shown[OLDER]) == (4, 1, 1, 0)
        assert shown[FLASH]["next_back"] == pytest.approx(now + 90, abs=0.1)
        assert shown[OLDER]["next_back"] == pytest.approx(named["off"].usable_at, abs=0.1)


async def test_keys_of_one_project_are_counted_each_and_their_quota_once() -> None:
    shared = Health.quota(5, project="70001")
    healths = {"a__70001": shared, "b__70001": shared, "c": Health.healthy()}
    async with mocked(healths) as (here, clock):
        first, second, _ = here.app.rotator.keys
        while not first.project.limiters.get(FLASH) or not first.project.limiters[FLASH].quotas:
            await generate(here, 1)
        shown = (await models(here))[FLASH]
        assert keys(shown) == (1, 2, 0, 0)
        assert shown["minute"] == {"left": 0, "of": 5}
        here.app.rotator.set_bench(second, BenchPlace.RETIRED, Bench("suspended or leaked", clock() + 60))
        assert keys((await models(here))[FLASH]) == (1, 1, 1, 0)
        clock.turn(1800)
        shown = (await models(here))[FLASH]
        assert (keys(shown), shown["minute"]) == ((2, 0, 1, 0), {"left": 5, "of": 5})
        here.app.rotator.set_bench(first, BenchPlace.RETIRED, Bench("suspended or leaked", clock() + 60))
        shown = (await models(here))[FLASH]
        assert (keys(shown), shown["next_back"]) == ((1, 0, 2, 0), None)


async def test_what_is_left_of_the_day_is_as_in_today() -> None:
    async with mocked({"one": Health.day_quota(20), "two": Health.healthy()}) as (here, clock):
        for _ in range(60):
            await generate(here, 1)
            clock.turn(1)
        shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
        (model,), today = shown["models"], shown["today"][FLASH]
        assert model["day"] == {
            "left": 0,
            "of": 20,
            "spent_at": today["spent_at"],
            "until": today["until"],
            "unknown": 1,
        }
        assert model["minute"] is None


async def test_models_are_shown_for_a_day_after_they_were_asked_for_most_asked_first() -> None:
    async with mocked({"one": Health.healthy()}) as (here, clock):
        await generate(here, 2, OLDER)
        await generate(here, 3, PRO)
        await generate(here, 1, FLASH)
        assert [(name, one["requests"]) for name, one in (await models(here)).items()] == [
            (PRO, 3),
            (OLDER, 2),
            (FLASH, 1),
        ]
        clock.turn(86_390)
        await generate(here, 1, FLASH)
        assert set(await models(here)) == {PRO, OLDER, FLASH}
        clock.turn(20)
        assert {name: one["requests"] for name, one in (await models(here)).items()} == {FLASH: 2}


async def test_a_model_whose_name_a_client_mistook_is_not_shown() -> None:
    unknown = error(404, "NOT_FOUND", "models/invented is not found for API version v1beta")

    def script(call: Call) -> Any:  # noqa: ANN401 - an answer, if any
        return unknown if call.model == "invented" else None

    async with pool(1, script) as here:
        await here.plain()
        for _ in range(3):
            assert (await here.plain("invented")).status == 404
        assert [one["name"] for one in (await here.status())["models"]] == [FLASH]


async def test_the_cached_share_is_that_of_a_models_prompt_tokens() -> None:
    usage = b'{"usageMetadata": {"promptTokenCount": 4000, "cachedContentTokenCount": 3000}}'
    async with (
        RawUpstream(always(answer(200, usage))) as upstream,
        proxy(upstream.url, {"GOOGLE_API_KEY_1": "one"}) as here,
    ):
        assert await generate(here, 2) == {200}
        assert (await models(here))[FLASH]["cached"] == 0.75
    async with pool(1) as here:
        await here.plain()
        (model,) = (await here.status())["models"]
        assert model["cached"] in {None, 0.0}


async def test_names_of_models_are_shown_without_secrets() -> None:
    async with mocked({"one": Health.healthy()}, OUTPUT_API_KEY="a-clients-secret") as (here, _):
        here.app.meter._note_demand("a-clients-secret", here.app.pool.clock(), served=True)
        shown = await ask(here.port, "GET", "/status.json", HOME, ("x-goog-api-key", "a-clients-secret"))
        (model,) = json.loads(shown.body)["models"]
        assert "a-clients-secret" not in model["name"]
