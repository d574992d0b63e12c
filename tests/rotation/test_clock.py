"""Whatever happens to the wall clock, what rests comes back in time, and days end when Google's do."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.gemini.verdict import Backoff, BenchScope, Limit, Reaction, Verdict, until_google_midnight
from proxycore.http.access_record import AccessRecord, RequestOutcome
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import Key
from proxycore.rotation.rotator import Rotator
from proxycore.stats.counters import Counters
from proxycore.stats.history import History, last_hour_json
from tests.support.clocks import CLOCK, TurnedClock
from tests.support.process import program
from tests.support.proxy import proxy
from tests.support.waiting import PATIENCE
from tests.support.wall import Wall
from tests.support.wire import HOME, Got, ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
HOUR, DAY = 3600.0, 86400.0
NOON = datetime.fromisoformat("2026-11-26T12:00:00-08:00").timestamp()  # in Los Angeles
SETTINGS = {"an hour back": -HOUR, "a day back": -DAY, "an hour on": HOUR, "a day on": DAY, "from 1970": NOON}
"""By how much a wall clock is set, in seconds; the last is a computer without a battery that hears of NTP."""


def minute_quota(seconds: float) -> Verdict:
    return Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, seconds)


def day_quota(clock: Clock) -> Verdict:
    """A day's quota of 20 calls was spent, as `judge` tells it."""
    limit = Limit("PerDay", 20, DAY)
    seconds = until_google_midnight(clock.wall())
    return Verdict(
        "daily quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, seconds, limits=(limit,), day=True
    )


class Here:
    """A key that is refused, on a clock that is turned."""

    def __init__(self, wall: float = NOON, now: float = 1_000_000.0) -> None:
        self.clock = TurnedClock(now)
        self.clock.set_wall(wall - now)
        self.clock.compare()
        backoffs = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
        source = random.Random(1)  # noqa: S311 - nothing secret
        self.key = Key("1", "secret")
        self.rotator = Rotator([self.key], backoffs, clock=self.clock, source=source)

    def refuse(self, verdict: Verdict) -> None:
        self.rotator.apply(self.rotator.call(self.key, MODEL, spends=True), verdict)

    def set_wall(self, seconds: float) -> None:
        self.clock.set_wall(seconds)
        if self.clock.compare():
            self.rotator.update_day_ends()

    @property
    def left(self) -> float:
        """Seconds until it comes back."""
        ready_at = self.rotator.ready_at(MODEL)
        assert ready_at is not None
        return ready_at - self.clock()


# The clock.


@pytest.mark.parametrize("seconds", SETTINGS.values(), ids=SETTINGS)
def test_moments_do_not_notice_that_the_wall_clock_is_set_and_people_do(seconds: float) -> None:
    clock = TurnedClock(NOON)
    moment = clock()
    clock.turn(5)
    clock.set_wall(seconds)
    assert clock() - moment == 5
    assert clock.compare() == pytest.approx(seconds)
    assert clock.compare() == 0
    assert (clock.wall(), clock.to_wall(moment)) == (NOON + 5 + seconds, NOON + seconds)


def test_what_is_slewed_a_little_leaves_the_times_that_people_are_shown_until_it_adds_up() -> None:
    clock = TurnedClock(NOON)
    for _ in range(2):
        clock.set_wall(-0.1)
        assert (clock.compare(), clock.to_wall(NOON)) == (0, NOON)
    clock.set_wall(-0.1)
    assert clock.compare() == pytest.approx(-0.3)
    assert clock.to_wall(NOON) == pytest.approx(NOON - 0.3)


def test_a_look_that_was_interrupted_between_the_two_clocks_sees_no_setting() -> None:
    here = iter([0.0, 0.0, 1.0])  # at the start, before it looks at the wall clock, and after that
    clock = Clock(lambda: next(here), lambda: 1000.0)
    assert clock.compare() == 0


def test_the_real_clock_starts_at_the_wall_clock_and_advances() -> None:
    before = CLOCK()
    assert Clock()() == pytest.approx(time.time(), abs=5)
    assert CLOCK() > before


