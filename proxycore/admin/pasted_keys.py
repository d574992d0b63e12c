"""Finds keys in pasted text: JSON, `.env` lines, CSV, a chat message. Pure.

No shape of key is assumed where a key is configured, but in a text something has to tell. It is one of these:

- Google's own shapes, wherever they are: `AIza` and 35 more characters, or `AQ.` and at least 10 more
- the value of a name that says so, at the start of a line or in JSON: `GEMINI_API_KEY=…`, `"api_key": "…"`
- a line that has nothing but a token: at least 20 characters that need no escape in a URL, with a letter and
  a digit among them

Tokens of other services are passed over, and so is what is inside PEM: a key that is found is sent to Google.
"""

import re
from collections.abc import Iterator

from proxycore.admin.keys_file import NewKey

_SHAPES = re.compile(r"(?<![\w-])(?:AIza[\w-]{35}|AQ\.[\w-]{10,})(?![\w-])", re.ASCII)
_WORDS = r"(?:(?:GOOGLE|GEMINI|GENERATIVE|GENAI|AI|STUDIO|API)[ _-]?)*"
_NAME = rf"(?P<name>{_WORDS}KEYS?(?:_?\d+|_[\w-]+)?)"
_VALUE = re.compile(r"[\w.~+/=-]{8,}", re.ASCII)
_ASSIGNED = re.compile(
    rf"(?i)\s*(?:(?:export|set|setx|-e|-)\s+|\$env:)?{_NAME}\s*=\s*(?P<value>.*)", re.ASCII
)
_IN_JSON = re.compile(
    rf"(?i)[\"']{_NAME}[\"']\s*[:=]\s*(?P<value>[\"'][^\"']{{0,2000}}[\"']|\[[^\]]{{0,9000}}\])", re.ASCII
)
_COMMENT = re.compile(r"\s#.*")
_BETWEEN = re.compile(r"[\s,;\[\]\"']+")
_TOKEN = re.compile(r"(?=[^\d]*\d)(?=[^a-zA-Z]*[a-zA-Z])[\w.~-]{20,}", re.ASCII)
_AROUND = " \t\r\"'`,;|<>()[]{}"
_BULLET = re.compile(r"\A\s*(?:[-*\u2022]|\d{1,4}[.):])\s+")
_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL)
# The beginnings of other services' tokens and of Google's own that are no keys, and of models' names.
_OTHERS = (
    *("sk-", "pk-", "sk_", "pk_", "rk_", "gsk_", "xai-", "hf_", "r8_", "ghp_", "gho_", "ghs_", "github_pat_"),
    *(
        "glpat-",
        "xox",
        "AKIA",
        "ASIA",
        "eyJ",
        "ya29.",
        "GOCSPX-",
        "auth_tokens",
        "gemini-",
        "models",
        "tvly-",
    ),
)
_KEY_NAME = re.compile(r"(?i)(?:GOOGLE|GEMINI)_API_KEY_(?P<suffix>[\w-]{1,20})", re.ASCII)


def find_keys(text: str) -> list[NewKey]:
    """Return the keys in a text in their order, each once; with names where the text gives them."""
    text = _PEM.sub("", text)
    found: dict[str, str] = {}
    for line in text.splitlines():
        for secret, name in _in_line(line):
            found[secret] = found.get(secret) or name
    return [NewKey(secret, name) for secret, name in found.items()]


def _in_line(line: str) -> Iterator[tuple[str, str]]:
    named = _assigned(line)
    for secret in _SHAPES.findall(line):
        yield secret, named.get(secret, "")
    shaped = set(_SHAPES.findall(line))
    for secret, name in named.items():
        if secret not in shaped:
            yield secret, name
    alone = _BULLET.sub("", line, count=1).strip(_AROUND)
    if alone not in shaped and alone not in named and _TOKEN.fullmatch(alone) and not _is_other(alone):
        yield alone, ""


def _assigned(line: str) -> dict[str, str]:
    """The values of names that say key, with the names to give to the keys."""
    matches = [*_IN_JSON.finditer(line)]
    if whole := _ASSIGNED.fullmatch(line):
        matches.append(whole)
    found: dict[str, str] = {}
    for match in matches:
        values = [value for value in _BETWEEN.split(_COMMENT.sub("", match["value"])) if value]
        values = [value for value in values if _VALUE.fullmatch(value) and not _is_other(value)]
        suffix = _KEY_NAME.fullmatch(match["name"])
        for value in values:
            # A name is for one key; `__` would separate a project.
            is_named = suffix and len(values) == 1 and "__" not in suffix["suffix"]
            found.setdefault(value, suffix["suffix"] if suffix and is_named else "")
    return found


def _is_other(token: str) -> bool:
    return token.startswith(_OTHERS)
