"""Which conversation a request continues, told by its beginning. Pure.

A client sends the whole conversation again with every turn, so the system instruction and the first turns
stay the same while the request grows. Google caches prompts by their beginnings, for each project by itself,
from 2,048 tokens on (ai.google.dev/gemini-api/docs/caching): turns of one conversation that go to one project
cost less. The beginning is hashed, with a key, and never kept.

    {"contents": [{"role": "user", "parts": [...]}, ...], "systemInstruction": {...}}       native
    {"messages": [{"role": "system", ...}, {"role": "user", "content": ...}, ...]}          OpenAI
    {"input": [{"type": "user_input", "content": [...]}, ...], "system_instruction": "..."}  interactions

Nothing is parsed: a quotation mark inside a JSON string is escaped, so that the name of a member can be found
as it is. Whatever a body holds, the same beginning gives the same name, and how much of it is examined is
bounded. Tools are left out: clients add some in the middle of a conversation.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

SMALLEST = 6 * 1024
"""Bytes of a request that may have 2,048 tokens: three bytes each, as in code or Chinese."""

_ARRAY = re.compile(rb"\s{0,16}:\s{0,16}\[")
_MARK = re.compile(rb'["{}\[\]]')
_BACKSLASH = ord("\\")
_REMEMBERED = 256  # paths
_OCCURRENCES = 4  # of a member's name that are examined: it may be that of a tool's argument, too
_SEARCHED = 256 * 1024  # bytes in which a name is searched
_WINDOW = 8 * 1024  # bytes in which a turn's end is searched: what begins alike for so long shares a cache
_MARKS = 64  # strings and brackets of a turn that are examined
_HEAD, _TAIL = 1024, 2048  # bytes at both ends that are hashed of what is longer

Body = bytes | bytearray


class _Form(NamedTuple):
    """How the requests to some paths say it: the member with the turns, the user's role, the instruction."""

    turns: bytes
    users: tuple[bytes, ...]
    systems: tuple[bytes, ...] = ()


_FORMS = (
    (
        re.compile(r":(?:generateContent|streamGenerateContent)$"),
        _Form(b'"contents"', (b'"user"',), (b'"systemInstruction"', b'"system_instruction"')),
    ),
    (re.compile(r"/openai/chat/completions$"), _Form(b'"messages"', (b'"user"',))),
    (
        re.compile(r"/interactions$"),
        _Form(b'"input"', (b'"user_input"', b'"user"'), (b'"system_instruction"', b'"systemInstruction"')),
    ),
    (re.compile(r"/openai/responses$"), _Form(b'"input"', (b'"user"',), (b'"instructions"',))),
)


def conversation_in(path: str, body: Body, key: bytes) -> str:
    """The name of the conversation that a request continues or begins: a hash with this `key`.

    Empty if the request is too small for a cache, or consists of no turns.
    """
    if len(body) < SMALLEST or not (form := _form_of(path)):
        return ""
    begin = _array(body, form.turns)
    if begin < 0:
        return ""
    hashed = blake2b(_both_ends(body, begin, _end_of_first_turn(body, begin, form)), key=key, digest_size=8)
    for name in form.systems:
        at = body.rfind(name, max(0, len(body) - _SEARCHED))
        if at >= 0:
            at += len(name)
            hashed.update(_both_ends(body, at, _end_of_value(body, at, 0, _HEAD)))
            break
    return hashed.hexdigest()


@lru_cache(_REMEMBERED)
def _form_of(path: str) -> _Form | None:
    return next((form for pattern, form in _FORMS if pattern.search(path)), None)


def _array(body: Body, member: bytes) -> int:
    """Where the array of a member begins, after its bracket; -1 if there is none."""
    at = 0
    for _ in range(_OCCURRENCES):
        at = body.find(member, at, _SEARCHED)
        if at < 0:
            break
        at += len(member)
        if match := _ARRAY.match(body, at):
            return match.end()
    return -1


def _end_of_first_turn(body: Body, begin: int, form: _Form) -> int:
    """The end of the first turn of the user in an array of turns, or a place inside of it, if it is long."""
    limit = min(begin + _SEARCHED, len(body))
    for user in form.users:
        at = body.find(user, begin, limit)
        if at >= 0:
            return _end_of_value(body, at + len(user), 1, _WINDOW)
    return limit


def _end_of_value(body: Body, at: int, depth: int, window: int) -> int:
    """The end of the JSON value at a place, or with `depth` 1 of the one around it.

    If that is too far away, it is a place in between, which depends on nothing that comes later.
    """
    piece, place = bytes(body[at : at + window]), 0
    for _ in range(_MARKS):
        mark = _MARK.search(piece, place)
        if mark is None:
            return at + len(piece)
        place, kind = mark.end(), mark[0]
        if kind == b'"':
            end = piece.find(kind, place)
            if piece[end - 1] == _BACKSLASH:  # then hide all that is escaped
                piece = piece.replace(b"\\\\", b"..").replace(b'\\"', b"..")
                end = piece.find(kind, place)
            if end < 0:
                return at + len(piece)
            place = end + 1
        else:
            depth += 1 if kind in b"{[" else -1
        if depth <= 0:
            break
    return at + place


def _both_ends(body: Body, begin: int, end: int) -> bytes:
    """What is hashed of a part of the body: all of it, or its ends and its length."""
    if end - begin <= _HEAD + _TAIL:
        return bytes(body[begin:end])
    return bytes(body[begin : begin + _HEAD] + body[end - _TAIL : end]) + b"%d" % (end - begin)
