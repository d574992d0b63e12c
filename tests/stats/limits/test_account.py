"""What an account grants: never more than a limit, and the time to wait is true."""

import random

import pytest

from proxycore.stats.limits.account import CONCURRENT, Account
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import Ledger, LimitRules
from tests.support.clocks import TurnedClock

HERE, THERE = "one process", "another"


def requests(amount: int, period: Period = Period.MINUTE) -> Rate:
    return Rate(Counted.REQUESTS, amount, period)


def tokens(amount: int, period: Period = Period.MINUTE) -> Rate:
    return Rate(Counted.TOKENS, amount, period)


def account(clock: TurnedClock, *rates: Rate, concurrent: int | None = None) -> Account:
    return Account(ClientLimits(rates, concurrent), clock)


@pytest.mark.parametrize(
    ("limit", "period"), [(2, Period.SECOND), (5, Period.SECOND), (20, Period.SECOND), (30, Period.MINUTE)]
)
def test_a_client_at_three_times_its_rate_gets_all_of_it_and_no_more(limit: int, period: Period) -> None:
    clock, source = TurnedClock(), random.Random(1)  # noqa: S311 - of a test
    one = account(clock, requests(limit, period))
    granted: list[float] = []
    for _ in range(3000):
        clock.turn(source.expovariate(3 * limit / period.seconds))
        if (grant := one.grant(HERE, 1, 0)).count:
            assert clock() <= grant.at < clock() + 0.5
            granted.append(grant.at)
    assert granted == sorted(granted)
    for start, end in zip(granted, granted[limit:], strict=False):
        assert end - start >= period.seconds - 1e-9
    seconds = granted[-1] - granted[0]
    assert len(granted) >= 0.98 * limit * seconds / period.seconds


def test_a_request_that_waits_is_used_when_its_moment_has_come() -> None:
    clock = TurnedClock()
    one = account(clock, requests(1, Period.SECOND), requests(9, Period.HOUR), concurrent=2)
    first = one.grant(HERE, 1, 0).at
    clock.turn(0.7)
    early = one.grant(HERE, 1, 0)
    assert (early.count, early.at) == (1, first + 1)
    refused = one.grant(HERE, 1, 0)  # the next place is not so near
    assert (refused.count, refused.limit, refused.opens) == (0, "requests/second", first + 2)
    assert one.used() == {"requests/second": 1, "requests/hour": 1}
    clock.turn(0.3)
    assert one.used() == {"requests/second": 1, "requests/hour": 2}
    one.take_back(1, early.at)
    one.release(HERE, 1)
    assert one.grant(HERE, 1, 0).at == clock()


def test_nobody_waits_for_tokens_or_for_a_day_or_ahead_of_demand() -> None:
    clock = TurnedClock()
    one = account(clock, requests(1, Period.SECOND))
    assert one.grant(HERE, 1, 0).count == 1
    clock.turn(0.9)
    assert one.grant(HERE, 0, 5).count == 0
    for rate in (tokens(1, Period.SECOND), requests(1, Period.DAY)):
        one = account(clock, rate)
        assert one.grant(HERE, 1, 0).count == 1
        one.spend(1)
        refused = one.grant(HERE, 1, 0)
        clock.turn(refused.opens - clock() - 0.1)
        assert one.grant(HERE, 1, 0).count == 0


def test_the_time_to_wait_is_that_of_the_limit_that_opens_last() -> None:
    clock = TurnedClock()
    one = account(clock, requests(1), requests(2, Period.HOUR))
    assert one.grant(HERE, 1, 0).count == 1
    refused = one.grant(HERE, 1, 0)
    assert (refused.limit, refused.opens - clock()) == ("requests/minute", 60)
    clock.turn(60)
    assert one.grant(HERE, 1, 0).count == 1
    refused = one.grant(HERE, 1, 0)
    assert (refused.limit, refused.opens - clock()) == ("requests/hour", 3540)
    clock.turn(3539.5)
    assert one.grant(HERE, 1, 0).count == 0
    clock.turn(0.5)
    assert one.grant(HERE, 1, 0).count == 1


