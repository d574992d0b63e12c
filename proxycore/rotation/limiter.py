"""The limits of one Google project for one model, and what is used of them: bench, quotas, calls. Pure.

A call is the moment at which it was sent, or will be sent: waiters reserve calls.
Times are the clock's moments, in seconds.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY, Limit
from proxycore.rotation.bench import Bench, moment_of_day
from proxycore.rotation.daily_quota import DailyQuota
from proxycore.rotation.quota import Quota
from proxycore.rotation.reliability import Reliability

HEAD_START = 0.25
"""Seconds that the first call after a bench has to itself: refusals come faster than that."""

REMEMBERED = 75.0
"""Seconds that calls are remembered: longer than the longest window of a quota, but for the day."""

_PRUNED = 5.0  # seconds between two times that old calls are forgotten: each time the others are moved
_SUSPICIOUS = 2.0  # seconds after a suspicion for which one call at a time is made
_PEERS_DELAY = 1.0  # seconds that peers may take to publish their calls
_MANY = 16  # open calls: a project that served with so many may have any number


@dataclass(frozen=True, slots=True)
class _FirstRefusal:
    """The first refusal for a quota, from which is learned again as peers publish calls, until `ends`."""

    limit: Limit
    wait: float  # seconds that Google asked for
    at: float
    ends: float


@dataclass(eq=False, slots=True)
class Limiter:
    """The limits of one project for one model. `shared` is whether calls are published to peers."""

    bench: Bench | None = None
    quotas: dict[str, Quota] = field(default_factory=dict)
    today: DailyQuota | None = None
    calls: list[float] = field(default_factory=list)  # in order of time
    shared: bool = False
    reliability: Reliability = field(default_factory=Reliability)
    too_large: int = 0  # bytes of a request that has too many tokens for what is left of a quota
    too_large_until: float = 0.0
    _first_refusal: _FirstRefusal | None = None
    _open: list[float] = field(default_factory=list)  # in order; those without a response yet
    _at_once: int = 0  # calls that may be open at once, after a bench; 0: any number

    def is_idle(self, now: float) -> bool:
        """Return whether there is nothing to remember."""
        if self.bench or self.quotas or self.today or self.reliability.failures or self.too_large_until > now:
            return False
        return not self.calls or self.calls[-1] < now - REMEMBERED

    @property
    def counted(self) -> bool:
        """Whether calls count against anything that is known, so that peers have to know them."""
        return bool(self.bench or self.quotas or self.today)

    def begin_sharing(self) -> bool:
        """Return whether to publish the calls so far to peers: true once, as soon as calls count."""
        if self.shared or not self.counted:
            return False
        self.shared = True
        return True

    @property
    def measured(self) -> bool:
        """Whether a quota is known so well that calls are limited by it."""
        return any(quota.window is not None for quota in self.quotas.values())

    def limit_size(self, size: int, until: float, now: float) -> None:
        """Accept no request of `size` bytes or more until a moment: one had too many tokens for the quota."""
        if self.too_large_until > now:
            size, until = min(size, self.too_large), max(until, self.too_large_until)
        self.too_large, self.too_large_until = size, until

    def accepts(self, size: int, now: float) -> bool:
        """Return whether what is left of the token quotas may suffice for a request of `size` bytes."""
        return size < self.too_large or now >= self.too_large_until

    def free_at(self) -> float:
        """Return when one more call can be made, after all that are known; the past means now."""
        calls, moment = self.calls, 0.0
        for quota in self.quotas.values():
            moment = max(moment, quota.free_at(calls))
        if self.today and self.today.used >= self.today.requests:
            moment = max(moment, self.today.ends)
        if self.bench:
            moment = max(moment, self.bench.benched_until)
            # The bench is over, but not refuted: one call at a time finds out, unless a quota is known.
            if calls and self._is_unrefuted(self.bench, calls[-1]) and not self.measured:
                moment = max(moment, calls[-1] + HEAD_START)
        return max(moment, self.open_until()) if self._at_once else moment

    @staticmethod
    def _is_unrefuted(bench: Bench, call: float) -> bool:
        # What was only suspected is not worth much caution, once some time has passed.
        until = bench.benched_until
        return until <= call and (not bench.suspected or call <= until + _SUSPICIOUS)

    def open_until(self) -> float:
        """Return until when no other call may be made, since too many are open; 0 if not so."""
        if not 0 < self._at_once <= len(self._open) or self.measured:
            return 0.0
        return self._open[-self._at_once] + HEAD_START

    def left(self, now: float) -> int | None:
        """Return how many calls the quotas permit now; None if no quota is known."""
        least = None
        for quota in self.quotas.values():
            left = quota.left(self.calls, now)
            least = left if least is None or left < least else least
        return least

    def add(self, at: float, now: float, *, mine: bool) -> None:
        """Count a call that is sent, or will be. `mine` is whether its response arrives in this process."""
        calls = self.calls
        if calls and calls[0] < now - REMEMBERED - _PRUNED:
            del calls[: bisect_right(calls, now - REMEMBERED)]
        if not calls or at >= calls[-1]:
            calls.append(at)
        else:
            insort(calls, at)
        if mine:
            insort(self._open, at)
        for quota in self.quotas.values():
            quota.widen(now)
        if self.today:
            self.today.used += 1

    def learn_again(self, now: float) -> bool:
        """Learn from the first refusal again, with the calls of peers; returns whether the quota changed."""
        first = self._first_refusal
        if first is None or now > first.ends:
            self._first_refusal = None
            return False
        former = self.quotas[first.limit.quota]
        quota = self.quotas[first.limit.quota] = Quota.of(first.limit, former.known_since)
        calls, unsure = self._served_before(first.at, quota.requests)
        quota.refused(quota.requests, calls, first.wait, first.at, unsure)
        return (quota.window, quota.allowed) != (former.window, former.allowed)

    def remove(self, at: float) -> None:
        """Stop counting a call that was not made, or not served."""
        _discard(at, self._open)
        if _discard(at, self.calls) and self.today:
            self.today.used = max(0, self.today.used - 1)

    def served(self, at: float) -> bool:
        """Record that a call was served; returns whether more calls may be open at once for that."""
        _discard(at, self._open)
        if not self._at_once:
            return False
        self._at_once = self._at_once + 1 if self._at_once < _MANY else 0
        return True

    def quotas_to_json(self) -> tuple[dict[str, Any], list[float]]:
        """Return what peers are sent about the quotas: a JSON value and the moments."""
        quotas = {name: quota.to_json() for name, quota in self.quotas.items()}
        today, moments = self.today.to_json() if self.today else (None, [])
        return {"quotas": quotas, "today": today}, moments

    def learn_quotas(self, value: object, moments: Sequence[float], since: float, clock: Clock) -> None:
        """Apply what a peer sent about the quotas. Raises ValueError when the value is malformed.

        All calls since the moment `since` are known here.
        """
        match value:
            case {"quotas": dict(quotas), "today": today}:
                now = clock()
                learned = {str(name): Quota.from_json(quota, since, now) for name, quota in quotas.items()}
                if today is not None:
                    self.today = DailyQuota.from_json(today, moments, clock)
                for name, quota in learned.items():
                    self.quotas.setdefault(name, quota).follow(quota)
            case _:
                raise ValueError("not a set of quotas")

    def forget_bench(self, horizon: float) -> bool:
        """Forget the bench if it was over before this moment; returns whether it was."""
        is_old = self.bench is not None and self.bench.benched_until < horizon
        self.bench = None if is_old else self.bench
        return is_old

    def set_bench(self, bench: Bench) -> None:
        """Bench the project for the model."""
        self.bench = bench

    def end_bench(self) -> None:
        """End the bench. If no quota is known, calls begin one at a time: all at once would be refused."""
        if self.bench and not self.measured and not self.bench.suspected:
            self._at_once = 1
        self.bench = None

    def close(self, at: float) -> None:
        """Record that the call of this moment is not open any more; it stays counted."""
        _discard(at, self._open)

    def open_reserved(self, at: float) -> None:
        """Record that the call that was reserved for this moment is sent."""
        insort(self._open, at)

    def fits(self, at: float) -> bool:
        """Return whether the quotas permit the call at this moment, after those before it."""
        place = bisect_right(self.calls, at) - 1
        return all(quota.fits(self.calls, place) for quota in self.quotas.values())

    def overbooked(self, now: float) -> bool:
        """Return whether more calls are reserved than the quotas permit."""
        calls, quotas = self.calls, self.quotas.values()
        first = bisect_right(calls, now)
        return any(not quota.fits(calls, n) for quota in quotas for n in range(first, len(calls)))

    def refused(self, limit: Limit, wait: float, at: float, now: float, since: float, *, alone: bool) -> None:
        """Learn from a refusal for this limit of a call sent at `at`; Google asked to `wait` so many seconds.

        All calls since `since` are known. Unless this process is `alone`, peers may have made calls that are
        not known yet, and publish earlier ones once they know of this refusal.
        """
        if limit.seconds == DAY:
            self.today = DailyQuota(limit.requests, moment_of_day(now, wait), now + wait, limit.requests)
            return
        if limit.quota not in self.quotas:
            self.quotas[limit.quota] = Quota.of(limit, since)
            if not alone:
                self._first_refusal = _FirstRefusal(limit, wait, at, now + _PEERS_DELAY)
                return
        calls, unsure = self._served_before(at, limit.requests)
        unknown = 0 if alone else max(1, limit.requests // 10)
        self.quotas[limit.quota].refused(limit.requests, calls, wait, at, unsure + unknown)

    def _served_before(self, at: float, most: int) -> tuple[list[float], int]:
        """Return the calls before this one without those sent so lately that they may still be refused.

        Also returns how many those are. Earlier than that, the last `most`: no quota of so many needs more.
        """
        calls, unfinished = self.calls, frozenset(self._open)
        end = bisect_left(calls, at)
        begin = bisect_left(calls, at - HEAD_START, 0, end)
        lately = calls[begin:end]
        served = [call for call in lately if call not in unfinished]
        return calls[max(0, begin - most) : begin] + served, len(lately) - len(served)

    def absorb(self, other: "Limiter") -> None:
        """Merge the limiter of another project for this model: both projects are the same."""
        if other.bench and (not self.bench or other.bench.benched_until > self.bench.benched_until):
            self.bench = other.bench
        self.quotas = other.quotas | self.quotas
        if other.today and self.today:
            self.today.used += other.today.used
        self.today = self.today or other.today
        self.calls = sorted(self.calls + other.calls)
        self._open = sorted(self._open + other._open)
        self.shared |= other.shared

    def update_day_end(self, clock: Clock) -> None:
        """Recompute what ends with a Google day, by the wall clock as it is set now."""
        for lasting in (self.bench, self.today):
            if lasting:
                lasting.update_day_end(clock)

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock.

        For each quota, by Google's name: Google's limit (`requests` in `period` seconds), the limit that is
        applied (`allowed` in `window` seconds, null while that is not known), and how many are `left`.
        Suspected benches are left out.
        """
        now = clock()
        quotas = {
            name: {
                "requests": quota.requests,
                "period": quota.period,
                "allowed": quota.allowed,
                "window": quota.window,
                "left": max(0, quota.left(self.calls, now)),
            }
            for name, quota in self.quotas.items()
        }
        today = self.today.snapshot(clock) if self.today else None
        bench = self.bench.snapshot(clock) if self.bench and not self.bench.suspected else None
        return {"bench": bench, "quotas": quotas, "today": today}


def _discard(moment: float, moments: list[float]) -> bool:
    """Remove one moment from a sorted list; returns whether it was there."""
    place = bisect_left(moments, moment)
    if place == len(moments) or moments[place] != moment:
        return False
    del moments[place]
    return True
