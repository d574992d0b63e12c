"""Counts how often in a row Google called a key dead (suspended, leaked, not valid), and what follows. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass

from proxycore.gemini.verdict import DAY

_BENCHES = (2.0, 10.0, 60.0, 600.0, 3600.0, DAY)  # seconds of a bench, by the times in a row
_PROVED = 3  # times in a row, from which on a key is retired
_PROVED_IN_SEARCH = 60.0  # seconds it has to last when all other keys are called dead as well


@dataclass(slots=True)
class Deaths:
    """How many `times` in a row a key was called dead, since `first_at`."""

    times: int = 0
    first_at: float = 0.0
    _last_at: float = 0.0

    @property
    def bench_seconds(self) -> float:
        """Seconds that the key is benched for after so many times."""
        return _BENCHES[min(self.times, len(_BENCHES)) - 1]

    @property
    def proved(self) -> bool:
        """Whether it was called dead so often that it is retired."""
        return self.times >= _PROVED

    def proved_for_long(self, now: float) -> bool:
        """Whether that holds even if all other keys are called dead as well."""
        return self.proved and now >= self.first_at + _PROVED_IN_SEARCH

    def add(self, now: float) -> None:
        """The key was called dead. During the bench of the last time, that counts as the same time."""
        if not self.times:
            self.first_at = now
        if not self.times or now >= self._last_at + self.bench_seconds:
            self.times, self._last_at = self.times + 1, now

    def refute(self, sent_at: float) -> None:
        """A model served a call: the count starts anew, unless it was sent before the last death."""
        if sent_at >= self._last_at:
            self.times = 0

    def clear(self) -> None:
        """Start again: the next time is the first."""
        self.times = 0

    def continue_from(self, times: int, first_at: float) -> None:
        """Continue after so many times, the strikes of its retirement: the key is about to be probed."""
        self.times, self.first_at = times + 1, first_at
