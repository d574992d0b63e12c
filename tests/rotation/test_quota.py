"""What responses teach about a quota, and when the next call can be made."""

import math
from collections import deque
from collections.abc import Callable

import pytest

from proxycore.gemini.verdict import Limit
from proxycore.rotation.call_log import CallLog
from proxycore.rotation.quota import Quota, QuotaRefusal

MINUTE = Limit("PerMinute", 5, 60.0)
UNTOLD = Limit("PerMinute", None, 60.0)
TOKENS = Limit("TokensPerMinute", 1000, 60.0, of_tokens=True)
NOON = 1000.0  # seconds

Upstream = Callable[[float], float | None]


class Client:
    """Makes every call that the quota allows. `tell` is how the upstream writes times; None: it does not."""

    def __init__(
        self, refuses: Upstream, limit: Limit = MINUTE, tell: Callable[[float], float | None] = float
    ) -> None:
        self.quota, self.limit, self.log, self.now = Quota.of(limit), limit, CallLog(), NOON
        self.served = self.refused = 0
        self._refuses, self._tell = refuses, tell

    def run(self, seconds: float) -> tuple[int, int]:
        """Go on for so long; returns how many calls were served meanwhile, and how many refused."""
        served, refused, end = self.served, self.refused, self.now + seconds
        while (now := max(self.now, self.quota.free_at(self.log) if self.quota.limit else 0.0)) < end:
            self._call(now)
        self.now = end
        return self.served - served, self.refused - refused

    def _call(self, now: float) -> None:
        self.now, told, quota = now + 0.1, self._refuses(now), self.quota
        if told is None:
            place = self.log.add(now, now)
            self.served += 1
            if quota.limit:
                quota.add(self.log, place)
                quota.served(self.log, place, now)
            return
        self.refused += 1
        self.now += max(quota.refused(self.log, QuotaRefusal(self.limit, self._tell(told), now, now)), 1.0)


def sliding(requests: int, window: float) -> Upstream:
    made: deque[float] = deque()

    def refuses(now: float) -> float | None:
        while made and made[0] <= now - window:
            made.popleft()
        if len(made) < requests:
            made.append(now)
            return None
        return made[0] + window - now

    return refuses


def log_of(*calls: float) -> CallLog:
    return CallLog(calls)


def learned(*calls: float, at: float, wait: float | None) -> tuple[Quota, CallLog, float]:
    """The quota after a refusal that followed these calls, and for how long the project rests."""
    quota, log = Quota.of(MINUTE), log_of(*calls)
    return quota, log, quota.refused(log, QuotaRefusal(MINUTE, wait, at, at))


# The window.


def test_a_refusal_that_the_known_calls_explain_teaches_the_window() -> None:
    quota, log, rest = learned(1000.0, 1001.0, 1002.0, 1003.0, 1004.0, at=1010.0, wait=50.5)
    assert rest == pytest.approx(50.5)
    assert quota.free_at(log) == pytest.approx(1060.5, abs=0.02)
    assert quota.left(log, 1010.0) == 0
    assert quota.left(log, 1061.6) == 2


def test_the_window_is_what_was_seen_and_not_what_the_name_says() -> None:
    quota, log, _ = learned(1000.0, 1001.0, 1002.0, 1003.0, 1004.0, at=1005.0, wait=1.5)
    assert quota.free_at(log) == pytest.approx(1006.5, abs=0.02)


@pytest.mark.parametrize("wait", [None, 59.5, 60.0])
def test_nobody_rests_for_longer_than_the_known_calls_are_counted(wait: float | None) -> None:
    quota, log, rest = learned(1000.0, 1001.0, 1002.0, 1003.0, 1004.0, at=1010.0, wait=wait)
    assert rest <= 51.3
    assert quota.free_at(log) <= 1061.3


