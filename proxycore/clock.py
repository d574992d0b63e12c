"""The clock: steady moments for everything that waits, and the wall clock for people and for Google's days.

A wall clock may be set at any time (by NTP after a boot, by hand). That must not affect waits, so all moments
inside the program are steady: they start at the wall clock's value and advance with the time since boot. Only
what people read, and what Google counts by the wall (midnight in Los Angeles), is converted, at the edges.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

_STEP = 0.25  # seconds: less is no setting, and leaves what people are shown as it is

_since_boot: Callable[[], float]
if sys.platform == "linux":
    # Unlike CLOCK_MONOTONIC, it goes on while a laptop is suspended, as the quotas at Google do.
    _since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
else:
    _since_boot = time.perf_counter  # on Windows, that of `monotonic` goes in steps of 16 ms


def _since_epoch() -> float:
    return time.time()


class Clock:
    """Calling it returns the steady moment, in seconds; moments can only be compared and subtracted.

    All processes of a host have to share one, made before they are forked, to mean the same by a moment.
    `steady` and `wall` are where it reads the time, in seconds.
    """

    def __init__(
        self, steady: Callable[[], float] = _since_boot, wall: Callable[[], float] = _since_epoch
    ) -> None:
        self._steady = steady
        self._wall = wall
        self._start = wall() - steady()
        self._ahead = 0.0  # seconds that the wall clock is ahead of the moments, when last compared

    def __call__(self) -> float:
        """The moment."""
        return self._steady() + self._start

    def wall(self) -> float:
        """The wall clock, in seconds since the epoch."""
        return self._wall()

    def to_wall(self, moment: float) -> float:
        """What the wall clock shows at a moment, in seconds since the epoch, unless it is set before that."""
        return moment + self._ahead

    def compare(self) -> float:
        """Compare with the wall clock; returns by how many seconds it was set since the last comparison.

        Zero if it was not. From then on `to_wall` goes by the wall clock as it was set.
        """
        before = self()
        wall = self.wall()
        after = self()
        step = wall - self.to_wall((before + after) / 2)
        if abs(step) <= _STEP + (after - before):
            return 0.0
        self._ahead += step
        return step
