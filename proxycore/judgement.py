"""What was found by comparison: a request at fault for what keys refused. Pure."""

from dataclasses import dataclass
from typing import Any

from proxycore.bench import NO_MODEL
from proxycore.clock import Clock


@dataclass(frozen=True, slots=True)
class Judgement:
    """A request that was found to be at fault for what keys refused: when, for which lane, what, and why.

    `request` is its id.
    """

    at: float
    model: str
    reason: str
    why: str
    request: str

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """What there is to know, as JSON has it, the time by the wall clock."""
        return {
            "time": clock.to_wall(self.at),
            "model": self.model or NO_MODEL,
            "reason": self.reason,
            "why": self.why,
            "id": self.request,
        }