def test_tokens_refuse_the_next_request_once_they_are_spent() -> None:
    clock = TurnedClock()
    one = account(clock, tokens(100))
    assert one.grant(HERE, 1, 0).count == 1
    one.spend(99)
    assert one.grant(HERE, 1, 0).count == 1
    clock.turn(10)
    one.spend(50)
    refused = one.grant(HERE, 1, 0)
    assert (refused.limit, refused.opens - clock()) == ("tokens/minute", 50)


def test_requests_that_end_make_room_for_others() -> None:
    clock = TurnedClock()
    one = account(clock, concurrent=2)
    assert [one.grant(who, 1, 5).count for who in (HERE, THERE, HERE)] == [1, 1, 0]
    assert one.grant(HERE, 1, 0).limit == CONCURRENT
    one.release(THERE, 1)
    assert one.grant(HERE, 1, 0).count == 1
    one.release(HERE, one.held_by(HERE))
    assert one.in_progress == 0


def test_little_is_granted_ahead_when_little_is_left() -> None:
    clock = TurnedClock()
    one = account(clock, requests(160))
    assert one.grant(HERE, 0, 100).count == 10
    assert one.grant(HERE, 1, 100).count == 9
    while grant := one.grant(HERE, 0, 100).count:
        assert grant <= 10
    assert one.grant(HERE, 1, 100).count == 1
    one.take_back(10, clock())
    assert one.used() == {"requests/minute": one.limits.rates[0].amount - one_left(one)}


def one_left(one: Account) -> int:
    return one.limits.rates[0].amount - one.used()["requests/minute"]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_share_of_the_limits_is_granted_where_others_grant_theirs(parts: int) -> None:
    clock = TurnedClock()
    one = account(clock, requests(30), concurrent=30)
    granted = 0
    while one.grant(HERE, 1, 0, 1 / parts).count:
        granted += 1
    assert granted == 30 // parts


def test_new_limits_keep_what_is_counted() -> None:
    clock = TurnedClock()
    ledger = Ledger(LimitRules({"ann": ClientLimits((requests(2),))}), clock)
    ann = ledger.account("ann")
    assert ann
    assert [ann.grant(HERE, 1, 0).count for _ in range(3)] == [1, 1, 0]
    ledger.change(LimitRules({"ann": ClientLimits((requests(3), tokens(5)))}))
    assert [ann.grant(HERE, 1, 0).count for _ in range(2)] == [1, 0]
    ledger.change(LimitRules())
    assert ledger.account("ann") is None


def test_clients_without_limits_of_their_own_are_counted_separately() -> None:
    ledger = Ledger(LimitRules(default=ClientLimits((requests(1),))), TurnedClock())
    for client in ("ann", "bob"):
        found = ledger.account(client)
        assert found
        assert [found.grant(HERE, 1, 0).count for _ in range(2)] == [1, 0]


def test_what_is_used_is_known_after_a_restart() -> None:
    clock = TurnedClock()
    rules = LimitRules({"ann": ClientLimits((requests(5), tokens(9, Period.DAY)))})
    ledger, later = Ledger(rules, clock), Ledger(rules, clock)
    ann = ledger.account("ann")
    assert ann
    for _ in range(5):
        ann.grant(HERE, 1, 0)
        clock.turn(1)
    ann.spend(3)
    ((client, (counts, moments)),) = ledger.changes()
    assert ledger.changes() == []
    later.restore(client, counts, moments)
    again = later.account("ann")
    assert again
    assert again.used() == {"requests/minute": 5, "tokens/day": 3}
    refused = again.grant(HERE, 1, 0)
    assert refused.opens - clock() == pytest.approx(55)


@pytest.mark.parametrize("counts", [None, [["requests/minute", [1, 2]]], [["x"]], [["x", ["y"]]]])
def test_malformed_facts_are_refused(counts: object) -> None:
    ledger = Ledger(LimitRules(), TurnedClock())
    with pytest.raises((TypeError, ValueError)):
        ledger.restore("ann", counts, [1.0])  # type: ignore[arg-type]
