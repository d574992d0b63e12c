"""Reads the token usage that a response reports, from its last bytes. Pure.

Google's `usageMetadata` comes last in a response and in every event of a stream, where it counts from the
beginning (ai.google.dev/api/generate-content#UsageMetadata); OpenAI's `usage` and that of interactions
likewise. Compressed responses are not read.
"""

import re
from dataclasses import dataclass

TAIL = 2048
"""Bytes at a response's end that are enough: the metadata, and what follows it."""

_LONGEST = 16 * 1024  # bytes of metadata that are read, of a message of any size
_COUNT = re.compile(
    rb'"(?<!\\")(promptTokenCount|toolUsePromptTokenCount|prompt_tokens|total_input_tokens'
    rb"|candidatesTokenCount|responseTokenCount|thoughtsTokenCount|completion_tokens"
    rb"|total_output_tokens|total_thought_tokens"
    rb'|cachedContentTokenCount|cached_tokens|total_cached_tokens)"\s*:\s*(\d{1,12})'
)
_INPUT = {b"promptTokenCount", b"toolUsePromptTokenCount", b"prompt_tokens", b"total_input_tokens"}
_CACHED = {b"cachedContentTokenCount", b"cached_tokens", b"total_cached_tokens"}


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Numbers of tokens: the model's input, its output including thoughts, and how much input was cached."""

    input: int = 0
    output: int = 0
    cached: int = 0


def usage_in(tail: bytes) -> TokenUsage:
    """Return the usage in the last bytes of a response. Of several counts with one name, the last counts."""
    start = tail.rfind(b'"usage')
    if start < 0:
        return TokenUsage()
    given = made = cached = 0
    for name, count in dict(_COUNT.findall(tail, start, start + _LONGEST)).items():
        if name in _INPUT:
            given += int(count)
        elif name in _CACHED:
            cached += int(count)
        else:
            made += int(count)
    return TokenUsage(given, made, cached)
