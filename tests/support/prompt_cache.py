"""A model of Google's cache of prompts: each project has the beginnings of those that it served lately."""

from dataclasses import dataclass, field

_SMALLEST = 2048  # tokens of a prompt that is cached (ai.google.dev/gemini-api/docs/caching)
_LASTS = 300.0  # seconds after it was used


@dataclass
class PromptCache:
    """What a project has cached: the tokens of the longest prompt of each conversation, and since when."""

    _known: dict[int, tuple[int, float]] = field(default_factory=dict)

    def cached(self, conversation: int, tokens: int, now: float) -> int:
        """Return how many tokens of a conversation's prompt are cached: earlier ones are its beginnings."""
        known, since = self._known.get(conversation, (0, now))
        return min(known, tokens) if known >= _SMALLEST and now - since <= _LASTS else 0

    def serve(self, conversation: int, tokens: int, now: float) -> None:
        """Cache a prompt."""
        known = self.cached(conversation, tokens, now)
        self._known[conversation] = max(known, tokens), now
