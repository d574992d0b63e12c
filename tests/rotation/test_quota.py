"""What a refusal teaches about a quota, and when the next call can be made."""

import math
from collections import deque
from collections.abc import Callable

import pytest

from proxycore.gemini.verdict import Limit
from proxycore.rotation.quota import Quota

MINUTE = Limit("PerMinute", 5, 60.0)


def greedy(
    refuses: Callable[[float], float | None], seconds: float, tell: Callable[[float], float] = float
) -> tuple[int, int]:
    """A client that makes every call that the quota allows; how many were served, and how many refused.

    `tell` is how the upstream writes times.
    """
    quota, calls, now, served, refused = Quota.of(MINUTE, 0.0), list[float](), 1000.0, 0, 0
    end = now + seconds
    while (now := max(now, quota.free_at(calls))) < end:
        told = refuses(now)
        quota.widen(now)
        if told is None:
            calls.append(now)
            served += 1
        else:
            refused += 1
            quota.refused(MINUTE.requests, calls, tell(told), now, 0)
            now += max(tell(told), 1.0)
        now += 0.1
    return served, refused


def sliding(requests: int, window: float) -> Callable[[float], float | None]:
    made: deque[float] = deque()

    def refuses(now: float) -> float | None:
        while made and made[0] <= now - window:
            made.popleft()
        if len(made) < requests:
            made.append(now)
            return None
        return made[0] + window - now

    return refuses


def test_nothing_is_held_back_before_a_refusal() -> None:
    quota = Quota.of(MINUTE, 0.0)
    calls = [1000.0 + n for n in range(50)]
    assert quota.free_at(calls) == 0


