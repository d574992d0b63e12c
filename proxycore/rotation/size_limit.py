"""What is known of the size of prompts that a project takes for a model. Pure.

Times are the clock's moments, in seconds.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """No prompt of so many `tokens` or more is taken `until` a moment: one had too many for the quota."""

    tokens: int
    until: float

    def with_another(self, tokens: int, until: float, now: float) -> "SizeLimit":
        """Return it after one more such prompt: the smaller size counts, and the later moment."""
        if self.until > now:
            return SizeLimit(min(tokens, self.tokens), max(until, self.until))
        return SizeLimit(tokens, until)


ANY_SIZE = SizeLimit(0, 0.0)
"""The limit of those that have refused no prompt for its size: it has ended."""
