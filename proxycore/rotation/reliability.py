"""How likely a call succeeds, by the calls that failed where another project served the same request. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass

_LEAST = 1 / 64  # of the weight in the choice: a probe now and then
_FAILURE = 0.25  # of the weight that is left after each failure
_FORGIVEN = 60.0  # seconds, after which half of the failures are forgotten


@dataclass(frozen=True, slots=True)
class Reliability:
    """The reliability of one project for one lane. `failures` is their number at `failed_at`; it decays."""

    failures: float = 0.0
    failed_at: float = 0.0

    def at(self, now: float) -> float:
        """Return the weight in the choice, from 1 (no failures) down to a 64th."""
        return max(_LEAST, float(_FAILURE ** self._failures(now)))

    def failed(self, now: float) -> "Reliability":
        """Return it after a call that failed while another project served the same request."""
        return Reliability(self._failures(now) + 1.0, now)

    def succeeded(self, now: float) -> "Reliability":
        """Return it after a call that was served."""
        left = self._failures(now) / 2
        return Reliability(left, now) if left > _LEAST else RELIABLE

    def _failures(self, now: float) -> float:
        return self.failures * float(0.5 ** ((now - self.failed_at) / _FORGIVEN)) if self.failures else 0.0


RELIABLE = Reliability()
"""The reliability of those that have not failed."""
