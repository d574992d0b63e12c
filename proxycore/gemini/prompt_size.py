"""The size of a prompt, from which its number of tokens is estimated: text and inline media apart. Pure.

Media are strings of base64: `"data"` in the native API and in interactions, and `data:` URLs on the
OpenAI-compatible path. An image has about as many tokens as a paragraph, whatever its size.
"""

import re
from typing import NamedTuple

_DATA = re.compile(rb'"data(?:"\s{0,16}:\s{0,16}"|:)')
_BEGINNING = b'"data'
_SHORTEST = 512  # bytes: a shorter string may as well be an argument of a function
_MOST = 1000  # strings that are looked at: a hostile body may have millions


class PromptSize(NamedTuple):
    """The bytes of a request's body that are text (and JSON), and those that are media."""

    text: int
    media: int


def prompt_size(body: bytes | bytearray) -> PromptSize:
    """Return the size of the prompt in the body of a request."""
    media = at = 0
    for _ in range(_MOST):
        at = body.find(_BEGINNING, at)
        if at < 0:
            break
        if found := _DATA.match(body, at):
            end = body.find(b'"', found.end())
            length = (len(body) if end < 0 else end) - found.end()
            media += length if length >= _SHORTEST else 0
            at = found.end() + length
        else:
            at += len(_BEGINNING)
    return PromptSize(len(body) - media, media)
