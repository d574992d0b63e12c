"""The room that is kept in a queue for clients that were told to retry later."""

import pytest

from proxycore.rotation.events import Events, Origin, ReturnExpected
from proxycore.rotation.expected_returns import ExpectedReturns
from tests.support.clocks import TurnedClock

FLASH = "gemini-2.5-flash"
ALLOWED = 10.0


def published_by(events: Events) -> list[ReturnExpected]:
    """What is published from now on."""
    published: list[ReturnExpected] = []
    events.subscribe(ReturnExpected, published.append)
    return published


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.mark.parametrize(("needed", "admitted"), [(0.0, True), (10.0, True), (10.1, False)])
def test_while_nobody_is_expected_the_whole_wait_is_for_everybody(
    clock: TurnedClock, needed: float, *, admitted: bool
) -> None:
    assert ExpectedReturns(clock, Events()).admit(FLASH, needed, ALLOWED) is admitted


@pytest.mark.parametrize(("needed", "admitted"), [(7.5, True), (7.6, False), (10.0, False)])
def test_a_part_of_the_wait_is_kept_for_a_client_that_is_expected(
    clock: TurnedClock, needed: float, *, admitted: bool
) -> None:
    expected = ExpectedReturns(clock, Events())
    expected.add(FLASH, clock() + 2.0)
    assert expected.admit(FLASH, needed, ALLOWED) is admitted
    assert expected.admit("another", needed, ALLOWED)


def test_of_those_that_come_at_the_moment_as_many_are_admitted_as_are_expected(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, events := Events())
    published = published_by(events)
    at = clock() + 2.0
    expected.add(FLASH, at, "one")
    clock.turn(2.0)
    assert not expected.admit(FLASH, 9.0, ALLOWED, "another")
    assert [expected.admit(FLASH, 9.0, ALLOWED, "one") for _ in range(2)] == [True, True]
    expected.add(FLASH, clock() + 2.0, "one", Origin.PEER)
    assert not expected.admit(FLASH, 9.0, ALLOWED)
    assert published == [
        ReturnExpected(Origin.HERE, FLASH, at, "one", gone=False),
        ReturnExpected(Origin.HERE, FLASH, at, "one", gone=True),
        ReturnExpected(Origin.PEER, FLASH, at + 2.0, "one", gone=False),
    ]


def test_who_does_not_return_is_not_expected_for_long(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    expected.add(FLASH, clock() + 2.0)
    clock.turn(2.5)
    assert expected.admit(FLASH, 9.0, ALLOWED)
    assert len(expected) == 0


def test_one_that_returned_to_another_process_is_not_expected_here(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, events := Events())
    at = clock() + 2.0
    expected.add(FLASH, at)
    published = published_by(events)
    expected.remove(FLASH, at)
    expected.remove(FLASH, at)
    expected.remove("another", at)
    assert expected.admit(FLASH, 9.0, ALLOWED)
    assert published == []


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 601.0])
def test_nobody_is_expected_in_the_past_or_much_later(clock: TurnedClock, seconds: float) -> None:
    expected = ExpectedReturns(clock, events := Events())
    published = published_by(events)
    expected.add(FLASH, clock() + seconds)
    assert expected.admit(FLASH, 9.0, ALLOWED)
    assert published == []


def told(expected: ExpectedReturns, clock: TurnedClock, client: str, rate: float, ahead: float = 3.2) -> int:
    """After how many seconds a client is told to return that could be served in so many."""
    seconds = expected.place(FLASH, client, clock() + ahead, rate)
    expected.add(FLASH, clock() + seconds, client)
    return seconds


def test_each_is_told_a_moment_of_its_own_as_often_as_calls_are_permitted(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    moments = [told(expected, clock, f"client-{number}", 2.5) for number in range(100)]
    assert moments[0] == 4
    assert moments == sorted(moments)
    assert moments[-1] == pytest.approx(4 + 100 / 2.5, abs=3)


def test_a_pool_that_is_slow_has_few_moments(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    moments = [told(expected, clock, f"client-{number}", 0.1) for number in range(20)]
    assert moments[-1] == pytest.approx(20 / 0.1, abs=20)


def test_where_no_quota_is_known_all_are_told_when_a_key_is_ready(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    assert {told(expected, clock, "one", float("inf")) for _ in range(20)} == {4}


def test_one_client_does_not_take_all_the_moments(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    assert max(told(expected, clock, "heavy", 2.5) for _ in range(200)) > 80
    assert max(told(expected, clock, "light", 2.5) for _ in range(5)) < 20


def test_nobody_is_told_more_than_ten_minutes_for_the_sake_of_others(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    assert max(told(expected, clock, "heavy", 0.5) for _ in range(1000)) == 599
    assert told(expected, clock, "one", 0.5, ahead=5000.0) == 5000


def test_moments_that_have_passed_are_free_again(clock: TurnedClock) -> None:
    expected = ExpectedReturns(clock, Events())
    first = [told(expected, clock, "one", 2.0) for _ in range(50)]
    clock.turn(60.0)
    assert [told(expected, clock, "one", 2.0) for _ in range(50)] == first
