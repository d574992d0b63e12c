"""The figures of all processes that serve together: the sums of their counters, and their activity. Pure.

Counters of a process that has ended stay in the sums, so that these never decrease.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from proxycore.stats.counters import Counters, Entry
from proxycore.stats.history import forget_old
from proxycore.stats.meter import Meter

_LATELY = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """The counters' sums over all processes, and what is in progress in each, as `Meter.now` has it."""

    counters: Counters
    processes: list[dict[str, Any]]

    def asked(self, now: float, within: float = _LATELY) -> set[str]:
        """Return the models that clients asked for within so many seconds, ten minutes by default."""
        asked = (entry for one in self.processes for entry in one["asked"].items())
        return {model for model, at in asked if at > now - within}

    def served_at(self, model: str) -> float:
        """Return when a model last served a client; minus infinity if it has not since the start."""
        return max((one["served"].get(model, -inf) for one in self.processes), default=-inf)

    @property
    def proven(self) -> set[str]:
        """The names of the keys that served since they were added."""
        return {
            name for one in self.processes for name, (_, first_bytes) in one["keys"].items() if first_bytes
        }


class FiguresError(Exception):
    """The figures of the other processes can't be read now."""


class FiguresSource(Protocol):
    """Where the figures of all processes are read."""

    @property
    def meter(self) -> Meter:
        """This process's own meter, which the figures include."""

    async def read(self) -> Figures:
        """Return all figures as of now. Raises FiguresError when those of other processes can't be read."""


class LocalFigures:
    """The figures of a process that serves alone."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    async def read(self) -> Figures:
        """Return all figures as of now."""
        self.meter.catch_up()
        return Figures(self.meter.counters, [self.meter.now()])


class FiguresSum:
    """Adds up what processes report. `clock` returns the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counters = Counters()
        self._forget_at = 0.0  # when minutes are
        self._activities: dict[Hashable, Sequence[dict[str, Any]]] = {}

    def add(self, process: Hashable, counts: Iterable[Entry], activity: Sequence[dict[str, Any]]) -> None:
        """Add a process's counts since its last report; its activity replaces that of the last report."""
        self._counters.merge(counts)
        now = self._clock()
        if now >= self._forget_at:
            self._forget_at = 60.0 * (now // 60 + 1)
            forget_old(self._counters, now)
        self._activities[process] = activity

    def remove(self, process: Hashable) -> None:
        """Remove the activity of a process that has ended; its counts stay in the sums."""
        self._activities.pop(process, None)

    def read(self) -> Figures:
        """Return the sums as of now."""
        return Figures(self._counters, [one for activity in self._activities.values() for one in activity])