def test_a_refusal_that_the_known_calls_explain_teaches_the_window() -> None:
    quota = Quota.of(MINUTE, 0.0)
    calls = [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    quota.refused(5, calls, 50.0, 1010.0, 0)
    assert quota.free_at(calls) == pytest.approx(1060.0, abs=0.02)
    assert quota.left(calls, 1010.0) == 0
    assert quota.left(calls, 1061.5) == 2


def test_the_window_is_what_was_seen_and_not_what_the_name_says() -> None:
    quota = Quota.of(MINUTE, 0.0)
    calls = [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    quota.refused(5, calls, 1.0, 1005.0, 0)
    assert quota.free_at(calls) == pytest.approx(1006.0, abs=0.02)


def test_calls_from_before_all_were_known_explain_nothing() -> None:
    quota = Quota.of(MINUTE, 1002.5)
    calls = [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    quota.refused(5, calls, 1.0, 1005.0, 0)
    assert quota.free_at(calls) == 0


@pytest.mark.parametrize("window", [60.0, 6.0, 59.0])
def test_after_one_refusal_a_sliding_window_is_never_met_again(window: float) -> None:
    served, refused = greedy(sliding(5, window), 30 * window)
    assert refused == 1
    assert served >= 5 * 29


@pytest.mark.parametrize("window", [60.0, 6.0])
@pytest.mark.parametrize("tell", [math.ceil, math.floor, round])
def test_times_without_fractions_teach_the_window_step_by_step(
    window: float, tell: Callable[[float], float]
) -> None:
    served, refused = greedy(sliding(5, window), 200 * window, tell)
    assert served >= 0.95 * 5 * 200
    assert refused <= 0.05 * served


def test_an_upstream_with_a_constant_retry_delay_refuses_little() -> None:
    served, refused = greedy(sliding(5, 60.0), 200 * 60.0, lambda _: 60.0)
    assert served >= 0.85 * 5 * 200
    assert refused <= 0.05 * served


def test_a_window_that_proved_true_grows_no_further_than_a_refusal_tells() -> None:
    quota = Quota.of(MINUTE, 0.0)
    quota.refused(5, [1000.0, 1001.0, 1002.0, 1003.0, 1004.0], 50.5, 1010.0, 0)
    # Another's call that was not heard of yet makes the window look longer than it is.
    quota.refused(5, [1064.45, 1075.0, 1080.0, 1085.0, 1090.0], 0.5, 1125.1, 0)
    assert quota.window == pytest.approx(61.0, abs=0.1)


def test_a_window_that_may_be_too_long_is_tried_shorter_until_a_refusal() -> None:
    # The last two calls were just sent: they may have been served, and then the window is shorter.
    quota = Quota.of(MINUTE, 0.0)
    quota.refused(5, [1000.0, 1004.0, 1008.0, 1012.0, 1016.0], 20.5, 1020.0, 2)
    assert quota.window == pytest.approx(40.5, abs=0.1)
    for turn in range(1, 50):
        quota.widen(1020.0 + 100.0 * turn)
    assert quota.window == pytest.approx(32.5, abs=0.5)


def test_a_window_that_is_known_for_sure_is_not_tried_shorter() -> None:
    quota = Quota.of(MINUTE, 0.0)
    quota.refused(5, [1000.0, 1001.0, 1002.0, 1003.0, 1004.0], 50.5, 1010.0, 0)
    for turn in range(1, 50):
        quota.widen(1010.0 + 100.0 * turn)
    assert quota.window == pytest.approx(60.5, abs=0.1)


def test_a_window_that_starts_anew_every_minute_refuses_little() -> None:
    made: dict[int, int] = {}

    def refuses(now: float) -> float | None:
        minute = int(now // 60)
        made[minute] = made.get(minute, 0) + 1
        return None if made[minute] <= 5 else 60 - now % 60

    served, refused = greedy(refuses, 3600)
    assert refused <= 0.05 * served
    assert served >= 0.9 * 5 * 60


def test_a_bucket_of_tokens_refuses_little() -> None:
    state = [5.0, 1000.0]

    def refuses(now: float) -> float | None:
        state[0] = min(5.0, state[0] + (now - state[1]) * 5 / 60)
        state[1] = now
        if state[0] >= 1:
            state[0] -= 1
            return None
        return (1 - state[0]) * 60 / 5

    served, refused = greedy(refuses, 3600)
    assert refused <= 0.1 * served
    assert served >= 0.9 * 5 * 60


def test_what_others_spend_narrows_a_quota_at_once() -> None:
    quota = Quota.of(MINUTE, 0.0)
    quota.refused(5, [1000.0, 1001.0], 20.0, 1010.0, 0)
    assert quota.allowed == 2
    assert quota.free_at([1000.0, 1001.0]) == 1060.0


def test_a_narrowed_quota_is_widened_step_by_step_and_later_after_every_refusal() -> None:
    quota = Quota.of(MINUTE, 0.0)
    quota.refused(5, [1000.0, 1001.0], 20.0, 1010.0, 0)
    assert not quota.widen(1100.0)
    assert quota.widen(1131.0)
    assert quota.allowed == 3
    quota.refused(5, [1120.0, 1121.0], 20.0, 1132.0, 0)
    assert quota.allowed == 2
    patience = quota.widen_at - 1132.0
    quota.refused(5, [1200.0], 20.0, 1210.0, 0)
    assert quota.allowed == 1
    assert quota.widen_at - 1210.0 == 2 * patience


def test_a_call_of_a_peer_that_is_not_known_yet_narrows_nothing() -> None:
    quota = Quota.of(MINUTE, 0.0)
    quota.window = 60.0
    quota.refused(5, [1000.0, 1001.0, 1002.0, 1003.0], 20.0, 1010.0, 1)
    assert quota.allowed == 5


def test_a_quota_that_google_changes_is_learned_anew() -> None:
    quota = Quota.of(MINUTE, 0.0)
    calls = [1000.0 + n for n in range(10)]
    quota.refused(5, calls, 50.0, 1010.0, 0)
    quota.refused(10, calls, 50.0, 1011.0, 0)
    assert (quota.requests, quota.allowed) == (10, 10)


def test_a_quota_of_one_still_lets_one_through() -> None:
    quota = Quota.of(Limit("PerMinute", 1, 60.0), 0.0)
    quota.refused(1, [], 30.0, 1000.0, 0)
    assert quota.allowed == 1