@pytest.mark.parametrize("window", [60.0, 6.0, 59.0])
def test_a_sliding_window_is_met_by_probes_alone_after_the_first_refusal(window: float) -> None:
    client = Client(sliding(5, window))
    client.run(3 * window)
    served, refused = client.run(40 * window)
    assert served >= 0.99 * 5 * 40 - 5
    assert refused <= 40 / 4 + 1


@pytest.mark.parametrize("window", [60.0, 6.0])
@pytest.mark.parametrize("tell", [math.ceil, math.floor, round])
def test_times_without_fractions_teach_the_window_in_a_few_steps(
    window: float, tell: Callable[[float], float]
) -> None:
    client = Client(sliding(5, window), tell=tell)
    client.run(20 * window)
    served, refused = client.run(100 * window)
    assert served >= 0.95 * 5 * 100
    assert refused <= 0.06 * served


@pytest.mark.parametrize("tell", [lambda _: None, lambda _: 60.0], ids=["none", "a minute"])
def test_without_a_time_or_with_one_that_is_too_long_the_period_is_the_window(
    tell: Callable[[float], float | None],
) -> None:
    client = Client(sliding(5, 60.0), tell=tell)
    client.run(180.0)
    served, refused = client.run(100 * 60.0)
    assert served >= 0.97 * 5 * 100
    assert refused <= 0.06 * served


def test_a_window_that_is_shorter_than_its_name_is_found_although_no_time_is_told() -> None:
    client = Client(sliding(5, 6.0), tell=lambda _: None)
    client.run(600.0)
    served, refused = client.run(600.0)
    assert served >= 0.6 * 5 * 100
    assert refused <= 0.2 * served


