"""The account of one client: what it has used of each limit, and what may be granted to it. Pure.

A grant is counted when it is made, and taken back if it was not needed. What is in progress is known by
holder: the processes that requests were granted to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxycore.clock import Clock
from proxycore.stats.limits.client_limits import ClientLimits, Counted
from proxycore.stats.limits.window import DayWindow, Window, window_of

CONCURRENT = "concurrent"
"""The name of the limit of requests in progress."""

_PART = 16  # of what is left, so much at most is granted ahead of demand
_SOON = 1.0  # seconds after which a place may be free, since nobody knows when a response ends

Facts = tuple[list[tuple[str, list[int]]], list[float]]
"""What is counted, as JSON, and the moments in it."""


@dataclass(slots=True)
class Grant:
    """`count` requests that may be made `at` a moment, which may be a little later than now.

    If there are none: the `limit` that is reached, by its topic, and when it is worthwhile to ask again.
    """

    count: int
    at: float
    limit: str = ""
    opens: float = 0.0


class Account:
    """The account of a client with these limits."""

    def __init__(self, limits: ClientLimits, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, Window] = {}
        self._rates: list[tuple[Window, int, bool, str, float]] = []  # with what is of the rate
        self._requests: list[Window] = []
        self._tokens: list[Window] = []
        self._held: dict[object, int] = {}
        self.in_progress = 0
        self.closed: Grant | None = None  # what the process that keeps the ledger refused last
        self.change(limits)

    def change(self, limits: ClientLimits) -> None:
        """Apply new limits; what is counted stays."""
        self.limits = limits
        self.closed = None
        former = self._windows
        self._windows = {
            rate.topic: former.get(rate.topic) or window_of(rate, self._clock) for rate in limits.rates
        }
        self._rates = [
            (self._windows[rate.topic], rate.amount, rate.counted is Counted.REQUESTS, rate.topic, rate.early)
            for rate in limits.rates
        ]
        self._requests = [window for window, _, is_of_requests, *_ in self._rates if is_of_requests]
        self._tokens = [window for window, _, is_of_requests, *_ in self._rates if not is_of_requests]
        self._concurrent = limits.concurrent
        if limits.concurrent is None:
            self._held, self.in_progress = {}, 0

    def grant(self, holder: object, needed: int, ahead: int, share: float = 1.0) -> Grant:
        """Grant the requests that are `needed`, and up to `ahead` more; none if a limit is reached.

        One that is a little early for its limits is granted for the moment when there is room for it. Only
        this `share` of each limit counts.
        """
        now = self._clock()
        limit, opens, room, at = "", now, needed + ahead, now
        for window, amount, is_of_requests, topic, early in self._rates:
            window.roll(now)
            part = amount if share == 1.0 else max(1, int(amount * share))
            left = part - window.used
            if left <= 0:
                free = window.opens_at(part, now)
                if needed and free - now < early:
                    room, at = 1, max(at, free)
                elif free > opens or not limit:
                    limit, opens = topic, free
            elif is_of_requests and (room > 1 or not needed):
                room = min(room, max(left // _PART, min(needed, left)))
        if self._concurrent is not None:
            places = max(1, int(self._concurrent * share)) - self.in_progress
            if places <= 0 and not limit:
                limit, opens = CONCURRENT, now + _SOON
            room = min(room, needed, places)  # a place that is held ahead of demand is taken from others
        if limit or room <= 0:
            return Grant(0, now, limit, opens)
        self.note(holder, room, at)
        return Grant(room, at)

    def note(self, holder: object, count: int, at: float) -> None:
        """Count requests that were granted, here or elsewhere."""
        for window in self._requests:
            window.add(count, at)
        if self._concurrent is not None:
            self._held[holder] = self._held.get(holder, 0) + count
            self.in_progress += count

    def take_back(self, count: int, at: float) -> None:
        """Take back requests that were granted at a moment and not made; a negative count adds some."""
        for window in self._requests:
            if count > 0:
                window.remove(count, at)
            else:
                window.add(-count, at)

    def release(self, holder: object, count: int) -> None:
        """Note that so many requests of a holder have ended; a negative count, that they are in progress."""
        if self._concurrent is not None:
            held = self._held.get(holder, 0)
            left = held - count
            if left > 0:
                self._held[holder] = left
                self.in_progress -= count
            elif held:
                del self._held[holder]
                self.in_progress -= held

    def held_by(self, holder: object) -> int:
        """How many requests of a holder are in progress, if that is limited."""
        return self._held.get(holder, 0)

    def spend(self, tokens: int) -> None:
        """Count tokens that a response has reported."""
        now = self._clock()
        for window in self._tokens:
            window.roll(now)
            window.add(tokens, now)

    @property
    def idle(self) -> bool:
        """Whether nothing is counted, and nothing is in progress."""
        return not self.in_progress and not any(self.used().values())

    def update_day_ends(self) -> None:
        """Recompute the ends of days by the wall clock as it is set now."""
        for window in self._windows.values():
            if isinstance(window, DayWindow):
                window.update_day_end()

    def used(self) -> dict[str, int]:
        """What is used of each rate, by its topic."""
        now = self._clock()
        for window in self._windows.values():
            window.roll(now)
        return {topic: window.used_at(now) for topic, window in self._windows.items()}

    def facts(self) -> Facts:
        """What is counted, for writing down: each rate's topic and counts, and the moments of all counts."""
        self.used()
        entries = {topic: window.entries() for topic, window in self._windows.items()}
        counts = [(topic, [count for _, count in found]) for topic, found in entries.items()]
        return counts, [at for found in entries.values() for at, _ in found]

    def restore(self, counts: Sequence[tuple[str, Sequence[int]]], moments: Sequence[float]) -> None:
        """Count what was written down, of the rates for which nothing is counted yet."""
        rest, now = iter(moments), self._clock()
        for topic, numbers in counts:
            entries = [(min(next(rest), now), int(number)) for number in numbers]
            window = self._windows.get(topic)
            if window and not window.used:
                window.restore(entries)
