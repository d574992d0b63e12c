"""Trouble of the upstream, and a region that it does not serve: known and shown, and nobody is held back."""

import asyncio
import random

import pytest

from proxycore.demo import Health, MockServer
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    HEALTHY,
    NOT_GOOGLE,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.case import Case
from proxycore.rotation.events import OutageChanged
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.stats.key_log import KeyLog
from tests.support.clocks import TurnedClock, loops_clock
from tests.support.proxy import proxy, rests
from tests.support.wire import ask

FLASH, PRO = "gemini-2.0-flash", "gemini-2.5-pro"
BARE = Verdict("refused without a reason", Reaction.COMPARE, BenchScope.MODEL)
DISABLED = Verdict("SERVICE_DISABLED", Reaction.FAILOVER, BenchScope.KEY, backoff=Backoff.FORBIDDEN)
SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.0)


class Here:
    """Some keys, and what became of calls with them."""

    def __init__(self, keys: int = 50) -> None:
        self.clock, self.requests = TurnedClock(), 0
        self.rotator = Rotator(
            keys_of(KeySpec(str(n), f"secret-{n}") for n in range(keys)),
            {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff},
            clock=self.clock,
            source=random.Random(3),  # noqa: S311 - seeded, so that the test is the same every time
        )

    def fail(self, times: int = 30, model: str = FLASH) -> None:
        for key in self.rotator.keys[:times]:
            self.answer(key, UPSTREAM_FAILURE, model)

    def answer(self, key: Key, verdict: Verdict, model: str = FLASH) -> None:
        self.requests += 1
        case = Case(request=str(self.requests))
        self.rotator.apply(self.rotator.call(key, model, spends=True), verdict, case)


def test_thirty_failures_in_a_row_are_trouble_of_the_upstream_for_this_model() -> None:
    here = Here()
    here.fail(29)
    assert here.rotator.outages.of(FLASH) is None
    here.answer(here.rotator.keys[29], UPSTREAM_FAILURE)
    assert here.rotator.outages.of(FLASH)
    assert here.rotator.outages.of(PRO) is None
    assert not any(map(rests, here.rotator.keys))


def test_a_success_in_between_says_that_it_is_not_the_upstreams() -> None:
    here = Here()
    here.fail(29)
    here.answer(here.rotator.keys[9], HEALTHY)
    here.fail(29)
    assert here.rotator.outages.of(FLASH) is None


def test_nothing_is_held_back_for_it() -> None:
    here = Here()
    here.fail(50)
    assert [here.rotator.pick(FLASH) is not None for _ in range(20)] == [True] * 20


@pytest.mark.parametrize(
    "verdict", [HEALTHY, CLIENT_ERROR, SPENT, DISABLED], ids=lambda verdict: verdict.reason
)
def test_a_response_of_another_kind_ends_it(verdict: Verdict) -> None:
    here = Here()
    here.fail()
    here.clock.turn(1.0)
    here.answer(here.rotator.keys[0], verdict)
    assert here.rotator.outages.of(FLASH) is None


@pytest.mark.parametrize("verdict", [UPSTREAM_FAILURE, NOT_GOOGLE], ids=lambda verdict: verdict.reason)
def test_an_inconclusive_response_does_not_end_it(verdict: Verdict) -> None:
    here = Here()
    here.fail()
    here.clock.turn(1.0)
    here.answer(here.rotator.keys[0], verdict)
    assert here.rotator.outages.of(FLASH)


def test_a_response_to_an_earlier_call_does_not_end_it() -> None:
    here = Here()
    call = here.rotator.call(here.rotator.keys[9], FLASH, spends=True)
    here.clock.turn(1.0)
    here.fail()
    here.rotator.apply(call, CLIENT_ERROR)
    assert here.rotator.outages.of(FLASH)


@pytest.mark.parametrize("verdict", [SPENT, DISABLED], ids=lambda verdict: verdict.reason)
def test_refusals_that_speak_of_their_key_are_believed_however_many(verdict: Verdict) -> None:
    here = Here()
    for key in here.rotator.keys:
        here.answer(key, verdict)
    assert sum(map(rests, here.rotator.keys)) == 50
    assert list(here.rotator.outages) == []
    assert here.rotator.searches == {}


def test_of_outages_without_end_the_latest_are_remembered() -> None:
    here = Here()
    heard: list[str] = []
    here.rotator.events.subscribe(OutageChanged, lambda event: heard.append(f"outage {event.lane}"))
    for number in range(300):
        here.fail(40, f"invented-{number}")
    assert len(list(here.rotator.outages)) <= 65
    assert here.rotator.outages.of("invented-299")
    assert heard.count("outage invented-0") == 2  # its beginning and its end


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if message not in {"benched", "recovered"}]


def test_trouble_and_a_region_are_logged_once_and_so_is_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxycore")
    here = Here()
    KeyLog(here.rotator.events, here.clock)
    here.fail(50)
    here.clock.turn(10.0)
    here.answer(here.rotator.keys[0], HEALTHY)
    assert told(caplog) == [
        f"upstream outage for {FLASH}: only server errors, no request succeeds",
        f"outage over for {FLASH} after 10 s: upstream error",
    ]
    caplog.clear()
    here.answer(here.rotator.keys[0], REGION_BLOCKED)
    here.answer(here.rotator.keys[1], REGION_BLOCKED)
    assert told(caplog) == ["Google does not support this server's region: set UPSTREAM_PROXY"]


def test_a_search_is_logged_once_it_is_an_outage_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxycore")
    here = Here(5)
    KeyLog(here.rotator.events, here.clock)

    def search(verdict: Verdict, seconds: float) -> None:
        end = here.clock() + seconds
        while here.clock() < end:
            if key := here.rotator.pick(FLASH):
                here.answer(key, verdict)
            here.clock.turn(0.05)

    search(BARE, 10.0)
    search(HEALTHY, 2.0)
    first, second = told(caplog)
    assert first.startswith(f"upstream outage suspected for {FLASH}: all projects refused alike")
    assert second.startswith(f"outage over for {FLASH} after 1")
    assert second.endswith("refused without a reason")


@pytest.mark.turned
@pytest.mark.usefixtures("io_loop")
async def test_an_outage_of_ten_seconds_costs_few_calls_and_then_all_is_well_at_once() -> None:
    healthy, bare = Health.healthy(), Health.bare_429()
    secrets = [f"AQ.key-{n}" for n in range(50)]
    clock = loops_clock()
    mock = MockServer(dict.fromkeys(secrets, healthy), clock=clock)
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(secrets)}
    body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
    async with proxy(mock.listen(), keys, clock, MAX_WAIT="15") as here:

        async def request() -> int:
            return (await ask(here.port, "POST", f"/v1beta/models/{FLASH}:generateContent", body=body)).status

        for _ in range(300):
            assert await request() == 200
        mock.keys = dict.fromkeys(secrets, bare)
        mock.calls.clear()
        waiting = []
        for _ in range(100):
            waiting.append(asyncio.ensure_future(request()))
            await asyncio.sleep(0.1)
        assert len(mock.calls) <= 20
        mock.keys = dict.fromkeys(secrets, healthy)
        ended = clock()
        assert await request() == 200
        assert clock() - ended < 2.0
        statuses = await asyncio.gather(*waiting)
        assert clock() - ended < 4.0
        # The first one was refused by three witnesses: it is thought to be at fault until others are, too.
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 97
        assert not any(key.whole or key.retired for key in here.app.rotator.keys)
        assert [await request() for _ in range(10)] == [200] * 10
    await mock.stop()
