"""A retired key is tried once a day, with a call of our own that costs no quota."""

import pytest

from proxycore.demo import Health, StandIn
from tests.conftest import TurnedClock, proxy, rests
from tests.wire import ask

pytestmark = pytest.mark.usefixtures("io_loop")
DAY = 86_400.0
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


async def test_a_retired_key_is_tried_once_a_day_and_comes_back_when_it_is_accepted() -> None:
    clock = TurnedClock()
    standin = StandIn({"AQ.dead-key": Health.suspended()}, clock=clock)
    async with proxy(standin.listen(), {"GOOGLE_API_KEY_1": "AQ.dead-key"}, clock) as here:
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 401
        standin.calls.clear()
        await here.app.retrial.look()
        clock.turn(DAY - 1)
        await here.app.retrial.look()
        assert list(standin.calls) == []
        clock.turn(1)
        await here.app.retrial.look()
        await here.app.retrial.look()
        assert [(call.method, call.target) for call in standin.calls] == [
            ("GET", "/v1beta/models?pageSize=1")
        ]
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 401
        standin.keys["AQ.dead-key"] = Health.healthy()
        clock.turn(DAY)
        await here.app.retrial.look()
        assert not rests(here.app.rotator.keys[0])
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 200
    await standin.stop()


async def test_an_upstream_that_can_not_be_reached_leaves_the_key_retired_for_another_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TurnedClock()
    standin = StandIn({"AQ.dead-key": Health.suspended()}, clock=clock)
    async with proxy(standin.listen(), {"GOOGLE_API_KEY_1": "AQ.dead-key"}, clock) as here:
        assert (await ask(here.port, "POST", GENERATE, body=QUESTION)).status == 401
        await standin.stop()
        clock.turn(DAY)
        await here.app.retrial.look()
        retired = here.app.rotator.keys[0].retired
        assert retired
        assert retired.benched_until == clock() + DAY
    assert "key 1 could not be tried" in caplog.text
    assert "AQ.dead-key" not in caplog.text
