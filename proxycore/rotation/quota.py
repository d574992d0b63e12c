"""A learned quota: how much Google lets a project use, and in which time. Pure.

What is free is estimated, and every response corrects the estimate:

    limit - what the known calls used in the window - what others used (`other_usage`)

A refusal names the quota that was spent, mostly with its limit, and how long to wait; together with the known
calls that gives the length of the window. A call that is served although the quota was spent shows that more
is allowed: the window is shorter than was thought, or the limit was raised. So once in a while a call is made
in spite of a spent quota, as a probe. Whatever was learned too low is corrected by those, and whatever was
learned too high by a refusal.

The known calls hold further calls back, since they are certain. What others use is not: it only makes the
project a worse choice.

Times are the clock's moments, in seconds; amounts are requests or tokens.
"""

import math
from dataclasses import dataclass
from typing import Any

from proxycore.gemini.verdict import Limit
from proxycore.rotation.call_log import CallLog
from proxycore.rotation.other_usage import NOBODY, OtherUsage

_SLACK = 0.01  # seconds by which the latency to Google may differ between two calls
TOLERANCE = 1.02
"""Of the period that Google names: calls may be that much farther apart when they arrive there."""

_CALLS_PER_PROBE = 64  # so that refused probes cost little
_PROBE_AFTER = 4.0  # windows after which a probe is made in any case
_ROUNDED = 1.0  # seconds
_SHRUNK = 0.5  # of the window, after which a probe is made; as much is left of it at least if that is served
_NEAR = 0.02  # of the window: it need not be known more exactly, since each step may cost a refusal
_EVENLY = 0.9  # of the mean time between two calls of a spent quota: less, so that none is lost for a delay
_SHORTEST = 0.01  # of the period: no window of Google's is so much shorter than it says
_LOWERED = 0.3  # of the difference, when a limit that Google does not tell turns out to be lower
_MOST_MISSES = 4  # unexplained refusals in a row that double the time to wait, where none is told


@dataclass(frozen=True, slots=True)
class QuotaRefusal:
    """A refusal for a `limit`, that arrived `now`, of a call with so many `tokens` that was sent at `at`.

    Google asked to `wait` so many seconds; None if it did not say.
    """

    limit: Limit
    wait: float | None
    at: float
    now: float
    tokens: int = 0


