"""How often in a row a key was called dead (suspended, leaked, not valid), and what follows from it. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass

from proxycore.gemini.verdict import DAY

_RESTS = (2.0, 10.0, 60.0, 600.0, 3600.0, DAY)  # seconds of rest, each time that a key is called dead
_PROVED = 3  # times in a row, from which on a key is retired
_PROVED_IN_SEARCH = 60.0  # seconds for which it is called so when all others are, too


@dataclass(slots=True)
class Deaths:
    """Of one key: how many `times` in a row it was called dead, since `first_at`."""

    times: int = 0
    first_at: float = 0.0
    _last_at: float = 0.0

    @property
    def rest(self) -> float:
        """Seconds that the key rests after so many times."""
        return _RESTS[min(self.times, len(_RESTS)) - 1]

    @property
    def proved(self) -> bool:
        """Whether it was called dead so often that it is retired."""
        return self.times >= _PROVED

    def proved_for_long(self, now: float) -> bool:
        """Whether that holds even if all other keys are called dead as well."""
        return self.proved and now >= self.first_at + _PROVED_IN_SEARCH

    def add(self, now: float) -> None:
        """The key was called dead. While it would rest for the last time, that is the same time."""
        if not self.times:
            self.first_at = now
        if not self.times or now >= self._last_at + self.rest:
            self.times, self._last_at = self.times + 1, now

    def refute(self, sent_at: float) -> None:
        """A model served a call: the count starts anew, unless it was sent before the last death."""
        if sent_at >= self._last_at:
            self.times = 0

    def clear(self) -> None:
        """The next time is the first."""
        self.times = 0

    def go_on_from(self, times: int) -> None:
        """It was called dead so many times before, as its retirement says, and is about to be probed."""
        self.times = times + 1
