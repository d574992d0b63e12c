"""Finds misspelled names of settings, and the names that were probably meant.

The environment of a process has variables of other programs, so only close similarity counts there. In `.env`
every name is meant for this program.
"""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

KEY_PREFIXES = ("GOOGLE_API_KEY", "OUTPUT_API_KEY")
"""The variables of keys, which may have the key's name as a suffix."""

_CLOSE, _CLOSE_KEY, _SIMILAR = 0.85, 0.9, 0.6  # ratios of difflib
_SHORT = 5  # letters; HOST and PORT are similar to too many words
_MORE = 2  # letters by which lengths may differ
SYNONYMS = {
    "PROXY_URL": "UPSTREAM_PROXY",
    "UPSTREAM_PROXY_URL": "UPSTREAM_PROXY",
    "PROXY_API_KEY": "OUTPUT_API_KEY",
    "LOGGING_LEVEL": "LOG_LEVEL",
}
"""Names that other programs have for settings, and the right ones."""

# What Kubernetes and Docker's links set for a service (kubernetes.io, "Discovering services").
_OF_A_SERVICE = re.compile(
    r"\w+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?|NAME|ENV_\w+)"
)
_SUFFIX = r"KEYS?(?:[\W_]*$|[\W_]+(?P<suffix>.+)|(?P<number>\d+))$"
_KEYS = {
    "GOOGLE_API_KEY": re.compile(
        rf"(?i)(?:(?=.*(?:GOOGLE|GEMINI|GENAI))(?:(?:GOOGLE|GEMINI|GENERATIVE|GENAI|AI|STUDIO)[\W_]*)+"
        rf"|.*GEMINI.*?)(?P<api>API[\W_]*)?{_SUFFIX}"
    ),
    "OUTPUT_API_KEY": re.compile(rf"(?i)OUTPUT[\W_]*(?P<api>API[\W_]*)?{_SUFFIX}"),
    "ADMIN_API_KEY": re.compile(r"(?i)ADMIN[\W_]*(?P<api>API[\W_]*)?KEYS?(?P<suffix>$)(?P<number>$)"),
}
_NAME_LIKE = re.compile(r"[A-Z]{1,20}(?:_(?:[A-Z]{1,20}|\d{1,4}))*")


def is_setting(name: str, known: Collection[str]) -> bool:
    """Whether a variable of this name is read."""
    return name in known or any(name.startswith(f"{p}_") and name != f"{p}_" for p in KEY_PREFIXES)


def misnamed(names: Iterable[str], known: Collection[str], in_env_file: Collection[str]) -> dict[str, str]:
    """Variables that are not read, with the name that was probably meant; empty if that is not known.

    `in_env_file` are the names in `.env`.
    """
    found = {}
    for name in names:
        if is_setting(name, known):
            continue
        meant = _meant_key(name) or _meant_setting(name, known)
        if not meant and name in in_env_file:
            meant = _similar(name, known)
        if meant or name in in_env_file:
            found[name] = meant
    return found


def warnings_of(found: dict[str, str]) -> list[str]:
    """A warning for each variable with a probable name, and one for all the others."""
    guessed = {name: meant for name, meant in found.items() if meant}
    warnings = [f"{name}: not a setting, ignored; did you mean {meant}?" for name, meant in guessed.items()]
    # The text before the first = of a line may be a secret if it does not look like a name.
    others = [name if _NAME_LIKE.fullmatch(name) else "(other)" for name in found if name not in guessed]
    if others:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        warnings.append(f".env: unknown settings, ignored: {', '.join(others[:10])}{more}")
    return warnings


def _meant_key(name: str) -> str:
    if _OF_A_SERVICE.fullmatch(name):
        return ""
    for right, pattern in _KEYS.items():
        if match := pattern.match(name):
            suffix = match["suffix"] or match["number"] or ""
            # GEMINI_KEY_PROXY may belong to any program; with API in it, it is meant as a key.
            if match["api"] or not suffix or suffix.isdecimal():
                return f"{right}_{suffix}" if suffix else right
    for right in KEY_PREFIXES:
        head, number = re.fullmatch(r"(.*?)_*(\d*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
        if get_close_matches(_letters(head), [_letters(right)], 1, _CLOSE_KEY):
            return f"{right}_{number}" if number else right
    return ""


def _meant_setting(name: str, known: Collection[str]) -> str:
    letters = _letters(name)
    if name.upper() in SYNONYMS:
        return SYNONYMS[name.upper()]
    by_letters = {_letters(one): one for one in known}
    if letters in by_letters:
        return by_letters[letters]
    words = {tuple(sorted(one.split("_"))): one for one in known if "_" in one}
    same_words = words.get(tuple(sorted(name.split("_")))) or words.get(tuple(sorted(name.split("_")[:-1])))
    if same_words:
        return same_words
    candidates = [
        one
        for one in by_letters
        if one[0] == letters[:1] and len(one) > _SHORT and abs(len(one) - len(letters)) <= _MORE
    ]
    close = get_close_matches(letters, candidates, 1, _CLOSE)
    return by_letters[close[0]] if close else ""


def _similar(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name.upper(), sorted(known), 1, _SIMILAR)
    return close[0] if close else ""


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.upper())
