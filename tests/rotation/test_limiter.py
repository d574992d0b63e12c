"""What a limiter has to move and copy, however many calls it remembers."""

from typing import SupportsIndex, cast

import pytest

from proxycore.gemini.verdict import Limit
from proxycore.rotation.call_log import REMEMBERED, CallLog
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.quota import QuotaRefusal

START = 1_000_000.0  # seconds


class CountedCalls(list[float]):
    """Calls that count how many of them were moved or copied."""

    handled = 0

    def insert(self, index: SupportsIndex, value: float) -> None:
        self.handled += len(self) - index.__index__()
        super().insert(index, value)

    def __delitem__(self, place: SupportsIndex | slice) -> None:
        self.handled += len(self)
        super().__delitem__(place)

    def __getitem__(self, place: SupportsIndex | slice) -> object:  # type: ignore[override]
        found = super().__getitem__(place)
        if isinstance(place, slice):
            self.handled += len(cast("list[float]", found))
        return found


def of(calls: CountedCalls) -> Limiter:
    """A limiter that remembers these calls."""
    limiter = Limiter(log=CallLog(calls))
    limiter.log.moments = calls
    return limiter


@pytest.mark.parametrize("rate", [4, 128, 1024])  # calls a second
def test_a_call_moves_a_few_others_however_many_are_remembered(rate: int) -> None:
    limiter, calls, count = Limiter(), CountedCalls(), int(3 * REMEMBERED * rate)
    limiter.log.moments = calls
    for number in range(count):
        now = START + number / rate
        limiter.add(now, now, mine=True)
        limiter.served(now)
    assert len(calls) >= REMEMBERED * rate - 1
    assert calls.handled <= 20 * count


def test_a_refusal_copies_no_more_calls_than_its_quota_has() -> None:
    calls = CountedCalls(START - 50.0 + number / 1024 for number in range(50 * 1024))
    limiter, limit = of(calls), Limit("PerMinute", 40, 60.0)
    limiter.refused(QuotaRefusal(limit, 30.5, START, START), alone=True)
    assert calls.handled <= 40 + 0.25 * 1024
    assert limiter.free_at() == pytest.approx(START + 30.5, abs=0.05)


def test_what_peers_publish_after_a_refusal_is_learned_from_without_copying_all_calls() -> None:
    calls = CountedCalls(START - 50.0 + number / 1024 for number in range(50 * 1024))
    limiter, limit = of(calls), Limit("PerMinute", 40, 60.0)
    limiter.refused(QuotaRefusal(limit, 30.5, START, START), alone=False)
    calls.handled = 0
    for number in range(100):
        limiter.add(START - 0.001 * number, START + 0.5, mine=False)
        limiter.learn_again(START + 0.5)
    assert calls.handled <= 100 * (40 + 0.25 * 1024 + 200)
