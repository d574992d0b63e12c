"""What others use of a quota: seen in refusals, refuted by calls that are served, and forgotten."""

import pytest

from proxycore.rotation.other_usage import OtherUsage

NOON, MINUTE = 1_000_000.0, 60.0  # seconds


def seen(amount: float) -> OtherUsage:
    usage = OtherUsage()
    usage.at_least(amount, NOON, MINUTE)
    return usage


def test_nobody_else_is_assumed_at_first() -> None:
    assert OtherUsage().at(NOON, MINUTE) == 0


def test_what_a_refusal_shows_fades_within_a_few_windows() -> None:
    usage = seen(10)
    assert usage.at(NOON, MINUTE) == 10
    assert 3 < usage.at(NOON + MINUTE, MINUTE) < 10
    assert usage.at(NOON + 10 * MINUTE, MINUTE) == pytest.approx(usage.average, abs=0.01)
    usage.at_least(0, NOON + 20 * MINUTE, MINUTE)
    assert usage.average < 0.1


def test_those_who_use_it_all_the_time_are_expected_to_go_on() -> None:
    usage = OtherUsage()
    for minute in range(10):
        usage.at_least(10, NOON + minute * MINUTE, MINUTE)
    assert usage.at(NOON + 11 * MINUTE, MINUTE) > 4


def test_a_call_that_is_served_refutes_what_was_expected() -> None:
    usage = seen(10)
    usage.at_most(12, NOON, MINUTE)
    assert usage.at(NOON, MINUTE) == 10
    usage.at_most(4, NOON, MINUTE)
    assert usage.at(NOON, MINUTE) == 4


def test_calls_of_peers_were_not_those_of_others() -> None:
    usage = seen(3)
    usage.reveal(2)
    assert usage.at(NOON, MINUTE) == 1
    usage.reveal(2)
    assert usage.at(NOON, MINUTE) == 0


@pytest.mark.parametrize("window", [MINUTE, 0.001])
@pytest.mark.parametrize("moment", [NOON - 3600.0, NOON + 1e6])
def test_any_moment_has_an_estimate(window: float, moment: float) -> None:
    assert 0 <= seen(10).at(moment, window) <= 10
