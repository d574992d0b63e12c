"""What many keys are refused for alike is not their fault; one request at a time tries until it is over."""

import asyncio
import random

import pytest

from proxycore.bench import Doubling
from proxycore.chronicle import Chronicle
from proxycore.demo import Health, StandIn
from proxycore.key import Key, keys_of
from proxycore.rotator import Rotator
from proxycore.verdict import FOREIGN, HEALTHY, MISTAKE, PLACE, TROUBLE, Backoff, Rest, Then, Verdict
from tests.conftest import TurnedClock, loops_clock, proxy, rests
from tests.wire import ask

FLASH, PRO = "gemini-2.0-flash", "gemini-2.5-pro"
BARE = Verdict("refused", Then.ADDRESS, Rest.MODEL, None, Backoff.ADDRESS, vague=True)
VAGUE = Verdict("permission denied", Then.FAILOVER, Rest.KEY, backoff=Backoff.FORBIDDEN, vague=True)
VAGUE_DEAD = Verdict("not accepted", Then.FAILOVER, Rest.RETIRED, vague=True)
DISABLED = Verdict("SERVICE_DISABLED", Then.FAILOVER, Rest.KEY, backoff=Backoff.FORBIDDEN)
SPENT = Verdict("quota spent", Then.FAILOVER, Rest.MODEL, 30.0)


class Here:
    """Some keys, and what became of calls with them."""

    def __init__(self, keys: int = 50, projects: int = 0) -> None:
        self.clock = TurnedClock()
        made = keys_of((str(n), f"secret-{n}", str(n % projects) if projects else "") for n in range(keys))
        self.rotator = Rotator(
            made,
            {backoff: Doubling(10.0, 600.0) for backoff in Backoff},
            clock=self.clock,
            source=random.Random(3),  # noqa: S311 - seeded, so that the test is the same every time
        )

    @property
    def resting(self) -> int:
        return sum(map(rests, self.rotator.keys))

    def refuse(self, verdict: Verdict, times: int, model: str = FLASH) -> None:
        for key in self.rotator.keys[:times]:
            self.answer(key, verdict, model)

    def answer(self, key: Key, verdict: Verdict, model: str = FLASH) -> None:
        self.rotator.apply(self.rotator.call(key, model, spends=True), verdict)

    def trials(self, verdict: Verdict, seconds: float) -> int:
        """How many requests are sent in this time, if there is always one that wants to be."""
        count, end = 0, self.clock() + seconds
        while self.clock() < end:
            if key := self.rotator.pick(FLASH):
                count += 1
                self.answer(key, verdict)
            self.clock.turn(0.05)
        return count


@pytest.mark.parametrize(("verdict", "many"), [(BARE, 3), (VAGUE, 5), (VAGUE_DEAD, 5)])
def test_no_bench_is_believed_when_many_are_refused_alike(verdict: Verdict, many: int) -> None:
    here = Here()
    here.refuse(verdict, many - 1)
    assert here.resting == many - 1
    here.refuse(verdict, many)
    assert here.resting == 0
    assert here.rotator.pick(FLASH) is None


def test_one_request_at_a_time_tries_until_it_is_over() -> None:
    here = Here()
    here.refuse(BARE, 3)
    assert here.trials(BARE, 10.0) <= 8
    assert here.resting == 0
    here.clock.turn(2.0)
    key = here.rotator.pick(FLASH)
    assert key
    assert here.rotator.pick(FLASH) is None
    here.answer(key, HEALTHY)
    assert here.trials(HEALTHY, 1.0) >= 20


def test_an_outage_that_lasts_is_looked_at_less_often() -> None:
    here = Here()
    here.refuse(BARE, 3)
    assert here.trials(BARE, 3600.0) < 120


@pytest.mark.parametrize("verdict", [MISTAKE, SPENT, DISABLED], ids=lambda verdict: verdict.reason)
def test_an_answer_of_another_kind_ends_it(verdict: Verdict) -> None:
    here = Here()
    here.refuse(BARE, 3)
    here.clock.turn(2.0)
    key = here.rotator.pick(FLASH)
    assert key
    here.answer(key, verdict)
    assert here.rotator.pick(FLASH)


@pytest.mark.parametrize("verdict", [TROUBLE, FOREIGN, BARE], ids=lambda verdict: verdict.reason)
def test_an_answer_that_says_nothing_does_not_end_it(verdict: Verdict) -> None:
    here = Here()
    here.refuse(BARE, 3)
    here.clock.turn(2.0)
    key = here.rotator.pick(FLASH)
    assert key
    here.answer(key, verdict)
    assert here.rotator.pick(FLASH) is None


