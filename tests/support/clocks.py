"""Clocks that tests turn, or that go by the running loop."""

import asyncio

from proxycore.clock import Clock


class TurnedClock(Clock):
    """A clock that a test turns, and whose wall clock it sets. Moments begin at `now`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.set_by = 0.0  # seconds that the wall clock is ahead
        super().__init__(lambda: self.now, lambda: self.now + self.set_by)

    def turn(self, seconds: float) -> None:
        self.now += seconds

    def set_wall(self, seconds: float) -> None:
        """Sets the wall clock forward, or back by negative seconds."""
        self.set_by += seconds


CLOCK = Clock()
"""The real one, as all processes of a host have it."""


def loops_clock() -> Clock:
    """A clock that goes by the running loop: for tests whose loop is turned."""
    time = asyncio.get_running_loop().time
    return Clock(time, time)
