"""The conversation that a request continues, told by its beginning."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.gemini.conversation import SMALLEST, conversation_in

KEY = b"a key of this deployment"
NATIVE = "/v1beta/models/gemini-2.5-flash:generateContent"
PATHS = {
    "native": NATIVE,
    "stream": "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    "parts first": NATIVE,
    "instruction first": NATIVE,
    "snake case": NATIVE,
    "openai": "/v1beta/openai/chat/completions",
    "responses": "/v1beta/openai/responses",
    "interactions": "/v1beta/interactions",
    "interactions of roles": "/v1beta/interactions",
}
LONG = 'A long instruction, with "quotes", \\ backslashes\n and {braces} in it. ' * 150


def document(form: str, system: str, turns: list[str]) -> dict[str, Any]:
    """A request of this form; the user and the model take turns."""
    users = [(number % 2 == 0, text) for number, text in enumerate(turns)]
    if form in {"native", "stream", "parts first", "instruction first", "snake case"}:
        contents: list[dict[str, Any]] = [
            {"role": "user" if is_user else "model", "parts": [{"text": text}]} for is_user, text in users
        ]
        if form == "parts first":
            contents = [dict(reversed(content.items())) for content in contents]
        name = "system_instruction" if form == "snake case" else "systemInstruction"
        members = [
            ("contents", contents),
            (name, {"parts": [{"text": system}]}),
            ("tools", [{"a": ["user"]}]),
        ]
        return dict(reversed(members) if form == "instruction first" else members)
    if form in {"openai", "responses"}:
        messages = [
            {"role": "user" if is_user else "assistant", "content": [{"type": "text", "text": text}]}
            for is_user, text in users
        ]
        if form == "responses":
            return {"user": "somebody", "instructions": system, "input": messages}
        return {"user": "somebody", "messages": [{"role": "system", "content": system}, *messages]}
    if form == "interactions":
        steps = [
            {"type": "user_input" if is_user else "model_output", "content": [{"type": "text", "text": text}]}
            for is_user, text in users
        ]
        return {"model": "gemini-2.5-flash", "input": steps, "system_instruction": system, "store": False}
    turns_of_roles = [{"role": "user" if is_user else "model", "content": text} for is_user, text in users]
    return {"input": turns_of_roles, "system_instruction": system}


def name(form: str, system: str, turns: list[str], write: Callable[[Any], str] = json.dumps) -> str:
    return conversation_in(PATHS[form], bytearray(write(document(form, system, turns)).encode()), KEY)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def indented(value: object) -> str:
    return json.dumps(value, indent=2)


every_form = pytest.mark.parametrize("form", PATHS)


@every_form
@pytest.mark.parametrize("write", [json.dumps, compact, indented])
@pytest.mark.parametrize("first", ["hi", 'Say "hi" \\', "你好 user", LONG])
def test_a_conversation_keeps_its_name_as_it_grows(
    form: str, write: Callable[[object], str], first: str
) -> None:
    turns, names = [first, "Hello.", 'And "user" now?', LONG, "{}[]", "Bye"], set()
    for count in (1, 3, 5, 6):
        names.add(name(form, LONG, turns[:count], write))
    assert len(names) == 1
    assert len(names.pop()) == 16


@every_form
@pytest.mark.parametrize("first", ["What?", LONG[: 2 * SMALLEST // 3] + "What?"])
def test_another_first_turn_is_another_conversation_whatever_the_instruction(form: str, first: str) -> None:
    assert name(form, LONG, [first]) != name(form, LONG, [first[:-1] + "!"])
    assert name(form, LONG, [first, "That.", "A"]) != name(form, LONG, [first[:-1] + "!", "That.", "A"])


@every_form
def test_another_instruction_is_another_conversation(form: str) -> None:
    assert name(form, "Be brief.", [LONG]) != name(form, "Be kind.", [LONG])


@every_form
def test_what_comes_later_does_not_count(form: str) -> None:
    assert name(form, LONG, ["hi", "Hello.", "A"]) == name(form, LONG, ["hi", "Hello!", "B", "C", "D"])


@pytest.mark.parametrize("form", ["native", "openai", "interactions"])
def test_the_name_depends_on_the_key(form: str) -> None:
    body = json.dumps(document(form, LONG, ["hi"])).encode()
    assert conversation_in(PATHS[form], body, KEY) != conversation_in(PATHS[form], body, b"another")


def test_a_small_request_belongs_to_no_conversation() -> None:
    assert name("native", "Be brief.", ["hi"]) == ""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/models/gemini-embedding-001:embedContent", document("native", LONG, ["hi"])),
        ("/v1beta/models/gemini-2.5-flash:countTokens", document("native", LONG, ["hi"])),
        ("/v1beta/interactions", {"input": LONG}),
        (NATIVE, {"contents": LONG}),
        (NATIVE, {"text": LONG}),
    ],
)
def test_what_consists_of_no_turns_belongs_to_none(path: str, body: object) -> None:
    assert conversation_in(path, json.dumps(body).encode(), KEY) == ""


def test_a_tools_parameter_of_the_same_name_is_not_taken_for_the_turns() -> None:
    tools = {"tools": [{"functionDeclarations": [{"parameters": {"contents": {"type": "STRING"}}}]}]}
    names = {
        conversation_in(NATIVE, json.dumps(tools | document("native", LONG, [first])).encode(), KEY)
        for first in ("one", "other")
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    "filler",
    [b'"', b"\\", b'\\"', b"{", b"[", b"}", b" ", b'"contents"', b'"contents": [', b'"user"', b'"user",'],
)
@pytest.mark.parametrize("before", [b"", b'{"contents": [', b'{"contents": [{"role": "user", "parts": "'])
def test_a_hostile_body_is_examined_within_bounds(before: bytes, filler: bytes) -> None:
    # What is beyond the bound can't count.
    body = before + filler * (1024 * 1024 // len(filler))
    assert conversation_in(NATIVE, body, KEY) == conversation_in(NATIVE, body + b"x" * 10, KEY)


@given(st.binary(min_size=0, max_size=400), st.sampled_from(sorted(PATHS.values())))
def test_no_body_is_too_odd(piece: bytes, path: str) -> None:
    body = b'{"contents": [{"role": "user"' + piece + b'"input": [' + piece * 20 + b" " * SMALLEST
    assert len(conversation_in(path, body, KEY)) in {0, 16}
