"""Daily quotas: a new day's is found and used although its reset is late, and so is one that was raised."""

import asyncio
import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.gemini.judge import judge
from proxycore.gemini.verdict import HEALTHY, Backoff
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.key import Key
from proxycore.rotation.rotator import Rotator
from tests.support import google_errors
from tests.support.clocks import TurnedClock
from tests.support.proxy import KEYS, proxy
from tests.support.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
HOUR = 3600.0
PACIFIC = ZoneInfo("America/Los_Angeles")
NAMES = ("1", "2", "3")


def pacific(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=PACIFIC).timestamp()


MIDNIGHT = pacific("2027-01-15")


class Day:
    """Keys with daily quotas at Google, and a rotator whose wall clock is ahead by so many seconds.

    Google resets its counts `late` seconds after midnight.
    """

    def __init__(self, now: float, *, late: float = 0.0, ahead: float = 0.0, requests: int = 20) -> None:
        self.clock = TurnedClock(now)
        self.clock.set_wall(ahead)
        self.clock.compare()
        self.late = late
        self.requests = dict.fromkeys(NAMES, requests)
        self.used: dict[tuple[str, str], int] = {}
        self.refused = dict.fromkeys(NAMES, 0)
        self.has_value = True
        backoffs = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
        self.keys = [Key(name, f"secret-{name}") for name in NAMES]
        source = random.Random(5)  # noqa: S311 - nothing secret
        self.rotator = Rotator(self.keys, backoffs, clock=self.clock, source=source)

    @property
    def date(self) -> str:
        """The day that Google counts now."""
        return datetime.fromtimestamp(self.clock.now - self.late, PACIFIC).date().isoformat()

    def used_of(self, date: str) -> int:
        return sum(used for (_, day), used in self.used.items() if day == date)

    def request(self) -> bool:
        """Make one request with as many keys as it takes; returns whether it was served."""
        case, tried = Case("client", "generateContent", "id"), set[Key]()
        self.rotator.retry_spent_days()  # as it is called every second

        while call := self.rotator.acquire(MODEL, avoid=tried, spends=True):
            tried.add(call.key)
            name, date = call.key.name, self.date
            if self.used.get((name, date), 0) < self.requests[name]:
                self.used[name, date] = self.used.get((name, date), 0) + 1
                self.clock.turn(0.02)
                self.rotator.apply(call, HEALTHY, case)
                return True
            self.refused[name] += 1
            self.clock.turn(0.02)
            _, fields, body = google_errors.day_spent(MODEL, self.requests[name])
            if not self.has_value:
                body = body.replace(b"quotaValue", b"ignored")
            self.rotator.apply(call, judge(429, fields, body, now=self.clock.wall()), case)
        return False

    def run(self, seconds: float, every: float) -> int:
        """Make requests for a time; returns how many were served."""
        end, served = self.clock.now + seconds, 0
        while self.clock.now < end:
            served += self.request()
            self.clock.turn(every)
        return served

    def spend(self) -> None:
        while self.request():
            self.clock.turn(0.3)
        self.refused = dict.fromkeys(NAMES, 0)

    def run_to(self, moment: float) -> None:
        self.run(moment - self.clock.now, 60.0)


@pytest.mark.parametrize("ahead", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("late", [0.2, 1.0, 5.0, 30.0])
def test_a_new_days_quota_is_used_soon_after_a_reset_that_is_late(late: float, ahead: float) -> None:
    here = Day(MIDNIGHT - 60, late=late, ahead=ahead)
    here.spend()
    here.run(MIDNIGHT + 2 * late + 22 - here.clock.now, 0.2)
    assert here.used_of("2027-01-15") >= 0.95 * 60
    most = {0.2: 4, 1.0: 5, 5.0: 6, 30.0: 8}[late]
    assert max(here.refused.values()) <= most


def test_a_day_whose_quota_is_not_told_is_used_and_spent_early_at_the_price_of_a_few_calls() -> None:
    here = Day(MIDNIGHT - 60, late=5.0)
    here.has_value = False
    here.spend()
    here.run(40, 0.2)
    here.run(50, 0.2)
    assert here.used_of("2027-01-15") == 60
    here.run(HOUR, 1.0)
    assert max(here.refused.values()) <= 20


def test_the_reset_of_a_day_that_is_a_little_late_is_found_within_about_as_long_again() -> None:
    here = Day(MIDNIGHT - 60, late=10.0)
    here.spend()
    here.run(MIDNIGHT + 10 - here.clock.now, 0.2)
    assert here.used_of("2027-01-15") == 0
    here.run(8, 0.2)
    assert here.used_of("2027-01-15") > 0


@pytest.mark.parametrize("ahead", [-2.0, 0.0])
def test_a_day_is_waited_for_until_midnight_and_no_longer(ahead: float) -> None:
    here = Day(MIDNIGHT - 60, ahead=ahead)
    here.spend()
    here.clock.now = MIDNIGHT - ahead - 0.1
    assert not here.request()
    here.clock.now = MIDNIGHT - ahead
    assert here.request()
    assert here.refused == dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-11-01", 25), ("2027-03-14", 23), ("2027-01-14", 24)], ids=["25", "23", "24"]
)
def test_days_of_23_and_25_hours_end_in_time(day: str, hours: int) -> None:
    begin = pacific(day)
    here = Day(begin + HOUR)
    here.spend()
    here.clock.now = begin + hours * HOUR - 1
    assert not here.rotator.pick(MODEL)
    here.clock.turn(1)
    assert here.run(14, 0.2) == 60
    assert not any(here.refused.values())


