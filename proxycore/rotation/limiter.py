"""The limits of one Google project for one model, and what is used of them: bench, quotas, calls. Pure.

A call is the moment at which it was sent, or will be sent: waiters reserve calls.
Times are the clock's moments, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import Limit
from proxycore.rotation.bench import Bench
from proxycore.rotation.call_log import NO_CALLS, REMEMBERED, CallLog
from proxycore.rotation.daily_quota import DailyQuota
from proxycore.rotation.quota import TOLERANCE, Quota, QuotaRefusal
from proxycore.rotation.quotas import Quotas
from proxycore.rotation.reliability import RELIABLE, Reliability
from proxycore.rotation.size_limit import ANY_SIZE, SizeLimit

HEAD_START = 0.25
"""Seconds that the first call after a bench has to itself: refusals come faster than that."""

_PEERS_DELAY = 1.0  # seconds that peers may take to publish their calls
_AMPLE = 1.1  # of the tokens that a prompt is estimated to have
_MANY = 16  # open calls: a project that served with so many may have any number


@dataclass(eq=False, slots=True)
class Limiter:
    """The limits of one project for one model. `shared` is whether calls are published to peers."""

    bench: Bench | None = None
    quotas: Quotas = field(default_factory=Quotas)
    today: DailyQuota | None = None
    log: CallLog = field(default_factory=CallLog)
    shared: bool = False
    reliability: Reliability = RELIABLE
    _size: SizeLimit = ANY_SIZE
    _first_refusal: QuotaRefusal | None = None  # learned from again as peers publish their calls
    _at_once: int = 0  # calls that may be open at once, after a bench; 0: any number
    _uncertain: float = -inf  # the last call that was made though others have probably left no room for it

    def is_idle(self, now: float) -> bool:
        """Return whether there is nothing to remember."""
        if self.counted or self.reliability.failures or self._size.until > now:
            return False
        return not self.log.moments or self.log.moments[-1] < now - REMEMBERED

    @property
    def counted(self) -> bool:
        """Whether calls count against anything that is known, so that peers have to know them."""
        return bool(self.bench or self.quotas.each or self.today)

    def begin_sharing(self) -> bool:
        """Return whether to publish the calls so far to peers: true once, as soon as calls count."""
        if self.shared or not self.counted:
            return False
        self.shared = True
        return True

    def fail(self, now: float) -> None:
        """Record a call that failed while another project served the same request."""
        self.reliability = self.reliability.failed(now)

    def succeed(self, now: float) -> None:
        """Record a call that was served, which counts against former failures."""
        self.reliability = self.reliability.succeeded(now)

    # When there is room.

    def limit_size(self, tokens: int, until: float, now: float) -> None:
        """Accept no prompt of so many tokens or more until a moment: one had too many for the quota."""
        self._size = self._size.with_another(tokens, until, now)

    def free_at(self, tokens: int = 0) -> float:
        """Return when one more call can be made, after all that are known; the past means now."""
        log, moment = self.log, self._uncertain + HEAD_START
        for quota in self.quotas.each:
            moment = max(moment, quota.free_at(log, tokens))
        if self.today and self.today.spent:
            moment = max(moment, self.today.ends)
        if tokens and tokens >= self._size.tokens:
            moment = max(moment, self._size.until)
        if self.bench:
            moment = max(moment, self.bench.benched_until)
            if log.moments and self._is_unrefuted(self.bench, log.moments[-1]):
                moment = max(moment, log.moments[-1] + HEAD_START)
        return max(moment, self.open_until()) if self._at_once else moment

    def _is_unrefuted(self, bench: Bench, call: float) -> bool:
        # One call at a time finds out, unless the spent quota is known.
        return (bench.day_of is not None or not self.quotas.each) and bench.is_unrefuted(call)

    def open_until(self) -> float:
        """Return until when no other call may be made, since too many are open; 0 if not so."""
        calls = self.log.open
        if not 0 < self._at_once <= len(calls) or self.quotas.each:
            return 0.0
        return calls[-self._at_once] + HEAD_START

    def prospect(self, now: float, tokens: int = 0) -> float | None:
        """Return how good a choice it is for a call with so many tokens; None if no quota is known.

        It is the number of calls that are estimated to be free, times their share of the quota, since a call
        is the more likely to be refused the less is left. Of tokens it is more where less is left, if that
        is enough: so there is room elsewhere for larger prompts.
        """
        least = None
        for quota in self.quotas.each:
            left = max(0.0, quota.left(self.log, now))
            if not quota.of_tokens:
                prospect = left * left / quota.limit
            elif tokens:
                prospect = quota.limit / (left + tokens) if left >= _AMPLE * tokens else 0.0
            else:
                continue
            least = prospect if least is None or prospect < least else least
        return least

    def fits(self, at: float) -> bool:
        """Return whether the quotas permit the call that is reserved for this moment, after those before."""
        place = self.log.after(at) - 1
        return place < 0 or all(quota.fits(self.log, place) for quota in self.quotas.each)

    def overbooked(self, now: float) -> bool:
        """Return whether more calls are reserved than the quotas permit."""
        log, quotas = self.log, self.quotas.each
        return any(not quota.fits(log, n) for quota in quotas for n in range(log.after(now), len(log)))

    # Calls.

    def add(self, at: float, now: float, tokens: int = 0, *, mine: bool) -> None:
        """Count a call that is sent, or will be. `mine` is whether its response arrives in this process."""
        log = self._own_log()
        if tokens and any(quota.of_tokens and tokens > quota.limit for quota in self.quotas.each):
            tokens = 0  # it will be refused, and is not to hold back others until then
        place = log.add(at, now, tokens)
        if mine:
            log.begin(at)
        for quota in self.quotas.each:
            quota.add(log, place)
            if quota.others.level and not mine and at <= quota.others.seen_at:
                quota.others.reveal(tokens if quota.of_tokens else 1)
            if quota.others.level and quota.left(log, at) < 0:
                self._uncertain = max(at, self._uncertain)  # its response is awaited before the next one
        if self.today:
            self.today.count(at)

    def remove(self, at: float) -> None:
        """Stop counting a call that was not made, or not served."""
        log = self.log
        log.end(at)
        if at == self._uncertain:
            self._uncertain = -inf
        if log.remove(at) and self.today:
            self.today.uncount(at)
        if not log.moments and not log.open:
            self.log = NO_CALLS

    def served(self, at: float) -> bool:
        """Record that a call was served; returns whether more calls may be open at once for that."""
        self.log.end(at)
        if at == self._uncertain:
            self._uncertain = -inf
            return True
        if not self._at_once:
            return False
        self._at_once = self._at_once + 1 if self._at_once < _MANY else 0
        return True

    def learn_from_served(self, at: float, now: float) -> bool:
        """Learn from a call that was served; returns whether the quotas are larger than was known."""
        log = self.log
        place = log.place(at) if self.quotas.each else -1
        if place < 0 or log.open_within(now - HEAD_START, at):
            return False  # those may still be refused, and then this one tells nothing
        return max(quota.served(log, place, now) for quota in self.quotas.each)

    def open_reserved(self, at: float) -> None:
        """Record that the call that was reserved for this moment is sent."""
        self._own_log().begin(at)

    def _own_log(self) -> CallLog:
        if self.log is NO_CALLS:
            self.log = CallLog()
        return self.log

    # Refusals.

    def spend_day(self, limits: Sequence[Limit], clock: Clock) -> None:
        """Learn from a refusal, which names these limits, that a quota of the day is spent."""
        self.today = DailyQuota.refused(self.today, limits, clock)

    def refused(self, refusal: QuotaRefusal, *, alone: bool) -> float:
        """Learn from a refusal for a quota of a short time; returns the seconds that the project has to rest.

        Unless this process is `alone`, peers may have made calls that are not known yet, and publish them
        once they know of this.
        """
        limit = refusal.limit
        if limit.quota not in self.quotas:
            self.quotas[limit.quota] = Quota.of(limit)
            if not alone:
                self._first_refusal = refusal
        return self.quotas[limit.quota].refused(self._served_before(refusal), refusal)

    def learn_again(self, now: float) -> bool:
        """Learn from the first refusal again, with the calls of peers; returns whether the quota changed."""
        first = self._first_refusal
        if first is None or now > first.now + _PEERS_DELAY:
            self._first_refusal = None
            return False
        former, quota = self.quotas[first.limit.quota], Quota.of(first.limit)
        quota.refused(self._served_before(first), first)
        if not quota.measured or (quota.window, quota.limit) == (former.window, former.limit):
            return False
        self.quotas[first.limit.quota] = quota
        return True

    def _served_before(self, refusal: QuotaRefusal) -> CallLog:
        """Return the calls of a quota's period before this one, without those that may still be refused.

        No quota needs more of the last ones than it has requests.
        """
        log, limit, at = self.log, refusal.limit, refusal.at
        unsure = log.open_within(at - HEAD_START, at)
        begin, end = log.after(at - limit.seconds * TOLERANCE), log.after(at)
        if limit.amount is not None and not limit.of_tokens:
            begin = max(begin, end - limit.amount - len(unsure))
        return log.part(begin, end, unsure)

    # What peers know, and what is shown.

    def quotas_to_json(self) -> tuple[dict[str, Any], list[float]]:
        """Return what peers are sent about the quotas: a JSON value and the moments."""
        today, moments = self.today.to_json() if self.today else (None, [])
        return {"quotas": self.quotas.to_json(), "today": today}, moments

    def learn_quotas(self, value: object, moments: Sequence[float], clock: Clock) -> None:
        """Apply what a peer sent about the quotas. Raises ValueError when the value is malformed."""
        match value:
            case {"quotas": dict(quotas), "today": today}:
                learned = Quotas.from_json(quotas, clock())
                if today is not None:
                    self.today = DailyQuota.from_json(today, moments, clock).merged(self.today)
                self.quotas.follow(learned)
            case _:
                raise ValueError("not a set of quotas")

    def forget_old(self, now: float, horizon: float) -> bool:
        """Forget old calls, and a bench that was over before `horizon`; returns whether nothing is left."""
        log = self.log
        if not log.open and (not log.moments or log.moments[-1] < now - REMEMBERED):
            self.log = NO_CALLS
        if self._first_refusal and self._first_refusal.now < now - _PEERS_DELAY:
            self._first_refusal = None
        if self.bench and self.bench.benched_until < horizon:
            self.bench = None
        return self.log is NO_CALLS and not self._at_once and self.is_idle(now)

    def set_bench(self, bench: Bench) -> None:
        """Bench the project for the model."""
        self.bench = bench

    def end_bench(self) -> None:
        """End the bench. If no quota is known, calls begin one at a time: all at once would be refused."""
        if self.bench and not self.quotas.each and not self.bench.suspected:
            self._at_once = 1
        self.bench = None

    def absorb(self, other: "Limiter") -> None:
        """Merge the limiter of another project for this model: both projects are the same."""
        if other.bench and (not self.bench or other.bench.benched_until > self.bench.benched_until):
            self.bench = other.bench
        self.quotas.absorb(other.quotas)
        if other.today and self.today:
            self.today.used += other.today.used
        self.today = self.today or other.today
        if other.log is not NO_CALLS:
            self._own_log().merge(other.log)
        self.shared |= other.shared

    def update_day_end(self, clock: Clock) -> None:
        """Recompute what ends with a Google day, by the wall clock as it is set now."""
        for lasting in (self.bench, self.today):
            if lasting:
                lasting.update_day_end(clock)

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock, without a suspected bench."""
        now = clock()
        quotas = self.quotas.snapshot(self.log, now)
        today = self.today.snapshot(clock) if self.today else None
        bench = self.bench.snapshot(clock) if self.bench and not self.bench.suspected else None
        return {"bench": bench, "quotas": quotas, "today": today}
