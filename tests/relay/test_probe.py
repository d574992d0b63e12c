"""A retired key is tried after a minute, and then less often, with a call of our own that costs no quota."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from proxycore.demo import Health, MockServer
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key
from tests.support.clocks import TurnedClock
from tests.support.proxy import Proxy, proxy
from tests.support.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
HOUR, DAY = 3600.0, 86_400.0
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


@contextlib.asynccontextmanager
async def retired(clock: TurnedClock) -> AsyncIterator[tuple[MockServer, Proxy, Key]]:
    """A proxy with two keys, of which one is dead, and was just retired."""
    mock = MockServer({"AQ.dead-key": Health.suspended(), "AQ.fine": Health.healthy()}, clock=clock)
    keys = {"GOOGLE_API_KEY_1": "AQ.dead-key", "GOOGLE_API_KEY_2": "AQ.fine"}
    async with proxy(mock.listen(), keys, clock) as here:
        (key,) = (key for key in here.app.rotator.keys if key.name == "1")
        for seconds in (0, 2, 10):
            clock.turn(seconds)
            deaths = key.deaths.times
            while key.deaths.times == deaths:
                assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
        assert key.retired
        mock.calls.clear()
        yield mock, here, key
    await mock.stop()


async def trials(mock: MockServer, here: Proxy) -> list[tuple[str, str]]:
    """What is sent when it looks, twice in a row."""
    mock.calls.clear()
    await here.app.probe.probe_due()
    await here.app.probe.probe_due()
    return [(call.method, call.target) for call in mock.calls]


async def test_a_retired_key_is_tried_once_after_a_minute_ten_an_hour_and_each_day() -> None:
    clock = TurnedClock()
    async with retired(clock) as (mock, here, key):
        assert await trials(mock, here) == []
        for strikes, rest in enumerate((60.0, 600.0, HOUR, DAY, DAY), 3):
            assert key.retired
            assert (key.retired.strikes, key.retired.benched_until) == (strikes, clock() + rest)
            clock.turn(rest - 1)
            assert await trials(mock, here) == []
            clock.turn(1)
            assert await trials(mock, here) == [("GET", "/v1beta/models?pageSize=1")]
            assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
            assert mock.calls[-1].key == "AQ.fine"


async def test_a_retired_key_that_may_list_models_is_tried_with_requests_and_kept_to_what_was_counted() -> (
    None
):
    clock = TurnedClock()
    async with retired(clock) as (mock, here, key):
        mock.keys["AQ.dead-key"] = Health.only(lambda asked: asked.costs, Health.suspended())
        clock.turn(60)
        assert len(await trials(mock, here)) == 1
        assert not key.retired
        assert here.app.rotator.ready_at("", only=key) == clock()
        deaths = key.deaths.times
        clock.turn(600)
        for _ in range(100):
            assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
        assert key.retired
        assert key.deaths.times == deaths + 1
        assert key.retired.benched_until == clock() + HOUR


async def test_a_retired_key_that_a_model_serves_again_begins_anew() -> None:
    clock = TurnedClock()
    async with retired(clock) as (mock, here, key):
        mock.keys["AQ.dead-key"] = Health.healthy()
        clock.turn(60)
        assert len(await trials(mock, here)) == 1
        assert not key.retired
        clock.turn(1)
        while key.deaths.times or mock.calls[-1].key != "AQ.fine":  # which serves, so one death is no outage
            assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
        mock.keys["AQ.dead-key"] = Health.suspended()
        while not key.deaths.times:
            assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
        assert (key.deaths.times, key.retired, key.usable_at) == (1, None, clock() + 2)


async def test_an_upstream_that_can_not_be_reached_leaves_the_key_retired_for_another_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TurnedClock()
    async with retired(clock) as (mock, here, key):
        await mock.stop()
        clock.turn(60)
        await here.app.probe.probe_due()
        assert key.retired
        assert key.retired.benched_until == clock() + 600
    assert "key 1 could not be probed" in caplog.text
    assert "AQ.dead-key" not in caplog.text


async def test_a_key_that_others_retired_is_tried_when_its_time_has_come() -> None:
    clock = TurnedClock()
    mock = MockServer({"AQ.key": Health.healthy()}, clock=clock)
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_1": "AQ.key"}, clock) as here:
        (key,) = here.app.rotator.keys
        here.app.rotator.set_bench(key, BenchPlace.RETIRED, Bench("suspended or leaked", clock() + 5, 4))
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 401
        clock.turn(5)
        assert len(await trials(mock, here)) == 1
        assert not key.retired
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
    await mock.stop()
