"""A learned quota: how many calls Google lets a project make, and in how long. Pure.

Nothing is assumed. A refusal names the quota that was spent, its value, and when there is room again; with
the known calls, that gives the length of the window that Google counts in. From then on no call is made that
would be refused, as far as the calls are known.

What others spend on the same quota shows as an early refusal. The quota is then narrowed at once, to what
was really had, and widened again step by step; every refusal on the way doubles the time to the next step.

Times are the clock's moments, in seconds.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.gemini.verdict import Limit

_SLACK = 0.01  # seconds: the way to Google is not always as long as it was for the call that now falls out
_TOLERANCE = 1.02  # of the named period: more than that is not explained by our own calls
_NEAR = 0.01  # of the window: nearer than that it need not be known, each step may cost a refusal
_STEP = 0.25  # of what the period is thought to be too long
_WHOLE = 1.0  # seconds that a told time may be off which has no fraction: some are rounded up
_PATIENCE = 64.0  # periods between two steps, at most


@dataclass(slots=True)
class Quota:
    """So many calls in so many seconds.

    `requests` and `period` are what Google says; `allowed` and `window` limit our calls. The window is None
    until a refusal could be explained by the calls that are known: until then the quota holds nothing back.
    """

    requests: int
    period: float
    known_since: float
    allowed: int
    window: float | None = None
    shortest: float = 0.0  # what was too short, or the least that it could be at first
    before: float = 0.0  # the window before the last step; 0 if that was taken back, or never was one
    learned_at: float = 0.0  # when a refusal last made the window longer
    widen_at: float = 0.0
    patience: float = 1.0  # windows between two steps

    @classmethod
    def of(cls, limit: Limit, known_since: float) -> "Quota":
        """A quota that a refusal just named; all calls since `known_since` are known."""
        return cls(limit.requests, limit.seconds, known_since, limit.requests)

    def to_json(self) -> list[Any]:
        """What to write down: what Google says, and our limits."""
        return [self.requests, self.period, self.allowed, self.window, self.shortest]

    @classmethod
    def from_json(cls, value: object, known_since: float, now: float) -> "Quota":
        """The quota that was written down; raises ValueError when it is none.

        All calls since `known_since` are known. The next step is a window from now.
        """
        match value:
            case [
                int(requests),
                int() | float() as period,
                int(allowed),
                window,
                int() | float() as shortest,
            ]:
                if window is None or isinstance(window, int | float):
                    widen_at = now + (window or period)
                    return cls(requests, period, known_since, allowed, window, shortest, widen_at=widen_at)
        raise ValueError("not a quota")

    def follow(self, told: "Quota") -> None:
        """Takes over what a peer knows of the same quota."""
        self.requests, self.period, self.allowed = told.requests, told.period, told.allowed
        self.window, self.shortest, self.widen_at = told.window, told.shortest, told.widen_at

    def free_at(self, calls: Sequence[float]) -> float:
        """When one more call can be made, after these (in order of time); the past means now."""
        if self.window is None or len(calls) < self.allowed:
            return 0.0
        return calls[-self.allowed] + self.window

    def left(self, calls: Sequence[float], now: float) -> int:
        """How many calls can be made now."""
        if self.window is None:
            return self.allowed
        return self.allowed - (len(calls) - bisect_right(calls, now - self.window))

    def fits(self, calls: Sequence[float], place: int) -> bool:
        """Whether the call at this place does not come too early after those before it."""
        if self.window is None or place < self.allowed:
            return True
        return calls[place] >= calls[place - self.allowed] + self.window - _SLACK

    def refused(self, requests: int, calls: Sequence[float], told: float, now: float, unheard: int) -> None:
        """A call sent at `now` was refused, room was promised in `told` seconds; `calls` are those served.

        `unheard`: calls that may have been made lately and are not answered, or not known here yet.
        """
        if requests != self.requests:
            self.requests = self.allowed = requests
        if len(calls) >= requests > 0 and calls[-requests] >= self.known_since:
            # Google lets go of the oldest of the last so many calls after this time.
            counted = now + told - calls[-requests] + _SLACK
            if counted <= self.period * _TOLERANCE:
                unsure = calls[-max(1, requests - unheard)] - calls[-requests]
                self._explained(counted, counted - unsure - (0.0 if told % 1 else _WHOLE), told, now)
                return
        if now - self.known_since >= self.period:
            self._unexplained(calls, now, unheard)

    def widen(self, now: float) -> bool:
        """Takes the next step, if it is time; returns whether it did."""
        if self.window is None or now < self.widen_at:
            return False
        if self.allowed < self.requests:
            self.allowed += 1
        elif self.window - self.shortest > max(_SLACK, _NEAR * self.window):
            self.before = self.window
            self.window -= (self.window - self.shortest) * _STEP
        self.patience = max(1.0, self.patience / 2)
        self.widen_at = now + self.patience * self.window
        return True

    def _explained(self, most: float, least: float, told: float, now: float) -> None:
        """Learns the length of the window from a refusal that the known calls explain."""
        if self.window is None:
            self.window, self.shortest, self.learned_at = most, least, now
            self.widen_at = now + most
        elif most > self.window:
            if now - self.learned_at > self.window:
                # It did for a while, so it is only as far off as it has to be.
                most = min(most, self.window + told + _SLACK)
            self._lengthen(least, most, now)

    def _unexplained(self, calls: Sequence[float], now: float, unheard: int) -> None:
        """Reacts to a refusal that they do not: the window was too short, or others use the quota as well."""
        if self.window is None:
            self.window = self.period
        elif self.before or bisect_right(calls, now - self.period) <= len(calls) - self.requests:
            self._lengthen(self.window, min(self.period, self.window / (1 - _STEP)), now)
            return
        mine = len(calls) - bisect_right(calls, now - self.window)
        if mine + unheard < self.allowed:
            self.allowed = max(1, mine)
            self._put_off(now)

    def _lengthen(self, least: float, otherwise: float, now: float) -> None:
        """The window was too short: the one before the last step comes back, if it is long enough."""
        self.shortest = self.window or 0.0
        self.window = self.before if self.before >= least else otherwise
        self.before, self.learned_at = 0.0, now
        self._put_off(now)

    def _put_off(self, now: float) -> None:
        self.patience = min(2 * self.patience, _PATIENCE)
        self.widen_at = now + self.patience * (self.window or self.period)
