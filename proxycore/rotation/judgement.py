"""The judgement that a request, and no key, is at fault for its refusals. Pure."""

from dataclasses import dataclass
from typing import Any

from proxycore.clock import Clock
from proxycore.rotation.bench import NO_MODEL


@dataclass(frozen=True, slots=True)
class Judgement:
    """A request that was found to be at fault for its refusals, when, and for which lane.

    `reason` is what it was refused for, `why` explains the finding to people, `request` is its id.
    """

    at: float
    model: str
    reason: str
    why: str
    request: str

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, the time by the wall clock."""
        return {
            "time": clock.to_wall(self.at),
            "model": self.model or NO_MODEL,
            "reason": self.reason,
            "why": self.why,
            "id": self.request,
        }
