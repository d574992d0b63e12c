"""How likely a call succeeds, by the calls that failed where another project served the same request. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass

_LEAST = 1 / 64  # a share of the choice: a probe now and then
_FAILURE = 0.25  # of the reliability is left after each failure
_FORGIVEN = 60.0  # seconds, after which half of the failures are forgotten


@dataclass(slots=True)
class Reliability:
    """Of one project for one lane. `failures` counts those that are not forgotten at `failed_at`."""

    failures: float = 0.0
    failed_at: float = 0.0

    def at(self, now: float) -> float:
        """The share of the choice that is left after failures, from 1 down to a probe."""
        return max(_LEAST, float(_FAILURE ** self._failures(now)))

    def fail(self, now: float) -> None:
        """A call failed, and another project served the same request."""
        self.failures, self.failed_at = self._failures(now) + 1.0, now

    def succeed(self, now: float) -> None:
        """A call was served."""
        left = self._failures(now) / 2
        self.failures, self.failed_at = (left if left > _LEAST else 0.0), now

    def _failures(self, now: float) -> float:
        return self.failures * float(0.5 ** ((now - self.failed_at) / _FORGIVEN)) if self.failures else 0.0