# Benches.


@pytest.mark.parametrize("seconds", SETTINGS.values(), ids=SETTINGS)
def test_a_bench_keeps_its_length_however_the_wall_clock_is_set(seconds: float) -> None:
    here = Here()
    here.refuse(minute_quota(40))
    here.set_wall(seconds)
    assert here.left == pytest.approx(40, abs=1)
    here.clock.turn(39.9)
    assert here.rotator.pick(MODEL) is None
    here.clock.turn(1.2)
    assert here.rotator.pick(MODEL) is here.key


@pytest.mark.parametrize("wrong", SETTINGS.values(), ids=SETTINGS)
def test_a_day_that_was_reckoned_by_a_wrong_wall_clock_ends_by_the_right_one(wrong: float) -> None:
    here = Here(wall=NOON - wrong)
    here.refuse(day_quota(here.clock))
    here.clock.turn(HOUR)
    here.set_wall(wrong)
    assert here.left == pytest.approx(11 * HOUR, abs=1)
    here.clock.turn(11 * HOUR - 1)
    assert here.rotator.pick(MODEL) is None
    here.clock.turn(2.1)
    assert here.rotator.pick(MODEL) is here.key


def test_a_day_that_is_over_by_the_right_wall_clock_is_not_waited_for() -> None:
    here = Here(wall=NOON - 6 * HOUR)
    here.refuse(day_quota(here.clock))
    here.clock.turn(8 * HOUR)
    here.set_wall(6 * HOUR)
    assert here.left == pytest.approx(4 * HOUR, abs=1)
    here.clock.turn(3 * HOUR)
    here.set_wall(2 * HOUR)
    assert here.rotator.pick(MODEL) is here.key


def test_a_refusal_in_the_last_moment_of_a_day_is_not_taken_for_one_of_the_next() -> None:
    here = Here(wall=NOON + 12 * HOUR - 0.0001)
    verdict = day_quota(here.clock)
    here.clock.turn(0.001)
    here.refuse(verdict)
    here.set_wall(-0.3)
    assert here.left < 2


def test_a_day_of_23_hours_ends_in_time() -> None:
    here = Here(wall=datetime.fromisoformat("2027-03-14T00:00:00-08:00").timestamp())
    here.refuse(day_quota(here.clock))
    assert here.left == pytest.approx(23 * HOUR, abs=1)


def test_after_a_day_quotas_next_day_its_calls_are_counted_anew_by_the_right_wall_clock() -> None:
    here = Here()
    here.refuse(day_quota(here.clock))
    today = here.key.project.limiters[MODEL].today
    assert today
    assert (today.used, today.ends - here.clock()) == (20, 12 * HOUR)
    here.clock.turn(12 * HOUR + 2)
    here.rotator.call(here.key, MODEL, spends=True)
    assert (today.used, today.ends - here.clock()) == (1, 24 * HOUR - 2)
    here.set_wall(-HOUR)
    assert today.ends - here.clock() == 1 * HOUR - 2
    here.clock.turn(HOUR)
    here.rotator.call(here.key, MODEL, spends=True)
    assert today.used == 1


def test_minutes_are_neither_mixed_nor_lost_when_the_wall_clock_is_set_back() -> None:
    clock, counters = TurnedClock(NOON), Counters()
    history = History(counters, clock)
    for requests in (1, 2, 3):
        for _ in range(requests):
            history.ended(AccessRecord("", clock(), status=200), RequestOutcome.SERVED)
        clock.turn(60)
    clock.set_wall(-HOUR - 17)
    clock.compare()
    history.ended(AccessRecord("", clock(), status=200), RequestOutcome.SERVED)
    minutes = last_hour_json(counters, clock)
    assert [minute["requests"] for minute in minutes[-4:]] == [1, 2, 3, 1]
    assert len(minutes) == 60
    assert {minute["time"] % 60 for minute in minutes} == {0}
    assert 0 <= clock.wall() - minutes[-1]["time"] < 120


