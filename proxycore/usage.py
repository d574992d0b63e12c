"""How many tokens an answer says that it took: read from its end, which is all that is kept of it. Pure.

Google's `usageMetadata` comes last in an answer and in every event of a stream, where it counts from the
beginning (ai.google.dev/api/generate-content#UsageMetadata); OpenAI's `usage` and that of interactions
likewise. What is compressed is not read.
"""

import re
from dataclasses import dataclass

TAIL = 2048
"""Bytes of an answer's end that are enough: metadata, and what follows it."""

_LONGEST = 16 * 1024  # bytes of metadata that are read, of a message of any size
_COUNT = re.compile(
    rb'(?<!\\)"(promptTokenCount|toolUsePromptTokenCount|prompt_tokens|total_input_tokens'
    rb"|candidatesTokenCount|responseTokenCount|thoughtsTokenCount|completion_tokens"
    rb'|total_output_tokens|total_thought_tokens)"\s*:\s*(\d{1,12})'
)
_INPUT = {b"promptTokenCount", b"toolUsePromptTokenCount", b"prompt_tokens", b"total_input_tokens"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens: what the model was given, and what it made, thoughts included."""

    input: int = 0
    output: int = 0


def usage_in(tail: bytes) -> Usage:
    """What the end of an answer says. Of several counts the last one holds."""
    start = tail.rfind(b'"usage')
    if start < 0:
        return Usage()
    counts = {name: int(count) for name, count in _COUNT.findall(tail, start, start + _LONGEST)}
    given = sum(count for name, count in counts.items() if name in _INPUT)
    return Usage(given, sum(counts.values()) - given)
