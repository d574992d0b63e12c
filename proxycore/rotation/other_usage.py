"""An estimate of how much of a quota others use: other programs, or processes that are not heard of. Pure.

Nobody tells. A refusal that the known calls do not explain shows that others used the rest of the quota at
that moment, and a call that is served shows how much they used at most. Between two such moments the level
returns to the average, as calls leave the window and new ones come; the average itself is forgotten, so that
what was once learned does not hold a project back for long.

Times are the clock's moments, in seconds; amounts are requests or tokens.
"""

import math
from dataclasses import dataclass

_FORGOTTEN = 2.0  # windows after which half of the average is forgotten
_REFUTED = 0.9  # of the estimate that is left after a call that it did not expect was served
_WEIGHT = 0.3  # of what is seen in the average


@dataclass(eq=False, slots=True)
class OtherUsage:
    """What others use in a window: the `average`, and the `level` at the moment `seen_at`."""

    average: float = 0.0
    level: float = 0.0
    seen_at: float = 0.0

    def at(self, now: float, window: float) -> float:
        """Return what others are expected to have used in the window that ends now."""
        if not self.level and not self.average:
            return 0.0
        passed = max(0.0, now - self.seen_at)  # a peer's call may be from before
        return self.average + (self.level - self.average) * math.exp(-passed / window)

    def at_least(self, amount: float, now: float, window: float) -> None:
        """Learn from a refusal that others have used so much."""
        self._advance(now, window)
        if amount > self.level:
            self.level = amount
            self.average += max(0.0, amount - self.average) * _WEIGHT

    def at_most(self, amount: float, now: float, window: float) -> None:
        """Learn from a call that was served that others have not used more."""
        if self.level or self.average:
            self._advance(now, window)
            if amount < self.level:
                # In steps that scale with the quota, so that a large one is not found too slowly.
                self.level = min(amount, self.level * _REFUTED)
                self.average *= _REFUTED

    def reveal(self, amount: float) -> None:
        """Learn of calls by peers, which were counted as those of others so far."""
        self.level = max(0.0, self.level - amount)
        self.average = min(self.average, self.level)

    def _advance(self, now: float, window: float) -> None:
        level = self.at(now, window)
        self.average *= 0.5 ** (max(0.0, now - self.seen_at) / (_FORGOTTEN * window))
        self.level, self.seen_at = level, now


NOBODY = OtherUsage()
"""The usage where nobody else is known to use the quota. It is shared, and stays as it is."""