def test_an_answer_to_a_call_from_before_does_not_end_it() -> None:
    here = Here()
    call = here.rotator.call(here.rotator.keys[9], FLASH, spends=True)
    here.clock.turn(1.0)
    here.refuse(BARE, 3)
    here.rotator.apply(call, HEALTHY)
    assert here.rotator.pick(FLASH) is None


def test_a_success_in_between_says_that_it_is_the_keys() -> None:
    here = Here()
    here.refuse(BARE, 2)
    here.answer(here.rotator.keys[9], HEALTHY)
    here.answer(here.rotator.keys[2], BARE)
    assert here.resting == 3
    assert here.rotator.pick(FLASH)


def test_refusals_far_apart_are_no_outage() -> None:
    here = Here()
    for key in here.rotator.keys[:5]:
        here.answer(key, BARE)
        here.clock.turn(3.0)
    assert here.resting == 5


@pytest.mark.parametrize("verdict", [SPENT, DISABLED], ids=lambda verdict: verdict.reason)
def test_refusals_that_speak_of_their_key_are_believed_however_many(verdict: Verdict) -> None:
    here = Here()
    here.refuse(verdict, 50)
    assert here.resting == 50


def test_keys_of_one_project_are_one() -> None:
    here = Here(50, projects=2)
    here.refuse(BARE, 10)
    assert here.resting == 50


def test_a_model_that_refuses_all_says_nothing_about_others() -> None:
    here = Here()
    here.refuse(BARE, 3)
    assert here.rotator.pick(PRO)
    here = Here()
    here.refuse(VAGUE, 5)
    assert here.rotator.pick(PRO) is None


def test_outages_of_invented_models_are_forgotten() -> None:
    here = Here()
    for number in range(300):
        here.refuse(BARE, 3, f"invented-{number}")
        here.clock.turn(60.0)
    assert len(here.rotator.outages.current) < 100


@pytest.mark.parametrize("verdict", [BARE, TROUBLE])
def test_of_outages_without_end_the_latest_are_remembered(verdict: Verdict) -> None:
    here = Here()
    heard: list[str] = []
    here.rotator.listeners.append(lambda kind, _key, model, _at: heard.append(f"{kind} {model}"))
    for number in range(300):
        here.refuse(verdict, 40, f"invented-{number}")
    assert len(list(here.rotator.outages)) <= 65
    assert here.rotator.outages.of("invented-299")
    assert heard.count("outage invented-0") == 2  # its beginning and its end


def test_in_trouble_of_the_upstream_nothing_is_held_back() -> None:
    here = Here()
    here.refuse(TROUBLE, 50)
    assert here.rotator.outages.of(FLASH)
    assert here.rotator.pick(FLASH)
    here.clock.turn(1.0)
    here.answer(here.rotator.keys[0], HEALTHY)
    assert here.rotator.outages.of(FLASH) is None


def test_what_is_thought_to_be_happening_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    here = Here()
    Chronicle(here.rotator, here.clock)

    def told() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        return [message for message in messages if message not in {"benched", "recovered"}]

    here.refuse(BARE, 3)
    here.trials(BARE, 10.0)
    here.trials(HEALTHY, 2.0)
    first, second = told()
    assert first.startswith(
        f"many keys are refused alike for {FLASH} (refused): it is probably this server's"
    )
    assert second.startswith(f"over for {FLASH} after 1")
    caplog.clear()
    here.answer(here.rotator.keys[0], PLACE)
    here.answer(here.rotator.keys[1], PLACE)
    assert told() == ["Google does not serve the region of this server's address: set UPSTREAM_PROXY"]


@pytest.mark.turned
@pytest.mark.usefixtures("io_loop")
async def test_an_address_that_is_refused_for_a_while_costs_few_calls_and_then_all_is_well() -> None:
    healthy, bare = Health.healthy(), Health.bare_429()
    secrets = [f"AQ.key-{n}" for n in range(50)]
    standin = StandIn(dict.fromkeys(secrets, healthy))
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(secrets)}
    body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
    clock = loops_clock()
    async with proxy(standin.listen(), keys, clock, MAX_WAIT="15") as here:

        async def request() -> int:
            return (await ask(here.port, "POST", f"/v1beta/models/{FLASH}:generateContent", body=body)).status

        assert await request() == 200
        standin.keys = dict.fromkeys(secrets, bare)
        standin.calls.clear()
        waiting = []
        for _ in range(20):
            waiting.append(asyncio.ensure_future(request()))
            await asyncio.sleep(0.1)
        # Three to see it, and one trial after a second; a few may have been under way together.
        assert len(standin.calls) <= 6
        standin.keys = dict.fromkeys(secrets, healthy)
        statuses = await asyncio.gather(*waiting)
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 18
        assert [await request() for _ in range(10)] == [200] * 10
        assert not any(map(rests, here.app.rotator.keys))
    await standin.stop()
