"""The limits of one Google project for one model, and its use of it: bench, quotas, calls. Pure.

A call is the moment at which it was sent, or will be: a waiter has reserved one.
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

_PRUNED = 5.0  # seconds between two times that old calls are forgotten: each time the rest is moved
_SUSPICIOUS = 2.0  # seconds after a suspicion for which one call at a time is made
_PEERS_DELAY = 1.0  # seconds that peers may take to publish the calls that they made
_MANY = 16  # calls at once, from which on any number may be


@dataclass(frozen=True, slots=True)
class _Lesson:
    """The refusal from which the length of a window was to be learned first."""

    limit: Limit
    told: float
    at: float
    ends: float  # until then, others tell of calls that were made before


@dataclass(eq=False, slots=True)
class Limiter:
    """One project, one model. `shared`: whether peers are told of the calls made here."""

    bench: Bench | None = None
    quotas: dict[str, Quota] = field(default_factory=dict)
    today: DailyQuota | None = None
    calls: list[float] = field(default_factory=list)  # in order of time
    shared: bool = False
    reliability: Reliability = field(default_factory=Reliability)
    too_large: int = 0  # bytes of a request, from which on it has too many tokens for what is left of a quota
    too_large_until: float = 0.0
    _scanner: _Lesson | None = None
    _open: list[float] = field(default_factory=list)  # in order; those whose answer is not there yet
    _at_once: int = 0  # calls that may be open at once, after a bench; 0: any number

    def idle(self, now: float) -> bool:
        """Whether there is nothing to remember."""
        if self.bench or self.quotas or self.today or self.reliability.failures or self.too_large_until > now:
            return False
        return not self.calls or self.calls[-1] < now - REMEMBERED

    @property
    def counted(self) -> bool:
        """Whether its calls are of interest to peers."""
        return bool(self.bench or self.quotas or self.today)

    def begin_sharing(self) -> bool:
        """Whether others are to be told of the calls so far: once, as soon as those are of interest."""
        if self.shared or not self.counted:
            return False
        self.shared = True
        return True

    @property
    def measured(self) -> bool:
        """Whether a quota is known so well that calls are limited by it."""
        return any(quota.window is not None for quota in self.quotas.values())

    def limit_size(self, size: int, until: float, now: float) -> None:
        """A request of so many bytes had too many tokens for what is left of a quota until then."""
        if self.too_large_until > now:
            size, until = min(size, self.too_large), max(until, self.too_large_until)
        self.too_large, self.too_large_until = size, until

    def accepts(self, size: int, now: float) -> bool:
        """Whether the rest of the quotas of tokens may suffice for a request of so many bytes."""
        return size < self.too_large or now >= self.too_large_until

    def free_at(self) -> float:
        """When one more call can be made, after all that are known; the past means now."""
        calls, moment = self.calls, 0.0
        for quota in self.quotas.values():
            moment = max(moment, quota.free_at(calls))
        if self.today and self.today.used >= self.today.requests:
            moment = max(moment, self.today.ends)
        if self.bench:
            moment = max(moment, self.bench.benched_until)
            # The bench is over, but not refuted: one call at a time finds out, if no quota tells.
            if calls and self._is_unrefuted(self.bench, calls[-1]) and not self.measured:
                moment = max(moment, calls[-1] + HEAD_START)
        return max(moment, self.open_until()) if self._at_once else moment

    @staticmethod
    def _is_unrefuted(bench: Bench, call: float) -> bool:
        # What was only suspected is not worth much caution, once some time has passed.
        until = bench.benched_until
        return until <= call and (not bench.suspected or call <= until + _SUSPICIOUS)

    def open_until(self) -> float:
        """Until when so many calls are open that no other may be made."""
        if not 0 < self._at_once <= len(self._open) or self.measured:
            return 0.0
        return self._open[-self._at_once] + HEAD_START

    def left(self, now: float) -> int | None:
        """How many calls can be made now, as far as quotas say; None if none does."""
        least = None
        for quota in self.quotas.values():
            left = quota.left(self.calls, now)
            least = left if least is None or left < least else least
        return least

    def add(self, at: float, now: float, *, mine: bool) -> None:
        """A call is sent, or will be. `mine` is whether its answer will be told."""
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
        """Others' calls became known; returns whether that tells more of the first refusal."""
        scanner = self._scanner
        if scanner is None or now > scanner.ends:
            self._scanner = None
            return False
        former = self.quotas[scanner.limit.quota]
        quota = self.quotas[scanner.limit.quota] = Quota.of(scanner.limit, former.known_since)
        calls, unsure = self._served_before(scanner.at)
        quota.refused(quota.requests, calls, scanner.told, scanner.at, unsure)
        return (quota.window, quota.allowed) != (former.window, former.allowed)

    def remove(self, at: float) -> None:
        """A call was not made, or not served."""
        _discard(at, self._open)
        if _discard(at, self.calls) and self.today:
            self.today.used = max(0, self.today.used - 1)

    def served(self, at: float) -> bool:
        """A call was served; returns whether others may follow sooner for that."""
        _discard(at, self._open)
        if not self._at_once:
            return False
        self._at_once = self._at_once + 1 if self._at_once < _MANY else 0
        return True

    def quotas_to_json(self) -> tuple[dict[str, Any], list[float]]:
        """What to write down of the quotas, and their moments apart."""
        quotas = {name: quota.to_json() for name, quota in self.quotas.items()}
        today, moments = self.today.to_json() if self.today else (None, [])
        return {"quotas": quotas, "today": today}, moments

    def learn_quotas(self, value: object, moments: Sequence[float], since: float, clock: Clock) -> None:
        """What was written down of the quotas elsewhere holds here, too; raises ValueError when it is none.

        All calls since `since` are known here.
        """
        match value:
            case {"quotas": dict(quotas), "today": today}:
                now = clock()
                told = {str(name): Quota.from_json(quota, since, now) for name, quota in quotas.items()}
                if today is not None:
                    self.today = DailyQuota.from_json(today, moments, clock)
                for name, quota in told.items():
                    self.quotas.setdefault(name, quota).follow(quota)
            case _:
                raise ValueError("not a set of quotas")

    def forget_bench(self, horizon: float) -> bool:
        """Forgets the bench if it was over before this moment; returns whether it was."""
        if self.bench is None or self.bench.benched_until >= horizon:
            return False
        self.bench = None
        return True

    def relieve(self) -> None:
        """The bench is over. Where no quota is known, calls begin slowly, lest all rush to be refused."""
        if self.bench and not self.measured and not self.bench.suspected:
            self._at_once = 1
        self.bench = None

    def settled(self, at: float) -> None:
        """A call was answered, with nothing to say about the quota."""
        _discard(at, self._open)

    def begin(self, at: float) -> None:
        """The call that was reserved for this moment is sent: its answer will be told."""
        insort(self._open, at)

    def fits(self, at: float) -> bool:
        """Whether the call at this moment does not come too early after those before it."""
        place = bisect_right(self.calls, at) - 1
        return all(quota.fits(self.calls, place) for quota in self.quotas.values())

    def overbooked(self, now: float) -> bool:
        """Whether more calls are reserved than can be made."""
        calls, quotas = self.calls, self.quotas.values()
        first = bisect_right(calls, now)
        return any(not quota.fits(calls, n) for quota in quotas for n in range(first, len(calls)))

    def refused(self, limit: Limit, told: float, at: float, now: float, since: float, *, alone: bool) -> None:
        """A call that was sent at `at` was refused for this limit, with room promised in `told` seconds.

        All calls since `since` are known. Unless we are alone, others may have made some in the last moment,
        and may tell of earlier ones when they hear of this.
        """
        if limit.seconds == DAY:
            self.today = DailyQuota(limit.requests, moment_of_day(now, told), now + told, limit.requests)
            return
        if limit.quota not in self.quotas:
            self.quotas[limit.quota] = Quota.of(limit, since)
            if not alone:
                self._scanner = _Lesson(limit, told, at, now + _PEERS_DELAY)
                return
        calls, unsure = self._served_before(at)
        unheard = 0 if alone else max(1, limit.requests // 10)
        self.quotas[limit.quota].refused(limit.requests, calls, told, at, unsure + unheard)

    def _served_before(self, at: float) -> tuple[list[float], int]:
        """The calls before this one, less those that were sent so lately that they may be refused as well.

        Also how many those are.
        """
        before = self.calls[: bisect_left(self.calls, at)]
        unanswered = frozenset(self._open)
        served = [call for call in before if call not in unanswered or call < at - HEAD_START]
        return served, len(before) - len(served)

    def absorb(self, other: "Limiter") -> None:
        """The other was about the same project and model."""
        if other.bench and (not self.bench or other.bench.benched_until > self.bench.benched_until):
            self.bench = other.bench
        self.quotas = other.quotas | self.quotas
        if other.today and self.today:
            self.today.used += other.today.used
        self.today = self.today or other.today
        self.calls = sorted(self.calls + other.calls)
        self._open = sorted(self._open + other._open)
        self.shared |= other.shared

    def reckon_day(self, clock: Clock) -> None:
        """What lasts until the end of Google's day ends by the wall clock as it is set now."""
        for lasting in (self.bench, self.today):
            if lasting:
                lasting.reckon_day(clock)

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """What there is to know, as JSON has it, times by the wall clock.

        Of each quota by Google's name what Google says (`requests` in `period` seconds), what is gone by
        (`allowed` in `window` seconds, null as long as that is not known), and how many are `left`.
        A bench that is only suspected is none.
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
        today = None
        if self.today:
            left = max(0, self.today.requests - self.today.used)
            until = clock.to_wall(self.today.ends)
            today = {"requests": self.today.requests, "left": left, "until": until}
        bench = self.bench.snapshot(clock) if self.bench and not self.bench.suspected else None
        return {"bench": bench, "quotas": quotas, "today": today}


def _discard(moment: float, moments: list[float]) -> bool:
    """Removes one moment from a sorted list; returns whether it was there."""
    place = bisect_left(moments, moment)
    if place == len(moments) or moments[place] != moment:
        return False
    del moments[place]
    return True
