"""The model of Google's quotas that the simulations run against: what it counts, and how it refuses."""

import random

import pytest

from proxycore.gemini.judge import judge
from proxycore.gemini.verdict import Reaction, Verdict
from tests.support.google_quotas import DayPlan, Delay, Habits, KeyPlan, Others, Project
from tests.support.google_windows import Bucket, Counting, Fixed, Sliding
from tests.support.prompt_cache import PromptCache

NOON = 1_784_055_600.0  # 2026-07-14 12:00 in Los Angeles


def project(plan: KeyPlan, habits: Habits | None = None) -> Project:
    return Project(plan, habits or Habits(), random.Random("quotas"))  # noqa: S311 - seeded


def verdict(refused: Project, now: float, tokens: int = 0) -> Verdict:
    refusal = refused.call(now, tokens)
    assert refusal is not None
    status, fields, body = refusal()
    return judge(status, fields, body, now=NOON)


def test_a_sliding_window_has_room_a_minute_after_what_it_counted_first() -> None:
    window = Sliding(10, 60.0)
    for at, amount in (0.0, 4), (10.0, 3), (20.0, 3):
        assert window.wait(at, amount) == 0
        window.spend(at, amount)
    assert window.wait(30.0, 1) == pytest.approx(30.0)
    assert window.wait(30.0, 5) == pytest.approx(40.0)
    assert window.left(61.0) == 4
    assert window.wait(30.0, 11) == float("inf")


def test_a_fixed_window_has_room_when_the_minute_is_over() -> None:
    window = Fixed(2, 60.0)
    window.spend(50.0, 2)
    assert window.wait(55.0, 1) == pytest.approx(5.0)
    assert window.wait(60.0, 2) == 0


def test_a_bucket_is_refilled_evenly() -> None:
    bucket = Bucket(15, 60.0)
    bucket.spend(0.0, 15)
    assert bucket.wait(0.0, 1) == pytest.approx(4.0)
    assert bucket.wait(4.0, 1) == 0
    assert bucket.wait(4.0, 2) == pytest.approx(4.0)
    assert bucket.left(1000.0) == pytest.approx(15)


def test_others_spend_their_share_while_they_are_there() -> None:
    shared = project(KeyPlan(60, others=Others(0.5, 0.0, 6000.0)))
    left = [shared.left(float(minute)) for minute in range(60, 6000, 60)]
    assert sum(left) / len(left) == pytest.approx(0.5, abs=0.05)
    assert shared.left(6060.0) == 1


@pytest.mark.parametrize("counting", Counting)
def test_what_others_leave_can_be_used(counting: Counting) -> None:
    shared = project(KeyPlan(60, others=Others(0.5)), Habits(counting))
    assert sum(shared.call(2.5 * number, 0) is None for number in range(1000)) >= 990


def test_refused_calls_are_counted_where_google_does_that() -> None:
    counting = project(KeyPlan(2), Habits(counts_refused=True))
    served = [counting.call(at, 0) is None for at in (0.0, 1.0, 50.0, 61.0, 62.0)]
    assert served == [True, True, False, True, False]


def test_a_quota_is_raised_at_its_moment() -> None:
    raised = project(KeyPlan(1, raised_at=30.0, raised_to=3))
    assert [raised.call(at, 0) is None for at in (0.0, 29.0, 30.0, 31.0, 32.0)] == [
        True,
        False,
        True,
        True,
        False,
    ]


def test_a_day_is_over_some_time_after_midnight() -> None:
    daily = project(KeyPlan(15, day=DayPlan(requests=2, left=1, midnight=100.0, late=5.0)))
    assert [daily.call(at, 0) is None for at in (0.0, 99.0, 104.0)] == [True, False, False]
    assert verdict(daily, 104.5).day
    assert [daily.call(at, 0) is None for at in (105.0, 106.0, 107.0)] == [True, True, False]


def test_a_prompt_that_exceeds_what_is_left_of_the_tokens_is_refused_for_that() -> None:
    limited = project(KeyPlan(15, tokens=1000))
    assert limited.call(0.0, 900) is None
    refused = verdict(limited, 10.0, 200)
    assert refused.then is Reaction.TOKENS
    assert refused.seconds == pytest.approx(50.0)
    assert limited.call(11.0, 100) is None
    assert verdict(limited, 12.0, 1001).then is Reaction.TOKENS


@pytest.mark.parametrize(
    ("delay", "least", "most"),
    [
        (Delay.TRUE, 49.5, 49.5),
        (Delay.CEILING, 50.0, 50.0),
        (Delay.FLOOR, 49.0, 49.0),
        (Delay.HOUR, 60.0, 60.0),
        (Delay.LONG, 59.5, 60.0),
    ],
)
def test_the_time_to_retry_is_told_as_the_habits_say(delay: Delay, least: float, most: float) -> None:
    limited = project(KeyPlan(1), Habits(delay=delay))
    limited.call(0.0, 0)
    seconds = verdict(limited, 10.5).seconds
    assert seconds is not None
    assert least - 1e-6 <= seconds <= most + 1e-6


def test_what_a_refusal_does_not_tell_is_not_known() -> None:
    silent = project(KeyPlan(1), Habits(delay=Delay.MISSING, value=False))
    silent.call(0.0, 0)
    refused = verdict(silent, 1.0)
    assert refused.then is Reaction.FAILOVER
    assert refused.seconds is None


def test_a_project_has_the_beginning_of_a_conversation_cached_for_minutes() -> None:
    cache = PromptCache()
    assert cache.cached(1, 3000, 0.0) == 0
    cache.serve(1, 3000, 0.0)
    assert cache.cached(1, 4000, 299.0) == 3000
    assert cache.cached(2, 4000, 299.0) == 0
    assert cache.cached(1, 4000, 301.0) == 0
