"""Ways to the upstream, one for each outbound proxy: what is seen through one says nothing about others."""

import random

import pytest

from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    HEALTHY,
    NO_RESPONSE,
    NOT_GOOGLE,
    REGION_BLOCKED,
    TIMED_OUT,
    UPSTREAM_FAILURE,
    Backoff,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from proxycore.stats.key_log import KeyLog
from tests.support.clocks import TurnedClock
from tests.support.proxy import rests

FLASH = "gemini-2.0-flash"
ONE, OTHER = "http://me:t0p-s3cret@one.example:3128", "socks5://other.example"
SPENT = Verdict("quota exhausted", Reaction.FAILOVER, BenchScope.MODEL, 30.0)
ABOUT_THE_WAY = [REGION_BLOCKED, NOT_GOOGLE, NO_RESPONSE, TIMED_OUT]


class Here:
    """Keys a and b behind one proxy, c behind another, d behind none, or those that a test says."""

    def __init__(self, **proxies: str | None) -> None:
        self.clock = TurnedClock()
        self.proxies = proxies or {"a": ONE, "b": ONE, "c": OTHER, "d": None}
        self.rotator = Rotator(
            keys_of(self.specs()),
            {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff},
            clock=self.clock,
            source=random.Random(3),  # noqa: S311 - seeded, so that the test is the same every time
        )

    def specs(self) -> list[KeySpec]:
        return [KeySpec(name, f"secret-{name}", proxy=proxy) for name, proxy in self.proxies.items()]

    def reload(self, **proxies: str | None) -> None:
        self.proxies |= proxies
        keys = keys_of(self.specs(), self.rotator.keys)
        self.rotator.change(keys, {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}, 10.0)

    def key(self, name: str) -> Key:
        return next(key for key in self.rotator.keys if key.name == name)

    def answer(self, name: str, verdict: Verdict, model: str = FLASH) -> None:
        self.rotator.apply(self.rotator.call(self.key(name), model, spends=True), verdict)

    @property
    def avoided(self) -> str:
        return "".join(sorted(key.name for key in self.rotator.ways.avoided))


@pytest.mark.parametrize("verdict", ABOUT_THE_WAY, ids=lambda verdict: verdict.reason)
def test_a_way_that_fails_is_avoided_for_a_second_and_no_key_rests(verdict: Verdict) -> None:
    here = Here()
    here.answer("a", verdict)
    assert here.avoided == "ab"
    assert not any(map(rests, here.rotator.keys))
    here.clock.turn(1.01)
    assert here.avoided == ""


@pytest.mark.parametrize("verdict", [HEALTHY, CLIENT_ERROR, UPSTREAM_FAILURE, SPENT], ids=lambda v: v.reason)
def test_a_response_from_google_is_no_sign_against_the_way(verdict: Verdict) -> None:
    here = Here()
    here.answer("a", verdict)
    assert here.avoided == ""


@pytest.mark.parametrize("verdict", [HEALTHY, CLIENT_ERROR, SPENT], ids=lambda v: v.reason)
def test_a_response_from_google_shows_that_the_way_works(verdict: Verdict) -> None:
    here = Here()
    here.answer("a", NO_RESPONSE)
    here.answer("c", verdict)
    assert here.avoided == "ab"  # another way says nothing about this one
    here.answer("b", verdict)
    assert here.avoided == ""


def test_a_direct_way_is_one_of_them() -> None:
    here = Here()
    here.answer("d", NO_RESPONSE)
    assert here.avoided == "d"


@pytest.mark.parametrize("proxy", [None, ONE])
def test_the_only_way_is_never_avoided(proxy: str | None) -> None:
    here = Here(a=proxy, b=proxy)
    for verdict in ABOUT_THE_WAY:
        here.answer("a", verdict)
    assert here.avoided == ""


def test_the_pause_doubles_with_every_failure_in_a_row_up_to_a_minute() -> None:
    here, pauses = Here(), []
    for _ in range(8):
        here.answer("a", NO_RESPONSE)
        began = here.clock()
        while here.avoided:
            here.clock.turn(0.5)
        pauses.append(here.clock() - began)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    here.answer("b", HEALTHY)
    here.answer("a", NO_RESPONSE)
    here.clock.turn(1.0)
    assert here.avoided == ""


def test_calls_that_fail_together_count_as_one_failure() -> None:
    here = Here()
    calls = [here.rotator.call(here.key("a"), FLASH, spends=True) for _ in range(20)]
    here.clock.turn(10.0)
    for call in calls:
        here.rotator.apply(call, NO_RESPONSE)
    here.clock.turn(1.0)
    assert here.avoided == ""


