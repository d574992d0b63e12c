"""Reads single variables as numbers, words, URLs or secrets, and collects what is wrong with them."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxycore.rotation.bench import ExponentialBackoff
from proxycore.runtime.quoting import unquoted, without_comment
from proxycore.runtime.regular_file import FileError, TextFiles
from proxycore.runtime.setting_names import KEY_PREFIXES
from proxycore.transport.body_budget import MEGABYTE

PLACEHOLDERS = frozenset(
    {"your-first-gemini-api-key", "your-second-gemini-api-key", "choose-a-long-random-secret"}
)
"""The values that `.env.example` has in place of secrets."""

_PLACEHOLDER_LIKE = re.compile(r"(?i)<.*>|your[-_ ].*|.*change[-_ ]?me.*|\.{3}|x{3,}")
# Characters of a header field (RFC 9110 §5.5) without spaces: a secret is sent as a whole field value.
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_ORIGIN = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/?#\s]+|null")
_SHARE = re.compile(r"(?i)(\d{1,3}(?:\.\d{1,3})?)\s?%|0|off", re.ASCII)

_SECRETS = ("ADMIN_API_KEY", "UPSTREAM_PROXY", "REDIS_URL", "ALERT_URL")
_NAMED_SECRETS = (*KEY_PREFIXES, "UPSTREAM_PROXY")  # which may have a name as a suffix
_IN_FILE = "_FILE"


class EnvReader:
    """Reads single variables. A secret may be in a file instead, whose path is in `NAME_FILE`.

    `mistakes` make the settings unusable, `warnings` do not. `known` are the names that were read.
    """

    def __init__(self, variables: Mapping[str, str], files: TextFiles) -> None:
        self.mistakes: list[str] = []
        self.warnings: list[str] = []
        self.known = {f"{name}{_IN_FILE}" for name in _SECRETS}
        self._files = files
        self._values = {name: without_comment(value) for name, value in variables.items()}
        self._commented = {name for name, value in variables.items() if _had_comment(value)}
        self._labels: dict[str, str] = {}  # variable -> the one that has the path of its file
        for name in [name for name, value in self._values.items() if value and _names_secret_file(name)]:
            self._read_from_file(name)

    def _read_from_file(self, variable: str) -> None:
        secret = variable.removesuffix(_IN_FILE)
        path = self.text(variable)
        del self._values[variable]
        if self._values.get(secret):
            self.mistakes.append(f"{variable}: {secret} is set too; keep one of them")
            return
        self._labels[secret] = variable
        text = without_comment(self.file_text(variable, path))
        if text:
            self._values[secret] = text
        elif not any(mistake.startswith(f"{variable}: ") for mistake in self.mistakes):
            self.mistakes.append(f"{variable}: the file is empty")

    def file_text(self, variable: str, path: str) -> str:
        """The text of the file at `path`; empty, with a mistake for `variable`, if it can't be used.

        Raises StillChangingError while it is being written.
        """
        try:
            return self._files.text(Path(path))
        except FileError as error:
            self.mistakes.append(f"{variable}: {_shown(path)}{error}")
            return ""

    def suffixes(self, prefix: str) -> list[str]:
        """The suffixes of the variables that begin with this prefix and `_`, 2 before 10."""
        begin = f"{prefix}_"
        names = [one.removeprefix(begin) for one in self._values if one.startswith(begin) and one != begin]
        return sorted(names, key=_natural)

    def named(self, prefix: str) -> list[tuple[str, str, str]]:
        """The variables with this prefix, 2 before 10: label, suffix (`default` for none), value."""
        found = [(f"{prefix}_{name}", name) for name in self.suffixes(prefix)]
        if prefix in self._values:
            found.append((prefix, "default"))
        found.sort(key=lambda entry: _natural(entry[1]))
        return [(self.label(variable), name, self.text(variable)) for variable, name in found]

    def is_filled(self, variable: str) -> bool:
        """Whether a variable has a value that is not the path of a secret's file."""
        return bool(self._values.get(variable))

    def label(self, variable: str) -> str:
        """The name to use in messages: `NAME_FILE` for a value that was read from a file."""
        return self._labels.get(variable, variable)

    def text(self, variable: str) -> str:
        """A variable's value without quotes and comment; empty if it is not set."""
        self.known.add(variable)
        if variable in self._commented:
            self._commented.remove(variable)
            self.warnings.append(f"{variable}: the text after # is a comment and ignored")
        return self._values.get(variable, "")

    def number(
        self, variable: str, default: float, *, most: float = 1e9, whole: bool = False, positive: bool = False
    ) -> float:
        """A number from 0, or above 0 if `positive`, to `most`."""
        value = self.text(variable)
        if not value:
            return default
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = math.nan
        if not (0 <= number <= most) or (positive and number == 0):
            kind = "a whole number" if whole else "a number"
            least = "above 0" if positive else "from 0"
            self.mistakes.append(f"{variable}: {value!r} is not {kind} {least} to {most:.0f}")
            return default
        return number

    def megabytes(self, variable: str, default: int) -> int:
        """A number of megabytes, as bytes."""
        return max(1, int(self.number(variable, default / MEGABYTE, positive=True) * MEGABYTE))

    def share(self, variable: str, default: float) -> float:
        """A share in percent, as a number from 0 to 1; 0 for `off` and 0."""
        value = self.text(variable)
        if not value:
            return default
        match = _SHARE.fullmatch(value)
        if match is None or float(match[1] or 0) > 100:
            self.mistakes.append(f"{variable}: {value!r} is not off or a share up to 100%, such as 5%")
            return default
        return float(match[1] or 0) / 100

    def backoff(self, prefix: str, default: ExponentialBackoff) -> ExponentialBackoff:
        """Two variables: the first and the longest bench, in seconds."""
        first = self.number(f"{prefix}_SECONDS", default.first, positive=True)
        longest = self.number(f"{prefix}_MAX_SECONDS", max(default.longest, first), positive=True)
        if longest < first:
            self.mistakes.append(
                f"{prefix}_MAX_SECONDS: {longest:g} is less than {prefix}_SECONDS ({first:g})"
            )
        return ExponentialBackoff(first, longest)

    def choice(self, variable: str, choices: tuple[str, ...]) -> str:
        """One of a few words, in lower case; empty if it is not set."""
        value = self.text(variable).lower()
        if value and value not in choices:
            self.mistakes.append(f"{variable}: {value!r} is not one of {', '.join(choices)}")
        return value

    def file(self, variable: str) -> str | None:
        """The path of a file that exists."""
        value = self.text(variable)
        try:
            found = Path(value).is_file()
        except (OSError, ValueError):  # a name that no file can have
            found = False
        if value and not found:
            self.mistakes.append(f"{variable}: there is no file {value[:200]!r}")
        return value or None

    def workers(self, variable: str, default: int) -> int:
        """A number of processes; 0 becomes the number of cores."""
        wanted = int(self.number(variable, default, most=1000, whole=True))
        if wanted != 1 and not hasattr(os, "fork"):
            self.mistakes.append(f"{variable}: this system supports one process only")
        if wanted:
            return wanted
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def url(self, variable: str, schemes: tuple[str, ...], *, bare: bool | None) -> str | None:
        """A URL with one of the schemes.

        With `bare` it may have credentials but no path, without a path but no credentials; with None both,
        and a query.
        """
        value = self.text(variable).rstrip("/")
        if not value:
            return None
        # The value is not shown, since it may contain a password.
        try:
            parts = urlsplit(value)
            usable = (
                bool(parts.hostname or parts.scheme == "unix")
                and parts.port != 0
                and _SENDABLE.fullmatch(value) is not None
            )
        except ValueError:
            usable = False
        label = self.label(variable)
        if not usable or parts.scheme not in schemes:
            begins = ", ".join(f"{scheme}://" for scheme in schemes)
            self.mistakes.append(f"{label}: not a URL that begins with {begins}")
        elif bare is not None and ({"?", "#"} & set(value) or (parts.path if bare else "@" in parts.netloc)):
            self.mistakes.append(f"{label}: has {'a path' if bare else 'a user name'}, query or fragment")
        return value

    def origins(self, variable: str) -> tuple[str, ...]:
        """Origins, separated by commas."""
        values = tuple(
            part.strip().rstrip("/") for part in (self.text(variable) or "*").split(",") if part.strip()
        )
        for value in values:
            if value != "*" and not _ORIGIN.fullmatch(value):
                self.mistakes.append(f"{variable}: {value!r} is not an origin like https://app.example")
        return values


def is_placeholder(secret: str) -> bool:
    """Whether this is a placeholder instead of a secret."""
    return secret in PLACEHOLDERS or _PLACEHOLDER_LIKE.fullmatch(secret) is not None


def is_sendable(secret: str) -> bool:
    """Whether it can be sent in a header field."""
    return _SENDABLE.fullmatch(secret) is not None


def _names_secret_file(variable: str) -> bool:
    secret = variable.removesuffix(_IN_FILE)
    is_named = any(secret == prefix or secret.startswith(f"{prefix}_") for prefix in _NAMED_SECRETS)
    return secret != variable and (is_named or secret in _SECRETS)


def _had_comment(value: str) -> bool:
    return "#" in value and without_comment(value) != unquoted(value)


def _shown(path: str) -> str:
    """A path for messages; empty when it may be a secret in the wrong variable."""
    try:
        folder = Path(path).parent
        is_path = folder.is_dir() and str(folder) not in {".", "/"}
    except (OSError, ValueError):
        is_path = False
    return f"{path!r}: " if is_path else ""


def _natural(name: str) -> list[tuple[int, str]]:
    # Numbers are compared as such: 2 is before 10.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
