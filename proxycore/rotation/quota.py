"""A learned quota: how many calls Google lets a project make, and in which time. Pure.

Nothing is assumed. A refusal names the quota that was spent, its value, and how long to wait; together with
the known calls, that gives the length of the window that Google counts in. From then on no call is made that
would be refused, as far as the calls are known.

If others spend the same quota, refusals come early. The quota is then narrowed at once to the calls that were
served, and widened again step by step; every refusal on the way doubles the time to the next step.

Times are the clock's moments, in seconds.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.gemini.verdict import Limit

_SLACK = 0.01  # seconds by which the latency to Google may differ between two calls
_TOLERANCE = 1.02  # of the period that Google names: a longer window is not explained by the known calls
_NEAR = 0.01  # of the window: it need not be known more exactly, since each step may cost a refusal
_STEP = 0.25  # of the part of the window that may be too long
_WHOLE = 1.0  # seconds by which a wait in whole seconds may be too long: some are rounded up
_PATIENCE = 64.0  # periods between two steps, at most


@dataclass(slots=True)
class Quota:
    """A number of calls per window of time, in seconds.

    `requests` per `period` is Google's limit; `allowed` per `window` is the one that is applied. The window
    is None until a refusal could be explained by the known calls: until then no call is held back.
    """

    requests: int
    period: float
    known_since: float
    allowed: int
    window: float | None = None
    shortest: float = 0.0  # a window that was too short, or the shortest that was possible at first
    before: float = 0.0  # the window before the last step; 0 if that was undone, or there was none
    learned_at: float = 0.0  # when a refusal last made the window longer
    widen_at: float = 0.0
    patience: float = 1.0  # windows between two steps

    @classmethod
    def of(cls, limit: Limit, known_since: float) -> "Quota":
        """Return a quota that a refusal has just named; all calls since `known_since` are known."""
        return cls(limit.requests, limit.seconds, known_since, limit.requests)

    def to_json(self) -> list[Any]:
        """Return what peers are sent, as JSON: Google's limit and the one that is applied."""
        return [self.requests, self.period, self.allowed, self.window, self.shortest]

    @classmethod
    def from_json(cls, value: object, known_since: float, now: float) -> "Quota":
        """Return the quota that a peer sent. Raises ValueError when the value is none.

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

    def follow(self, peers: "Quota") -> None:
        """Take over what a peer knows of the same quota."""
        self.requests, self.period, self.allowed = peers.requests, peers.period, peers.allowed
        self.window, self.shortest, self.widen_at = peers.window, peers.shortest, peers.widen_at

    def free_at(self, calls: Sequence[float]) -> float:
        """Return when one more call can be made, after these (in order of time); the past means now."""
        if self.window is None or len(calls) < self.allowed:
            return 0.0
        return calls[-self.allowed] + self.window

    def left(self, calls: Sequence[float], now: float) -> int:
        """Return how many calls can be made now, after these; may be less than 0."""
        if self.window is None:
            return self.allowed
        return self.allowed - (len(calls) - bisect_right(calls, now - self.window))

    def fits(self, calls: Sequence[float], place: int) -> bool:
        """Return whether the call at this index is not too early after those before it."""
        if self.window is None or place < self.allowed:
            return True
        return calls[place] >= calls[place - self.allowed] + self.window - _SLACK

    def refused(self, requests: int, calls: Sequence[float], wait: float, now: float, unknown: int) -> None:
        """Learn from a refusal of a call sent at `now`; Google asked to `wait`, `calls` were served before.

        `unknown` is how many others may have been made lately: without a response yet, or by peers.
        """
        if requests != self.requests:
            self.requests = self.allowed = requests
        if len(calls) >= requests > 0 and calls[-requests] >= self.known_since:
            # So long after the oldest of the last so many calls Google stops counting it.
            counted = now + wait - calls[-requests] + _SLACK
            if counted <= self.period * _TOLERANCE:
                unsure = calls[-max(1, requests - unknown)] - calls[-requests]
                self._explained(counted, counted - unsure - (0.0 if wait % 1 else _WHOLE), wait, now)
                return
        if now - self.known_since >= self.period:
            self._unexplained(calls, now, unknown)

    def widen(self, now: float) -> bool:
        """Take the next step, if it is time; returns whether it did."""
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

    def _explained(self, most: float, least: float, wait: float, now: float) -> None:
        """Learn the length of the window from a refusal that the known calls explain."""
        if self.window is None:
            self.window, self.shortest, self.learned_at = most, least, now
            self.widen_at = now + most
        elif most > self.window:
            if now - self.learned_at > self.window:
                # The window was right for a while, so it is lengthened no more than necessary.
                most = min(most, self.window + wait + _SLACK)
            self._lengthen(least, most, now)

    def _unexplained(self, calls: Sequence[float], now: float, unknown: int) -> None:
        """React to a refusal that they do not explain: the window is too short, or others use the quota."""
        if self.window is None:
            self.window = self.period
        elif self.before or bisect_right(calls, now - self.period) <= len(calls) - self.requests:
            self._lengthen(self.window, min(self.period, self.window / (1 - _STEP)), now)
            return
        mine = len(calls) - bisect_right(calls, now - self.window)
        if mine + unknown < self.allowed:
            self.allowed = max(1, mine)
            self._put_off(now)

    def _lengthen(self, least: float, otherwise: float, now: float) -> None:
        """Lengthen a window that was too short: to that before the last step, if it is long enough."""
        self.shortest = self.window or 0.0
        self.window = self.before if self.before >= least else otherwise
        self.before, self.learned_at = 0.0, now
        self._put_off(now)

    def _put_off(self, now: float) -> None:
        self.patience = min(2 * self.patience, _PATIENCE)
        self.widen_at = now + self.patience * (self.window or self.period)
