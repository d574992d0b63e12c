"""Processes that learn of each other's alerts and claims late, or in another order."""

from proxycore.stats.alert import Alert, AlertKind
from proxycore.stats.alert_digest import AlertDigest
from tests.support.clocks import TurnedClock

DEAD = AlertKind.KEY_DEAD


def alert(clock: TurnedClock, subject: str = "1") -> Alert:
    return Alert(DEAD, subject, f"key {subject}: suspended", clock())


def test_of_two_that_claim_at_once_the_later_one_tells() -> None:
    clock = TurnedClock()
    one, other = AlertDigest(clock, "one"), AlertDigest(clock, "other")
    for digest in (one, other):
        digest.add(alert(clock), here=True)
    clock.turn(1.0)
    first = one.claim()[DEAD]
    clock.turn(0.01)
    second = other.claim()[DEAD]
    one.tell(DEAD, "other", second)
    other.tell(DEAD, "one", first)
    clock.turn(1.0)
    assert (len(one.take()), len(other.take())) == (0, 1)
    assert (len(one.take()), len(other.take())) == (0, 0)


def test_of_two_that_claim_at_the_same_moment_one_tells() -> None:
    clock = TurnedClock()
    one, other = AlertDigest(clock, "one"), AlertDigest(clock, "other")
    for digest in (one, other):
        digest.add(alert(clock), here=True)
    clock.turn(1.0)
    first, second = one.claim()[DEAD], other.claim()[DEAD]
    one.tell(DEAD, "other", second)
    other.tell(DEAD, "one", first)
    clock.turn(1.0)
    assert len(one.take()) + len(other.take()) == 1


def test_what_was_told_already_is_not_held_when_it_is_heard_of_later() -> None:
    clock = TurnedClock()
    digest, known = AlertDigest(clock, "late"), alert(clock)
    clock.turn(5.0)
    digest.tell(DEAD, "other", clock())
    digest.add(known, here=False)
    clock.turn(1000.0)
    assert digest.claim() == {}


def test_what_was_found_just_before_another_claimed_is_told_later() -> None:
    clock = TurnedClock()
    digest = AlertDigest(clock, "me")
    clock.turn(10.0)
    digest.add(alert(clock), here=True)
    clock.turn(0.1)
    digest.tell(DEAD, "other", clock())  # it had not heard of it yet
    clock.turn(601.0)
    assert list(digest.claim()) == [DEAD]
    clock.turn(1.0)
    (notice,) = digest.take()
    assert "key 1: suspended" in notice.body


def test_of_thousands_some_are_named_and_all_are_counted() -> None:
    clock = TurnedClock()
    digest = AlertDigest(clock, "me")
    for number in range(5000):
        digest.add(alert(clock, str(number)), here=True)
    clock.turn(1.0)
    digest.claim()
    clock.turn(1.0)
    (notice,) = digest.take()
    assert notice.title.endswith("5000 Gemini API keys are dead")
    assert "4992 earlier, see the log" in notice.body
    assert len(notice.body) < 1500
