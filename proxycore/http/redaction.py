"""Redaction: replaces secrets by their names in texts, bytes and header fields. Pure."""

import re
from collections.abc import Mapping
from itertools import chain

from proxycore.http.fields import Fields
from proxycore.http.secret_index import SecretIndex

_FORMER = 200  # secrets that are still redacted after they were removed from the settings


def with_former(secrets: Mapping[str, str], former: Mapping[str, str]) -> dict[str, str]:
    """The secrets in use and the latest former ones, which requests in flight may still contain.

    All three mappings are from a secret to its name.
    """
    unused = [(secret, name) for secret, name in former.items() if secret not in secrets]
    return dict(unused[-_FORMER:]) | dict(secrets)


_SHORT = 8  # characters; a shorter secret may well occur inside other words
_WORD = re.compile(r"[A-Z]?[a-z]{1,14}|[A-Z]{1,15}|[0-9]{1,15}")  # likely to occur as itself, too
# Patterns for what is before and after a short secret that stands alone. Before it may be an escape sequence.
_ALONE = (
    r"(?:(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4})|(?<![A-Za-z0-9_-])(?<![A-Za-z0-9]\.))",
    r"(?![A-Za-z0-9_-]|\.[A-Za-z0-9])",
)
_MANY = 16  # secrets in one text: above that, a single pattern is too slow


class Redactor:
    """Replaces each secret in texts, bytes and header fields by its name.

    `secrets` maps a secret to the name that is shown instead, as `[name]`. A secret is found as it is, and
    as URLs and JSON strings escape it. A short one is found only where it stands alone, not inside another
    word. One that is itself a plain word or number (`test`, `200`) is found only where it is the whole
    text: elsewhere it can't be distinguished from the word.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._whole = {secret: f"[{name}]" for secret, name in secrets.items() if _WORD.fullmatch(secret)}
        # Longest first, so that a key that begins with another key is not half redacted.
        found = ((secret, name) for secret, name in secrets.items() if secret not in self._whole)
        ordered = sorted(found, key=lambda entry: len(entry[0]), reverse=True)
        self._names = [f"[{name}]" for _, name in ordered]
        self._forms = [_pattern(secret) for secret, _ in ordered]
        # The longest part of each secret that is the same in every escaped form. A text without any of them
        # is clean, which is quickly checked even for thousands of keys.
        stretches = [max(re.split(r"[^A-Za-z0-9._~-]", secret), key=len) for secret, _ in ordered]
        self._index = SecretIndex(stretches)
        self._plain = [
            secret if secret == stretch and len(secret) >= _SHORT else ""
            for (secret, _), stretch in zip(ordered, stretches, strict=True)
        ]
        self._shortest = min(map(len, secrets), default=0)

    def text(self, text: str) -> str:
        """The text with every secret replaced; the same object if there is none."""
        if len(text) < self._shortest:
            return text
        if text in self._whole:
            return self._whole[text]
        found = self._index.found_in(text)
        if not found:
            return text
        clean = self._without(found, text)
        return text if clean == text else clean

    def _without(self, found: list[int], text: str) -> str:
        if len(found) > _MANY:
            # A pattern of so many alternatives would take seconds, and most secrets have only one form.
            for number in found:
                if self._plain[number]:
                    text = text.replace(self._plain[number], self._names[number])
            found = self._index.found_in(text)
        pattern = re.compile("|".join(f"({self._forms[number]})" for number in found) or "(?!)")
        return pattern.sub(lambda match: self._names[found[(match.lastindex or 1) - 1]], text)

    def data(self, data: bytes) -> bytes:
        """The bytes with every secret replaced; the same object if there is none."""
        text = data.decode("latin-1")
        clean = self.text(text)
        return data if clean is text else clean.encode("latin-1", errors="backslashreplace")

    def fields(self, fields: Fields) -> Fields:
        """The header fields with every secret in a value replaced, without fields whose name contains one."""
        together = "\n".join(chain.from_iterable(fields))
        if not self._whole and self.text(together) is together:
            return fields
        return [(name, _latin(self.text(value))) for name, value in fields if self.text(name) is name]


def _latin(value: str) -> str:
    # A key's name may have any characters, a field's value may not (RFC 9110 §5.5).
    return value if value.isascii() else value.encode("latin-1", "backslashreplace").decode("latin-1")


def _pattern(secret: str) -> str:
    before, after = _ALONE if len(secret) < _SHORT else ("", "")
    return before + _any_form(secret) + after


def _any_form(secret: str) -> str:
    return "".join(char if char.isalnum() else _any_form_of(char) for char in secret)


def _any_form_of(char: str) -> str:
    plain, code = re.escape(char), f"{ord(char):02x}"
    return rf"(?:\\?{plain}|(?i:%{code})|(?i:\\u00{code}))"
