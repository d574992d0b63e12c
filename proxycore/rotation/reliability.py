"""How likely a call succeeds, by the calls that failed where another project served the same request. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass

_LEAST = 1 / 64  # of the weight in the choice: a probe now and then
_FAILURE = 0.25  # of the weight that is left after each failure
_FORGIVEN = 60.0  # seconds, after which half of the failures are forgotten


@dataclass(slots=True)
class Reliability:
    """The reliability of one project for one lane. `failures` is their number at `failed_at`; it decays."""

    failures: float = 0.0
    failed_at: float = 0.0

    def at(self, now: float) -> float:
        """Return the weight in the choice, from 1 (no failures) down to a 64th."""
        return max(_LEAST, float(_FAILURE ** self._failures(now)))

    def fail(self, now: float) -> None:
        """Count a call that failed while another project served the same request."""
        self.failures, self.failed_at = self._failures(now) + 1.0, now

    def succeed(self, now: float) -> None:
        """Count a call that was served."""
        left = self._failures(now) / 2
        self.failures, self.failed_at = (left if left > _LEAST else 0.0), now

    def _failures(self, now: float) -> float:
        return self.failures * float(0.5 ** ((now - self.failed_at) / _FORGIVEN)) if self.failures else 0.0