@dataclass(slots=True)
class Quota:
    """An amount (`limit`) in any `window` of time; of tokens, or of requests.

    `period` is the window that Google names. `told` is whether Google told the limit; if not, it is counted.
    `probe_at` is when a probe may be made though the quota is spent, and `probe` the moment of the last one.
    """

    period: float
    of_tokens: bool = False
    limit: int = 0
    told: bool = False
    window: float = 0.0
    measured: bool = False  # whether a refusal was explained; until then no call is held back
    doubt: float = 0.0  # seconds by which the window may be too long: calls are made in the middle
    former: float = 0.0  # the window before the last probe that was served; 0: none
    others: OtherUsage = NOBODY
    probe_at: float = math.inf
    probe: float = -math.inf
    misses: int = 0  # unexplained refusals in a row
    missed_at: float = -math.inf  # when the last one arrived
    spread_until: float = 0.0  # until when calls are made evenly
    name: str = ""  # Google's, once it is known

    @classmethod
    def of(cls, limit: Limit) -> "Quota":
        """Return a quota that a refusal has just named, before anything is learned from that."""
        return cls(limit.seconds, limit.of_tokens, window=limit.seconds)

    def to_json(self) -> list[Any]:
        """Return what peers are sent, as JSON."""
        window = [self.window, self.measured]
        return [self.limit, self.told, self.of_tokens, self.period, window, self.others.average]

    @classmethod
    def from_json(cls, value: object, now: float) -> "Quota":
        """Return the quota that a peer sent. Raises ValueError when the value is none."""
        match value:
            case [
                int(limit),
                bool(told),
                bool(of_tokens),
                int() | float() as period,
                [int() | float() as window, bool(measured)],
                int() | float() as others,
            ] if limit > 0 and period * TOLERANCE >= window > 0:
                usage = OtherUsage(others, others, now) if others else NOBODY
                found = cls(period, of_tokens, limit, told, window, measured, others=usage)
                found.probe_at = now + window
                return found
        raise ValueError("not a quota")

    def follow(self, peers: "Quota") -> None:
        """Take over what a peer knows of the same quota."""
        if peers.measured or not self.measured or peers.limit != self.limit:
            self.window, self.measured, self.doubt = peers.window, peers.measured, 0.0
        self.limit, self.told, self.others = peers.limit, peers.told, peers.others
        self.probe_at = max(self.probe_at, peers.probe_at)

    def snapshot(self, log: CallLog, now: float) -> dict[str, Any]:
        """Return it as JSON for the status page.

        `requests` is Google's limit in `period` seconds, as far as it is known, or of `tokens`; `allowed` in
        `window` seconds is what is expected to be left by others, and `left` how much of that is free now.
        """
        others = self.others.at(now, self.window)
        return {
            "tokens" if self.of_tokens else "requests": self.limit,
            "period": self.period,
            "allowed": max(0, math.floor(self.limit - others)),
            "window": self.window,
            "left": max(0, math.floor(self.left(log, now))),
        }

    # When there is room.

    def free_at(self, log: CallLog, tokens: int = 0) -> float:
        """Return when one more call can be made, after all in the log; the past means now.

        A prompt with more tokens than the limit is free at once: only Google can tell that it is too large.
        """
        place = self._blocking(log, len(log), tokens)
        if place < 0:
            return 0.0
        oldest, window = log.moments[place], self.window
        moment = oldest + window - self.doubt / 2
        if self.spread_until > moment:
            even = log.moments[-1] + _EVENLY * window / self.limit
            moment = max(moment, min(even, self.spread_until))
        return min(moment, max(self.probe_at, oldest + window * _SHRUNK))

    def spread(self, until: float) -> None:
        """Make calls evenly until a moment, since more are wanted than the quota permits."""
        if not self.of_tokens:
            self.spread_until = until

    def rate(self, now: float) -> float:
        """Return how much may be used per second, as others leave it; infinity if the window is not known."""
        left = max(1.0, self.limit - self.others.at(now, self.window))
        return left / self.window if self.measured else math.inf

    def left(self, log: CallLog, now: float) -> float:
        """Return how much is estimated to be free now; may be less than 0."""
        used = self._used(log, log.after(now - self.window), len(log))
        return self.limit - used - self.others.at(now, self.window)

    def fits(self, log: CallLog, place: int) -> bool:
        """Return whether the call at this index is not too early after those before it, unless it probes."""
        return log.moments[place] == self.probe or not self._came_early(log, place)

    def add(self, log: CallLog, place: int) -> None:
        """Note that the call at this index was added to the log. If it is too early, it is the probe."""
        if self.probe_at != math.inf and self._came_early(log, place):
            self.probe = log.moments[place]
            self._put_off_probe(log, place)

    def _came_early(self, log: CallLog, place: int) -> bool:
        return self._is_early(log, place, log.moments[place], log.tokens(place, place + 1))

    def _is_early(self, log: CallLog, end: int, at: float, tokens: int) -> bool:
        """Whether a call at this moment, with so many tokens, is too early after those before the index."""
        before = self._blocking(log, end, tokens)
        return before >= 0 and at - log.moments[before] < self.window - self.doubt / 2 - _SLACK

    def _blocking(self, log: CallLog, end: int, tokens: int) -> int:
        """Return the index of the call that holds another one back (`_latest`); -1 if none does."""
        return self._latest(log, end, tokens) if self.measured else -1

    # What responses teach.

    def served(self, log: CallLog, place: int, now: float) -> bool:
        """Learn from a response that the call at this index was served; returns whether more is allowed.

        All calls before it were served as well.
        """
        self.misses = 0
        moment, tokens = log.moments[place], log.tokens(place, place + 1)
        before = self._blocking(log, place, tokens)
        if before >= 0 and moment - log.moments[before] < self.window - _SLACK:
            self._shorten(moment - log.moments[before], now)
            return True
        used = self._used(log, log.after(moment - self.window), place + 1)
        self.others.at_most(max(0, self.limit - used), moment, self.window)
        return False

    def _shorten(self, seen: float, now: float) -> None:
        """Learn that the window is no longer than this."""
        if seen >= self.window - self.doubt:
            self.doubt -= self.window - seen
            self.window = seen
            return
        self.former = self.window
        self.window = max(seen, self.window * _SHRUNK, self.period * _SHORTEST)
        self.doubt = 0.0
        self.others = NOBODY
        self.probe_at = now

    def refused(self, log: CallLog, refusal: QuotaRefusal) -> float:
        """Learn from a refusal; returns how many seconds the project has to rest.

        The log has the calls before the one that was refused, all of which were served.
        """
        at, tokens = refusal.at, refusal.tokens
        early = self._is_early(log, len(log), at, tokens)
        is_new = self._learn_limit(log, refusal.limit, at, early=early)
        before = self._latest(log, len(log), tokens)
        if before >= 0 and log.moments[before] > at - self.period * TOLERANCE:
            self._learn_window(log.moments[before], refusal.wait, at, is_new=is_new)
            rest = log.moments[before] + self.window - at
            rest = rest if refusal.wait is None else min(rest, refusal.wait)
        else:
            rest = self._unexplained(log, refusal)
        self._put_off_probe(log, len(log), at)
        return max(rest, 0.0)

    def _learn_limit(self, log: CallLog, limit: Limit, at: float, *, early: bool) -> bool:
        """Learn the limit, as Google tells it or as the calls show it; returns whether it is another one."""
        former = self.limit
        if limit.amount is not None:
            self.limit, self.told = limit.amount, True
        else:
            used = max(1, self._used(log, log.after(at - self.period), len(log)))
            if early or not former or used > former:
                self.limit = used
            elif used < former:
                self.limit -= math.ceil((former - used) * _LOWERED)
            self.told = False
        if self.limit != former and (self.told or early or not former):
            self.window, self.measured, self.doubt, self.former = self.period, False, 0.0, 0.0
            return True
        return False

    def _learn_window(self, oldest: float, wait: float | None, at: float, *, is_new: bool) -> None:
        """Learn how long Google counts: until the `oldest` of the calls that spent the limit leaves."""
        seen = at - oldest + _SLACK
        if self.doubt and self.window - self.doubt < seen < self.window:
            # The next calls are made in the middle of what is left, unless that is hardly a loss.
            self.doubt = self.window - seen if self.window - seen > _NEAR * self.window else 0.0
            return
        former, self.former = self.former, 0.0
        counted = max(seen, former) if wait is None else seen + wait
        if is_new or seen > self.window or (former and wait is not None):
            # Times without fractions may have been rounded either way.
            rounded = _ROUNDED if wait is not None and wait % 1 == 0 else 0.0
            exact = counted if wait is not None else max(counted, self.window)
            self.window = min(exact + rounded, self.period * TOLERANCE)
            self.doubt, self.measured = 2 * rounded, True

    def _unexplained(self, log: CallLog, refusal: QuotaRefusal) -> float:
        """Learn that others use the quota; returns how long to rest: as told, or until a place is likely."""
        at, tokens, wait = refusal.at, refusal.tokens, refusal.wait
        begin = log.after(at - self.window)
        used = self._used(log, begin, len(log)) + (tokens if self.of_tokens else 1)
        self.others = OtherUsage() if self.others is NOBODY else self.others
        self.others.at_least(self.limit - used + 1, at, self.window)
        share = (tokens if self.of_tokens else 1) / self.limit
        likely = min(1.0, share * 2**self.misses) * self.window
        # Once the first known call has left the window, there is room again, whatever was told.
        oldest = log.moments[begin] + self.window - at if begin < len(log) else self.window
        rest = min(likely if wait is None else wait, oldest)
        if at > self.missed_at:  # not under way together with the last one
            # Refused again and again: where Google counts refused calls too, trying is what spends the quota.
            rest = max(rest, likely) if self.misses else rest
            self.misses, self.missed_at = min(self.misses + 1, _MOST_MISSES), refusal.now
        return rest

    def _latest(self, log: CallLog, end: int, tokens: int) -> int:
        """Return the index of the call that has to leave the window before another one; -1 if none has to.

        Counted are the calls before the index `end`; the other one has so many tokens.
        """
        if self.of_tokens:
            return log.latest_with_tokens(end, self.limit - tokens + 1) if tokens <= self.limit else -1
        return max(end - self.limit, -1)

    def _used(self, log: CallLog, begin: int, end: int) -> int:
        return log.tokens(begin, end) if self.of_tokens else end - begin

    def _put_off_probe(self, log: CallLog, end: int, at: float | None = None) -> None:
        now = log.moments[end] if at is None else at
        calls = max(1, end - log.after(now - self.window))
        self.probe_at = now + min(_PROBE_AFTER, max(1.0, _CALLS_PER_PROBE / calls)) * self.window