def test_a_response_to_a_call_that_was_sent_before_the_failure_does_not_end_it() -> None:
    here = Here()
    call = here.rotator.call(here.key("b"), FLASH, spends=True)
    here.clock.turn(1.0)
    here.answer("a", NO_RESPONSE)
    here.rotator.apply(call, HEALTHY)
    assert here.avoided == "ab"


def test_after_the_pause_one_call_at_a_time_goes_that_way() -> None:
    here = Here()
    here.answer("a", NO_RESPONSE)
    here.clock.turn(1.0)
    call = here.rotator.call(here.key("a"), FLASH, spends=True)
    assert here.avoided == "ab"
    here.clock.turn(0.5)
    here.rotator.apply(call, HEALTHY)
    assert here.avoided == ""


def test_a_reload_that_changes_a_proxy_is_a_new_way() -> None:
    here = Here()
    here.answer("a", NO_RESPONSE)
    call = here.rotator.call(here.key("c"), FLASH, spends=True)
    here.clock.turn(0.5)
    here.reload(a=OTHER)
    assert here.avoided == "b"
    here.rotator.apply(call, NO_RESPONSE)  # it may have gone another way
    assert here.avoided == "b"
    here.reload(b=OTHER, d=OTHER)
    assert here.avoided == ""


# Outages are shown and logged.


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_an_outage_of_a_model_is_that_of_one_way() -> None:
    here = Here()
    for _ in range(30):
        here.answer("c", UPSTREAM_FAILURE)
        here.answer("a", HEALTHY)
    assert here.rotator.outages.of(FLASH, OTHER)
    assert here.rotator.outages.of(FLASH, ONE) is None
    assert here.rotator.outages.of(FLASH, None) is None
    here.clock.turn(1.0)
    here.answer("a", HEALTHY)
    assert here.rotator.outages.of(FLASH, OTHER)
    here.answer("c", HEALTHY)
    assert list(here.rotator.outages) == []


def test_a_blocked_region_is_that_of_one_way_and_told_without_a_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    here = Here()
    KeyLog(here.rotator.events, here.clock)
    here.answer("b", REGION_BLOCKED)
    here.answer("d", REGION_BLOCKED)
    here.clock.turn(1.0)
    here.answer("c", HEALTHY)
    assert len(list(here.rotator.outages)) == 2
    here.answer("a", HEALTHY)
    assert told(caplog) == [
        "Google does not support the region of the outbound proxy one.example:3128",
        "Google does not support this server's region: set UPSTREAM_PROXY",
        "outage over through the outbound proxy one.example:3128 after 1 s: region not supported",
    ]
    (left,) = here.rotator.outages
    assert left.proxy is None
    assert "t0p-s3cret" not in repr(list(here.rotator.outages)) + repr(here.rotator.keys)


def test_a_way_that_fails_three_times_in_a_row_is_an_outage_until_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxycore")
    here = Here()
    KeyLog(here.rotator.events, here.clock)
    for _ in range(3):
        assert list(here.rotator.outages) == []
        here.answer("a", NO_RESPONSE)
        here.clock.turn(10.0)
    (outage,) = here.rotator.outages
    assert outage.snapshot(here.clock) == {
        "reason": "upstream error",
        "model": None,
        "proxy": "one.example:3128",
        "since": here.clock.to_wall(outage.since),
        "next_trial": None,
        "thought": (
            "no request succeeds through the outbound proxy one.example:3128 (upstream error);"
            " keys with another way are used first"
        ),
    }
    here.answer("a", HEALTHY)
    assert list(here.rotator.outages) == []
    assert told(caplog) == [
        outage.thought,
        "outage over through the outbound proxy one.example:3128 after 10 s: upstream error",
    ]


def test_the_only_way_has_an_outage_as_ever_after_thirty_failures() -> None:
    here = Here(a=ONE, b=ONE)
    for _ in range(29):
        here.answer("a", NO_RESPONSE)
    assert list(here.rotator.outages) == []
    here.answer("a", NO_RESPONSE)
    (outage,) = here.rotator.outages
    assert outage.thought == (
        f"upstream outage for {FLASH} through the outbound proxy one.example:3128:"
        " only server errors, no request succeeds"
    )


def test_an_outage_of_a_proxy_ends_when_no_key_has_it_any_more() -> None:
    here = Here()
    here.answer("c", REGION_BLOCKED)
    here.answer("d", REGION_BLOCKED)
    here.reload(c=ONE)
    assert [outage.proxy for outage in here.rotator.outages] == [None]
    here.answer("c", REGION_BLOCKED)
    here.reload(c="http://me:another@one.example:3128")
    assert [outage.proxy for outage in here.rotator.outages] == [None, ONE]
