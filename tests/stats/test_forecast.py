"""What is left of the day, in `/status.json` and `/metrics`: used requests, what is left, and until when."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxycore.demo import Health, MockServer
from proxycore.demo.keys import demo_keys
from proxycore.peers.store import Store
from tests.peers.test_replicator import workers
from tests.stats.test_metrics import scrape
from tests.support.clocks import TurnedClock
from tests.support.proxy import Proxy, proxy
from tests.support.waiting import until
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
HOUR = 3600.0
MIDNIGHT = datetime(2027, 1, 15, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
NEXT = MIDNIGHT + 24 * HOUR


def generate(model: str = MODEL) -> str:
    return f"/v1beta/models/{model}:generateContent"


async def today(port: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((await ask(port, "GET", "/status.json", HOME)).body)
    return dict(content["today"])


class Pool:
    """A proxy with keys that have daily quotas, on a clock that is turned."""

    def __init__(self, here: Proxy, clock: TurnedClock) -> None:
        self.here, self.clock = here, clock

    async def generate(self, count: int, every: float, model: str = MODEL) -> int:
        """Make requests; returns how many were served."""
        served = 0
        for _ in range(count):
            got = await ask(self.here.port, "POST", generate(model), body=BODY)
            served += got.status == 200
            self.clock.turn(every)
        return served

    async def today(self) -> dict[str, Any]:
        return await today(self.here.port)


@asynccontextmanager
async def pool(*healths: Health) -> AsyncIterator[Pool]:
    """A pool at nine in the evening in California."""
    clock = TurnedClock(MIDNIGHT - 3 * HOUR)
    mock = MockServer({f"AQ.{n}": health for n, health in enumerate(healths)}, clock=lambda: clock.now)
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(mock.keys)}
    async with proxy(mock.listen(), keys, clock, MAX_WAIT="0") as here:
        yield Pool(here, clock)
    await mock.stop()


async def test_nothing_is_said_of_a_model_whose_daily_quota_is_not_known() -> None:
    async with pool(Health.day_quota(10), Health.healthy()) as here:
        assert await here.generate(5, 1.0) == 5
        assert await here.today() == {}
        found = await scrape(here.here)
        assert not any(name.startswith("daily_quota") for name in found)


async def test_what_was_used_and_is_left_adds_up_over_projects_and_begins_anew_at_midnight() -> None:
    async with pool(Health.day_quota(10), Health.day_quota(30), Health.invalid()) as here:
        assert await here.generate(60, 1.0) == 40
        ((model, spent),) = (await here.today()).items()
        assert model == MODEL
        assert (spent["requests"], spent["used"], spent["left"]) == (40, 40, 0)
        assert (spent["spent"], spent["until"]) == (2, MIDNIGHT)
        assert spent["spent_at"] == pytest.approx(MIDNIGHT - 3 * HOUR + 40, abs=60)
        here.clock.now = MIDNIGHT + 1
        fresh = (await here.today())[MODEL]
        assert (fresh["requests"], fresh["used"], fresh["left"], fresh["spent"]) == (40, 0, 40, 0)
        assert fresh["until"] == NEXT
        assert await here.generate(12, 1.0) == 12
        used = (await here.today())[MODEL]
        assert (used["used"], used["left"]) == (12, 28)
        found = await scrape(here.here)
        assert found["daily_quota_requests"] == {(MODEL,): 40}
        assert found["daily_quota_used"] == {(MODEL,): 12}
        assert found["daily_quota_left"] == {(MODEL,): 28}
        assert found["daily_quota_spent_projects"] == {(MODEL,): 0}


async def test_it_says_when_the_rest_will_be_spent_at_this_pace_if_that_is_before_the_reset() -> None:
    async with pool(Health.day_quota(100), Health.day_quota(100)) as here:
        await here.generate(210, 1.0)
        here.clock.now = MIDNIGHT + 8 * HOUR
        assert (await here.today())[MODEL]["spent_at"] is None  # nothing is asked
        await here.generate(60, 60.0)
        now = here.clock.now
        day = (await here.today())[MODEL]
        assert day["left"] == 140
        # One a minute: after an hour, its pace is known to about a third.
        assert day["spent_at"] == pytest.approx(now + 140 * 60, rel=0, abs=50 * 60)
        assert day["spent_at"] % 60 == 0
        found = await scrape(here.here)
        assert found["daily_quota_spent_timestamp_seconds"][MODEL,] == pytest.approx(day["spent_at"], abs=60)
        here.clock.turn(4 * HOUR)
        assert (await here.today())[MODEL]["spent_at"] is None  # it is quiet again
        assert "daily_quota_spent_timestamp_seconds" not in await scrape(here.here)


async def test_projects_of_which_nothing_is_known_are_counted_and_retired_ones_are_not() -> None:
    async with pool(Health.day_quota(5), Health.healthy(), Health.healthy(), Health.suspended()) as here:
        dead = here.here.app.rotator.keys[3]
        while not dead.retired:
            await here.generate(1, 1.0)
        await here.generate(60, 0.5)
        day = (await here.today())[MODEL]
        assert (day["requests"], day["left"], day["spent"], day["unknown"]) == (5, 0, 1, 2)
        found = await scrape(here.here)
        assert found["daily_quota_unknown_projects"] == {(MODEL,): 2}


async def test_a_project_that_is_spent_without_a_known_quota_is_shown_as_spent() -> None:
    async with pool(Health.day_quota(5)) as here:
        limiter = here.here.app.rotator.keys[0].project.limiter(MODEL)
        await here.generate(6, 1.0)
        limiter.today = None
        day = (await here.today())[MODEL]
        assert (day["requests"], day["left"], day["spent"], day["unknown"]) == (0, 0, 1, 0)


async def test_versions_of_a_model_have_quotas_of_their_own_and_one_metric() -> None:
    async with pool(Health.day_quota(5)) as here:
        preview = f"{MODEL}-preview-09-2025"
        await here.generate(6, 1.0)
        await here.generate(6, 1.0, preview)
        assert list(await here.today()) == [MODEL, preview]
        found = await scrape(here.here)
        assert found["daily_quota_requests"] == {(MODEL,): 10}
        assert found["daily_quota_spent_projects"] == {(MODEL,): 2}


async def test_each_process_shows_the_figures_of_all() -> None:
    clock = TurnedClock(MIDNIGHT - 3 * HOUR)
    mock = MockServer({f"AQ.{n}": Health.day_quota(10) for n in range(2)}, clock=lambda: clock.now)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="0") as (one, other):

        async def generate_with_both(count: int) -> None:
            for number in range(count):
                await (one, other)[number % 2].ask()
                clock.turn(0.5)

        async def agree(used: int, left: int) -> None:
            for port in (one.port, other.port):
                day = (await today(port))[MODEL]
                assert (day["requests"], day["used"], day["left"]) == (20, used, left)

        await generate_with_both(24)
        await until(lambda: all(key.project.limiters[MODEL].bench for key in other.app.rotator.keys))
        await agree(20, 0)
        clock.now = MIDNIGHT + 1
        await agree(0, 20)
        await generate_with_both(12)
        await agree(12, 8)
    await mock.stop()


async def test_the_demo_shows_a_model_that_is_spent_for_today() -> None:
    clock = TurnedClock(MIDNIGHT - 3 * HOUR)
    healths = demo_keys()
    mock = MockServer(dict(healths.values()), clock=lambda: clock.now)
    keys = {f"GOOGLE_API_KEY_{name}": secret for name, (secret, _) in healths.items()}
    async with proxy(mock.listen(), keys, clock, MAX_WAIT="0") as proxied:
        here = Pool(proxied, clock)
        limiters = next(
            key for key in proxied.app.rotator.keys if key.name == "PRO_SPENT_TODAY"
        ).project.limiters
        while "gemini-2.5-pro" not in limiters or not limiters["gemini-2.5-pro"].today:
            await here.generate(1, 1.0, "gemini-2.5-pro")
        day = (await here.today())["gemini-2.5-pro"]
        assert (day["requests"], day["left"], day["spent"]) == (20, 0, 1)
    await mock.stop()