# From outside.


async def status(port: int) -> dict[str, Any]:
    while (got := await ask(port, "GET", "/status.json", HOME)).status == 503:
        pass  # a worker is too busy to tell what it counted
    shown: dict[str, Any] = json.loads(got.body)
    return shown


async def generate(port: int) -> Got:
    return await ask(port, "POST", GENERATE, body=QUESTION)


def until_of(shown: dict[str, Any]) -> float:
    """When the key is back for the model, by the wall clock."""
    until: float = shown["keys"][0]["models"][MODEL]["bench"]["until"]
    return until


async def test_the_status_tells_times_by_the_wall_clock_as_it_is_set_and_the_proxy_waits_by_its_own() -> None:
    clock = TurnedClock(NOON)
    mock = MockServer({"AQ.key": Health.quota(1, 30)}, clock=clock)
    keys = {"GOOGLE_API_KEY_1": "AQ.key"}
    async with proxy(mock.listen(), keys, clock, MAX_WAIT="0") as here:
        assert (await generate(here.port)).status == 200
        assert (await generate(here.port)).one("retry-after") in {"30", "31"}
        clock.turn(10)
        clock.set_wall(-DAY)
        shown = await status(here.port)
        assert shown["time"] == clock.wall() == NOON + 10 - DAY
        assert until_of(shown) - shown["time"] == pytest.approx(20.5, abs=0.51)
        assert shown["started"] == shown["clients"][0]["last_seen"] == NOON - DAY
        assert (await generate(here.port)).one("retry-after") in {"20", "21"}
        clock.turn(21.1)
        assert (await generate(here.port)).status == 200
    await mock.stop()


@asynccontextmanager
async def started(mock: MockServer, wall: Wall, folder: Path, workers: str) -> AsyncIterator[int]:
    environment = {
        **wall.environment,
        "UPSTREAM_URL": mock.listen(),
        "GOOGLE_API_KEY_1": "AQ.key",
        "WORKERS": workers,
        "MAX_WAIT": "0",
    }
    with program(folder=folder, environment=environment) as running:
        yield await asyncio.to_thread(lambda: running.port)
    await mock.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_wall_clock_that_is_set_back_a_day_lengthens_no_bench(workers: str, tmp_path: Path) -> None:
    wall = Wall(tmp_path)
    mock = MockServer({"AQ.key": Health.quota(1, 8)})  # long enough for the status on a busy machine
    async with started(mock, wall, tmp_path, workers) as port, asyncio.timeout(2 * PATIENCE):
        while (refused := await generate(port)).status == 200:
            pass
        assert refused.status == 429
        wall.set(-DAY)
        for _ in range(4):
            shown = await status(port)
            assert shown["time"] == pytest.approx(wall(), abs=10)
            assert until_of(shown) - shown["time"] < 9.5
        while (await generate(port)).status == 429:
            pass
        assert len(mock.calls) >= 3


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_day_ends_by_the_wall_clock_once_it_is_set_right(workers: str, tmp_path: Path) -> None:
    wall = Wall(tmp_path)
    wall.set(60 - time.time())  # as a computer without a battery starts
    mock = MockServer({"AQ.key": Health.day_spent()})
    async with started(mock, wall, tmp_path, workers) as port, asyncio.timeout(2 * PATIENCE):
        assert (await generate(port)).status == 429
        while not (shown := await status(port))["keys"][0]["models"]:
            pass  # another worker answered, which has not heard of it yet
        assert until_of(shown) == pytest.approx(8 * HOUR, abs=1.1)
        wall.set(0.0)
        for _ in range(4):
            shown = await status(port)
            midnight = shown["time"] + until_google_midnight(shown["time"])
            assert until_of(shown) == pytest.approx(midnight, abs=1.1)
        left = 8 * HOUR
        while left != pytest.approx(until_google_midnight(time.time()), abs=30):
            left = int((await generate(port)).one("retry-after"))  # each worker notices by itself
        assert len(mock.calls) == 1
