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
    expected.add(FLASH, at)
    clock.turn(2.0)
    assert [expected.admit(FLASH, 9.0, ALLOWED) for _ in range(2)] == [True, True]
    expected.add(FLASH, clock() + 2.0, Origin.PEER)
    assert not expected.admit(FLASH, 9.0, ALLOWED)
    assert published == [
        ReturnExpected(Origin.HERE, FLASH, at, gone=False),
        ReturnExpected(Origin.HERE, FLASH, at, gone=True),
        ReturnExpected(Origin.PEER, FLASH, at + 2.0, gone=False),
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
