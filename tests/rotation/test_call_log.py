"""A log of calls beside a plain list of them: the same numbers, whatever is added, changed and removed."""

import random

import pytest

from proxycore.rotation.call_log import REMEMBERED, CallLog

START = 1_000_000.0  # seconds


def latest_with_tokens(calls: list[tuple[float, int]], tokens: int) -> int:
    for place in range(len(calls) - 1, -1, -1):
        if sum(amount for _, amount in calls[place:]) >= tokens:
            return place
    return -1


@pytest.mark.parametrize("seed", range(20))
def test_it_tells_what_a_plain_list_would(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - seeded, so that the test is the same every time
    log, calls, now = CallLog(), list[tuple[float, int]](), START
    for _ in range(300):
        now += source.expovariate(2.0)
        at, tokens = now + source.choice((0.0, 0.0, 3.0, -1.0)), source.choice((0, 5, 500))
        match source.random():
            case chance if chance < 0.7:
                log.add(at, now, tokens)
                calls.append((at, tokens))
            case chance if chance < 0.85 and calls:
                gone = source.choice(calls)
                calls.remove(gone)
                assert log.remove(gone[0])
            case _ if calls:
                changed = source.choice(calls)
                calls[calls.index(changed)] = (changed[0], 77)
                log.set_tokens(changed[0], 77)
        calls.sort()
        calls = [call for call in calls if call[0] >= log.moments[0]] if log.moments else []
        assert log.moments == [at for at, _ in calls]
        assert log.tokens(0, len(log)) == sum(amount for _, amount in calls)
        wanted = source.randrange(1, 3000)
        assert log.latest_with_tokens(len(log), wanted) == latest_with_tokens(calls, wanted)


def test_calls_are_forgotten_when_no_window_reaches_back_to_them() -> None:
    log = CallLog()
    for number in range(1000):
        log.add(START + number, START + number, 10)
    assert REMEMBERED <= len(log) <= REMEMBERED + 10
    assert log.tokens(0, len(log)) == 10 * len(log)
    assert log.latest_with_tokens(len(log), 95) == len(log) - 10


def test_two_logs_are_merged_in_order() -> None:
    one, other = CallLog(), CallLog()
    one.add(START, START, 1)
    other.add(START - 1.0, START, 10)
    other.add(START + 1.0, START, 100)
    one.merge(other)
    assert one.moments == [START - 1.0, START, START + 1.0]
    assert [one.tokens(0, end) for end in (1, 2, 3)] == [10, 11, 111]


def test_what_is_not_there_is_not_removed() -> None:
    log = CallLog([START])
    assert not log.remove(START + 1.0)
    log.set_tokens(START + 1.0, 5)
    assert (log.moments, log.tokens(0, 1)) == ([START], 0)