def test_a_window_that_starts_anew_every_minute_refuses_little() -> None:
    made: dict[int, int] = {}

    def refuses(now: float) -> float | None:
        minute = int(now // 60)
        if made.get(minute, 0) >= 5:
            return 60 - now % 60
        made[minute] = made.get(minute, 0) + 1
        return None

    served, refused = Client(refuses).run(3600.0)
    assert refused <= 0.06 * served
    assert served >= 0.9 * 5 * 60


def test_a_bucket_that_refills_refuses_little() -> None:
    state = [5.0, NOON]

    def refuses(now: float) -> float | None:
        state[0] = min(5.0, state[0] + (now - state[1]) * 5 / 60)
        state[1] = now
        if state[0] >= 1:
            state[0] -= 1
            return None
        return (1 - state[0]) * 60 / 5

    served, refused = Client(refuses).run(3600.0)
    assert refused <= 0.1 * served
    assert served >= 0.9 * 5 * 60


# The limit.


@pytest.mark.parametrize("limit", [MINUTE, UNTOLD], ids=["told", "not told"])
def test_a_quota_that_was_raised_is_noticed_within_ten_minutes(limit: Limit) -> None:
    upstream = [sliding(5, 60.0)]

    def refuses(now: float) -> float | None:
        return upstream[0](now)

    client = Client(refuses, limit)
    client.run(600.0)
    upstream[0] = sliding(50, 60.0)
    client.limit = Limit(limit.quota, limit.amount and 50, 60.0)
    client.run(540.0)
    served, refused = client.run(600.0)
    assert served >= 0.9 * 50 * 10
    assert refused <= 0.05 * served


@pytest.mark.parametrize("limit", [MINUTE, UNTOLD], ids=["told", "not told"])
def test_a_quota_that_was_lowered_is_noticed_at_once(limit: Limit) -> None:
    upstream = [sliding(50, 60.0)]

    def refuses(now: float) -> float | None:
        return upstream[0](now)

    client = Client(refuses, Limit(limit.quota, limit.amount and 50, 60.0))
    client.run(600.0)
    upstream[0], client.limit = sliding(5, 60.0), limit
    client.run(120.0)
    served, refused = client.run(600.0)
    assert served >= 0.9 * 5 * 10
    assert refused <= 0.15 * served


def test_a_limit_that_google_does_not_tell_is_counted() -> None:
    quota, log = Quota.of(UNTOLD), log_of(1000.0, 1001.0, 1002.0)
    quota.refused(log, QuotaRefusal(UNTOLD, 50.5, 1010.0, 1010.0))
    assert (quota.limit, quota.told) == (3, False)
    assert quota.free_at(log) == pytest.approx(1060.5, abs=0.02)


def test_a_quota_of_one_still_lets_one_through() -> None:
    quota = Quota.of(Limit("PerMinute", 1, 60.0))
    quota.refused(log_of(), QuotaRefusal(Limit("PerMinute", 1, 60.0), 30.0, 1000.0, 1000.0))
    assert quota.free_at(log_of()) == 0.0


# Others.


def test_what_others_use_makes_the_project_a_worse_choice_but_holds_nothing_back() -> None:
    quota, log, rest = learned(1000.0, 1001.0, at=1010.0, wait=20.5)
    assert rest == 20.5
    assert quota.left(log, 1010.0) == 0
    assert quota.free_at(log) == 0.0
    assert 1 <= quota.left(log, 1060.5) < quota.left(log, 1300.0) <= 5


def test_a_call_that_is_served_shows_that_others_use_less() -> None:
    quota, log, _ = learned(1000.0, at=1010.0, wait=5.5)
    assert quota.others.at(1010.0, 60.0) == 4
    for at in (1016.0, 1017.0, 1018.0):
        place = log.add(at, at)
        quota.served(log, place, at)
    assert quota.others.at(1018.0, 60.0) <= 1


def test_who_is_refused_again_and_again_rests_longer_each_time() -> None:
    quota, log, _ = learned(at=1010.0, wait=1.5)
    rests = [quota.refused(log, QuotaRefusal(MINUTE, 1.5, at, at)) for at in (1030.0, 1050.0, 1070.0, 1090.0)]
    assert rests == sorted(rests)
    assert rests[0] < rests[-1] <= 61.0


def test_calls_that_are_refused_together_are_refused_once() -> None:
    quota, log, _ = learned(at=1010.0, wait=1.5)
    rests = [quota.refused(log, QuotaRefusal(MINUTE, 1.5, at, 1010.1)) for at in (1009.8, 1009.9, 1010.0)]
    assert rests == [1.5, 1.5, 1.5]


# Tokens.


def spent(*calls: tuple[float, int]) -> tuple[Quota, CallLog]:
    """A quota of 1000 tokens a minute after these calls."""
    quota, log = Quota.of(TOKENS), CallLog()
    for at, tokens in calls:
        log.add(at, at, tokens)
    quota.refused(log, QuotaRefusal(TOKENS, None, calls[-1][0] + 1.0, calls[-1][0] + 1.0, 900))
    return quota, log


def test_a_prompt_waits_until_as_many_tokens_as_it_has_are_free() -> None:
    quota, log = spent((1000.0, 300), (1010.0, 300), (1020.0, 300))
    assert quota.free_at(log, 100) == 0.0
    assert quota.free_at(log, 101) == pytest.approx(1060.0, abs=1.3)
    assert quota.free_at(log, 400) == pytest.approx(1060.0, abs=1.3)
    assert quota.free_at(log, 401) == pytest.approx(1070.0, abs=1.3)
    assert quota.free_at(log, 1000) == pytest.approx(1080.0, abs=1.3)


def test_a_prompt_that_exceeds_the_whole_quota_is_for_google_to_refuse() -> None:
    quota, log = spent((1000.0, 300), (1010.0, 600))
    assert quota.free_at(log, 1001) == 0.0


def test_the_tokens_that_a_response_tells_take_the_place_of_those_that_were_estimated() -> None:
    quota, log = spent((1000.0, 300), (1010.0, 600))
    log.set_tokens(1010.0, 200)
    assert quota.left(log, 1011.0) >= 400
    assert quota.free_at(log, 500) == 0.0
