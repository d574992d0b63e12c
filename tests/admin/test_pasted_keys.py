"""Keys are found in any pasted text, and nothing else."""

import json
import random
import string

import pytest

from proxycore.admin.pasted_keys import find_keys

A, B = "AIzaSy" + "A1b_C-d2" * 4 + "x", "AIzaSy" + "Z9y_X-w8" * 4 + "q"
NEW = "AQ.Ab8RN6" + "K3m_P-q7" * 5
TOKEN = "c29tZS1vdGhlci1zaGFwZQ-42_x"
SHAPELESS = "upstream-key-number-one"


def found(text: str) -> list[tuple[str, str]]:
    return [(key.secret, key.name) for key in find_keys(text)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (A, [(A, "")]),
        (f"{A}\r\n{NEW}\n{A}\n", [(A, ""), (NEW, "")]),
        (f"Here are two: {A}, and {B}. They're from `{NEW}`!", [(A, ""), (B, ""), (NEW, "")]),
        (f"https://example.com/v1beta/models?key={A}&alt=sse", [(A, "")]),
        (f"id,key,owner\n1,{A},ann\n2,{B},bob\n", [(A, ""), (B, "")]),
        (json.dumps({"keys": [{"api_key": A}, {"api_key": B}]}, indent=1), [(A, ""), (B, "")]),
        (json.dumps({"gemini_api_key": SHAPELESS, "model": "gemini-2.5-flash"}), [(SHAPELESS, "")]),
        (json.dumps({"apiKeys": [SHAPELESS, TOKEN]}), [(SHAPELESS, ""), (TOKEN, "")]),
        (f"GOOGLE_API_KEY_shop={SHAPELESS}  # ours", [(SHAPELESS, "shop")]),
        (f"export GEMINI_API_KEY='{A}'", [(A, "")]),
        (f"  - GEMINI_API_KEY_2={A}", [(A, "2")]),
        (f"GOOGLE_API_KEY_1={A},{SHAPELESS}", [(A, ""), (SHAPELESS, "")]),
        (f"GOOGLE_API_KEY_shop__project={A}", [(A, "")]),
        (f"API_KEY = {SHAPELESS}\nkey={TOKEN}", [(SHAPELESS, ""), (TOKEN, "")]),
        (f"- {TOKEN}\n2. {A}\n  '{SHAPELESS}7',\n", [(TOKEN, ""), (A, ""), (f"{SHAPELESS}7", "")]),
    ],
)
def test_keys_are_found(text: str, keys: list[tuple[str, str]]) -> None:
    assert found(text) == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello, is there a key for me?\nkeys: none\n",
        "the key=value pairs of this file",
        "OUTPUT_API_KEY=a-client-secret-that-is-long-1",
        "ADMIN_API_KEY=an-admin-secret-that-is-long-1",
        "OPENAI_API_KEY=sk-proj-0123456789abcdefghij",
        "sk-proj-0123456789abcdefghij",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "GEMINI_API_KEY=sk-ant-0123456789abcdefghij",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "generativelanguage.googleapis.com\ngemini-2.5-flash-preview-tts-05-20",
        "----------------------------------------",
        "2026-11-27T13:42:43.000000+00:00",
        f"see x{A} or {A}x",
        "AIzaSyTooShort AQ.short",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n-----END PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAA",
        '{"private_key_id": "0123456789abcdef0123456789abcdef01234567"}',
        "key=\nGOOGLE_API_KEY_1=\nGEMINI_API_KEY=...\n",
    ],
)
def test_nothing_else_is_found(text: str) -> None:
    assert found(text) == []


URL_SAFE = string.ascii_letters + string.digits + "_-"
WORDS = ["the", "key", "is", "here", "=", ":", ",", ";", "{", "}", "[", "]", '"', "'", "#", "\\", "\t", "/"]
WORDS += ["gemini-2.5-flash", "sk-abcdefghijklmnopqrstu1", "\u00e9\u4e2d"]


def make_key(source: random.Random) -> str:
    start, length = source.choice([("AIza", 35), ("AQ.", source.randint(10, 60))])
    return start + "".join(source.choices(URL_SAFE, k=length))


def chatter(source: random.Random) -> str:
    return " ".join(source.choices(WORDS, k=source.randint(0, 6)))


@pytest.mark.parametrize("seed", range(300))
def test_keys_are_found_in_any_text_around_them(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a reproducible case
    keys, text = [], ""
    for _ in range(source.randint(0, 8)):
        text += chatter(source) + source.choice(["\n", " ", "\r\n", "|"])
        key = make_key(source)
        keys.append(key)
        form = source.choice(
            ["{}", '"{}"', "key={}&", "<{}>", "({})", "'{}',", "{},", ": {};", "\u4e2d {} \u6587"]
        )
        text += form.format(key) + source.choice(["\n", " ", "\t", "\r\n"])
    text += chatter(source)
    assert [key.secret for key in find_keys(text)] == list(dict.fromkeys(keys))


@pytest.mark.parametrize("seed", range(100))
def test_any_text_is_read_in_linear_time_and_without_an_error(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a reproducible case
    alphabet = source.choice(
        ["A.Iza-_", "AQ.a1", "KEY_=\"' \n", "GOOGLE_API_KEY=[],1 \n", "-BEGIN \n", "\0\ud800\u2028a1 \n"]
    )
    text = "".join(source.choices(alphabet, k=20_000))
    for key in find_keys(text):
        assert key.secret in text
        assert len(key.secret) >= 8
    find_keys(alphabet[0] * 60_000)
