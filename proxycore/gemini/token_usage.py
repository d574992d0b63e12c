"""Reads the token usage that a response reports, from its last bytes. Pure.

Google's `usageMetadata` comes last in a response and in every event of a stream, where it counts from the
beginning (ai.google.dev/api/generate-content#UsageMetadata); OpenAI's `usage` and that of interactions
likewise (`usage_reader` decodes compressed responses).
"""

import re
from dataclasses import dataclass

TAIL = 2048
"""Bytes at a response's end that are enough: the metadata, and what follows it."""

_LONGEST = 16 * 1024  # bytes of metadata that are read, of a message of any size
_INPUT, _OUTPUT, _CACHED, _THINKING, _TOOL = range(5)  # in the order of `TokenUsage`
_COUNTED_AS = {
    b"promptTokenCount": (_INPUT,),
    b"toolUsePromptTokenCount": (_INPUT, _TOOL),
    b"candidatesTokenCount": (_OUTPUT,),
    b"responseTokenCount": (_OUTPUT,),
    b"thoughtsTokenCount": (_OUTPUT, _THINKING),
    b"cachedContentTokenCount": (_CACHED,),
    # OpenAI's
    b"prompt_tokens": (_INPUT,),
    b"completion_tokens": (_OUTPUT,),
    b"reasoning_tokens": (_THINKING,),  # `completion_tokens` include them
    b"cached_tokens": (_CACHED,),
    # Those of interactions
    b"total_input_tokens": (_INPUT,),
    b"total_tool_use_tokens": (_INPUT, _TOOL),
    b"total_output_tokens": (_OUTPUT,),
    b"total_thought_tokens": (_OUTPUT, _THINKING),
    b"total_cached_tokens": (_CACHED,),
}
# What follows a number shows that it is whole: a response may break off anywhere.
_COUNT = re.compile(rb'"(?<!\\")(%s)"\s*:\s*(\d{1,12})\s*[,}]' % b"|".join(_COUNTED_AS))


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Numbers of tokens: the model's input and its output.

    Of the input, `cached` came from Google's prompt cache and `tool` from tools' results; of the output,
    `thinking` are thoughts.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    thinking: int = 0
    tool: int = 0


def usage_in(tail: bytes) -> TokenUsage:
    """Return the usage in the last bytes of a response. Of several counts with one name, the last counts."""
    start = tail.rfind(b'"usage')
    if start < 0:
        return TokenUsage()
    counts = [0, 0, 0, 0, 0]
    for name, count in dict(_COUNT.findall(tail, start, start + _LONGEST)).items():
        for place in _COUNTED_AS[name]:
            counts[place] += int(count)
    return TokenUsage(*counts)
