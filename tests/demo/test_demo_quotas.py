"""Quotas that the mock Gemini API counts, and how its errors name them."""

import json
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from tornado.ioloop import IOLoop

from proxycore.demo import Health, Wording
from tests.support.demo_client import GENERATE, HELLO, MINE, OTHER, Here, details, started

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


def sized(tokens: int) -> bytes:
    body = json.dumps(HELLO).encode()
    return body + b" " * (4 * tokens - len(body))


async def test_tokens_are_counted_by_the_size_of_the_body_in_a_sliding_window(here: Here) -> None:
    here.mock.keys[MINE] = Health.tokens(1000)
    for tokens, seconds, status in ((400, 10, 200), (500, 10, 200), (200, 0, 429), (100, 0, 200)):
        assert (await here.ask("POST", GENERATE, sized(tokens))).status == status
        here.clock.turn(seconds)
    found = await here.error(here.mock.keys[MINE], GENERATE, sized(600))
    about = details(found)
    assert list(about) == ["Help", "QuotaFailure", "RetryInfo"]
    assert about["QuotaFailure"]["violations"] == [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",
            "quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": "1000",
        }
    ]
    assert about["RetryInfo"]["retryDelay"] == "50s"  # when the first two no longer count
    assert "free_tier_input_token_count, limit: 1000, model: gemini-2.5-flash\n" in found["message"]
    here.clock.turn(49.5)
    assert (await here.ask("POST", GENERATE, sized(600))).status == 429
    here.clock.turn(0.5)
    assert (await here.ask("POST", GENERATE, sized(600))).status == 200


async def test_a_prompt_larger_than_the_quota_is_refused_even_if_the_quota_is_unused(here: Here) -> None:
    found = await here.error(Health.tokens(1000), GENERATE, sized(1001))
    assert details(found)["RetryInfo"]["retryDelay"] == "60s"
    assert (await here.ask("POST", GENERATE, sized(1000))).status == 200


async def test_a_delay_can_be_wrong_or_in_another_form(here: Here) -> None:
    hour = await here.error(Health.quota(0, wording=Wording(delay=3600.0)))
    assert details(hour)["RetryInfo"]["retryDelay"] == "3600s"
    assert "PerMinute" in details(hour)["QuotaFailure"]["violations"][0]["quotaId"]
    parts = await here.error(Health.quota(0, wording=Wording(delay=34.5, in_object=True)))
    assert details(parts)["RetryInfo"]["retryDelay"] == {"seconds": 34, "nanos": 500_000_000}
    none = await here.error(Health.quota(0, wording=Wording(without_delay=True)))
    assert list(details(none)) == ["Help", "QuotaFailure"]
    assert "retry in" not in none["message"]
    wording = Wording(known_as="gemini-2.5-flash-preview-image", tier="PaidTier2")
    (violation,) = details(await here.error(Health.quota(0, wording=wording)))["QuotaFailure"]["violations"]
    assert violation["quotaId"].endswith("-PaidTier2")
    assert violation["quotaDimensions"]["model"] == "gemini-2.5-flash-preview-image"


async def test_a_day_begins_at_midnight_in_california_or_a_second_later(here: Here) -> None:
    midnight = datetime(2027, 3, 1, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
    here.clock.now = midnight - 10
    here.mock.keys = {MINE: Health.day_quota(2, late=1.0), OTHER: Health.day_quota(2)}

    async def asked() -> list[int]:
        return [(await here.ask("POST", GENERATE, HELLO, key=key)).status for key in (MINE, OTHER)]

    assert [await asked() for _ in range(3)] == [[200, 200], [200, 200], [429, 429]]
    here.clock.now = midnight + 0.5
    assert await asked() == [429, 200]
    here.clock.now = midnight + 1
    assert await asked() == [200, 200]
    found = await here.error(Health.day_quota(0))
    assert "PerDay" in details(found)["QuotaFailure"]["violations"][0]["quotaId"]
    assert details(found)["RetryInfo"]["retryDelay"] == "41s"