def test_calls_before_a_late_reset_do_not_count_for_the_new_day() -> None:
    here = Day(MIDNIGHT - HOUR, late=20.0)
    here.spend()
    here.clock.now = MIDNIGHT + 24 * HOUR - 60  # the quota is known, and is used in the last minute
    assert here.run(60, 2.5) > 20
    before = here.used_of("2027-01-15")
    assert here.run(200, 0.5) > 0  # the rest of the old day, and then the new one
    assert here.used_of("2027-01-15") == 60 > before
    assert here.used_of("2027-01-16") >= 57


def test_a_key_that_was_spent_early_in_the_day_is_asked_a_few_times_and_is_used_no_more() -> None:
    here = Day(MIDNIGHT + 60)
    here.spend()
    here.run_to(MIDNIGHT + 24 * HOUR - 60)
    assert here.used_of("2027-01-15") == 60
    assert 5 <= min(here.refused.values()) <= max(here.refused.values()) <= 22


@pytest.mark.parametrize("has_value", [True, False], ids=["with its value", "without"])
def test_a_quota_that_is_raised_during_the_day_is_noticed(has_value: bool) -> None:
    noon = MIDNIGHT + 12 * HOUR
    here = Day(noon - HOUR)
    here.has_value = has_value
    here.spend()
    here.requests["2"] = 1000
    here.run_to(noon + 2 * HOUR)
    assert here.refused == {"1": 1, "2": 0, "3": 1}
    assert here.run(60, 0.1) > 100
    assert here.refused == {"1": 1, "2": 0, "3": 1}
    here.run_to(MIDNIGHT + 24 * HOUR - 60)
    assert max(here.refused.values()) <= 6


def test_a_quota_that_was_raised_overnight_is_noticed_without_a_refusal() -> None:
    here = Day(MIDNIGHT + 12 * HOUR)
    here.spend()
    here.requests = dict.fromkeys(NAMES, 100)
    here.clock.now = MIDNIGHT + 32 * HOUR
    assert here.run(60, 0.2) == 60  # what was known of it
    here.run_to(here.clock.now + 2.3 * HOUR)
    assert here.run(60, 0.1) > 100
    assert here.used_of("2027-01-16") == 300


def test_a_quota_that_others_use_too_is_spent_when_google_says_so_and_anew_the_next_day() -> None:
    here = Day(MIDNIGHT + 12 * HOUR)
    here.used = {(name, here.date): 15 for name in NAMES}
    here.spend()
    assert [today.left for key in here.keys if (today := key.project.limiters[MODEL].today)] == [0, 0, 0]
    here.clock.now = MIDNIGHT + 24 * HOUR
    assert here.run(14, 0.2) == 60
    assert not any(here.refused.values())


def test_only_one_call_at_a_time_finds_out_whether_a_day_was_reset() -> None:
    here = Day(MIDNIGHT - 60, late=5.0)
    here.spend()
    here.clock.now = MIDNIGHT
    calls = [here.rotator.acquire(MODEL, spends=True) for _ in range(20)]
    assert len([call for call in calls if call]) == len(NAMES)


def test_a_wall_clock_that_is_set_leaves_a_short_bench_of_a_young_day_as_it_is() -> None:
    here = Day(MIDNIGHT - 60, late=30.0)
    here.spend()
    here.clock.now = MIDNIGHT + 4
    assert not here.request()
    here.clock.set_wall(1.0)
    assert here.clock.compare()
    here.rotator.update_day_ends()
    ready_at = here.rotator.ready_at(MODEL)
    assert ready_at is not None
    assert 3 < ready_at - here.clock() < 5


@pytest.mark.parametrize("ahead", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("late", [0.2, 1.0, 5.0, 30.0])
async def test_through_the_proxy_a_new_days_quota_is_used_and_few_calls_are_refused(
    late: float, ahead: float
) -> None:
    clock = TurnedClock(MIDNIGHT - 60)
    clock.set_wall(ahead)
    clock.compare()
    mock = MockServer(
        {secret: Health.day_quota(10, late) for secret in KEYS.values()}, clock=lambda: clock.now
    )
    async with proxy(mock.listen(), KEYS, clock, MAX_WAIT="0") as here:

        async def request() -> int:
            got = await ask(here.port, "POST", GENERATE, body=QUESTION)
            clock.turn(0.3)
            return got.status

        assert [await request() for _ in range(21)] == [200] * 20 + [429]
        clock.now = MIDNIGHT - 3
        made, served = len(mock.calls), 0
        while clock.now < MIDNIGHT + 2 * late + 13:
            served += await request() == 200
        refused = len(mock.calls) - made - served
    await mock.stop()
    assert served >= 0.95 * 20
    assert refused <= 2 * 8


@pytest.mark.turned
@pytest.mark.parametrize("late", [0.2, 1.0, 5.0, 30.0])
async def test_requests_that_wait_at_midnight_are_served_by_the_new_days_quota(late: float) -> None:
    time = asyncio.get_running_loop().time
    before = MIDNIGHT - 40 - time()
    clock = Clock(time, lambda: time() + before)
    mock = MockServer({secret: Health.day_quota(20, late) for secret in KEYS.values()}, clock=clock.wall)
    async with proxy(mock.listen(), KEYS, clock, MAX_WAIT="10") as here:

        async def client() -> int:
            served = 0
            while clock.wall() < MIDNIGHT + 2 * late + 12:
                got = await ask(here.port, "POST", GENERATE, body=QUESTION)
                served += got.status == 200
                await asyncio.sleep(0.5)
            return served

        served = sum(await asyncio.gather(*(client() for _ in range(10))))
        refused = sum(call.status == 429 for call in mock.calls if call.arrived > MIDNIGHT - 20)
    await mock.stop()
    assert served >= 40 + 0.95 * 40
    assert refused <= 2 * 8
