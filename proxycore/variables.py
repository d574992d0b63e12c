"""Variables, read one by one: numbers, words, URLs, secrets, and what is wrong with each."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxycore.bench import Doubling

MEGABYTE = 1024 * 1024

PLACEHOLDERS = frozenset(
    {"your-first-gemini-api-key", "your-second-gemini-api-key", "choose-a-long-random-secret"}
)
"""What `.env.example` has where a secret belongs."""

_PLACEHOLDER_LIKE = re.compile(r"(?i)<.*>|your[-_ ].*|.*change[-_ ]?me.*|\.{3}|x{3,}")
# What a header field can carry (RFC 9110 §5.5), less spaces: a secret goes out as one.
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_ORIGIN = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/?#\s]+|null")


class VariablesReader:
    """Reads single variables; `mistakes` and `warnings` are what is wrong and what is odd about them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name: value.strip() for name, value in variables.items()}
        self.mistakes: list[str] = []
        self.warnings: list[str] = []

    def google_keys(self) -> tuple[dict[str, str], dict[str, str]]:
        """The Gemini API keys by their names, and the projects that are told of some."""
        keys: dict[str, str] = {}
        projects: dict[str, str] = {}
        for variable, suffix, secret in self._named("GOOGLE_API_KEY"):
            name, _, project = suffix.partition("__")
            if not (name and project):
                name, project = suffix, ""
            if not secret:
                self.warnings.append(f"{variable}: empty, ignored")
            elif is_placeholder(secret):
                self.warnings.append(f"{variable}: still a placeholder, ignored; put a Gemini API key there")
            elif not _SENDABLE.fullmatch(secret):
                self.warnings.append(f"{variable}: has spaces or characters that no API key has, ignored")
            elif secret in keys.values():
                twin = next(other for other, known in keys.items() if known == secret)
                self.warnings.append(f"{variable}: the same key as key {twin}, counted once")
            elif name in keys:
                self.warnings.append(f"{variable}: there is a key {name} already, ignored")
            else:
                keys[name] = secret
                if project:
                    projects[name] = project
        return keys, projects

    def client_keys(self) -> dict[str, str]:
        """The client keys by their names."""
        keys: dict[str, str] = {}
        for variable, name, secret in self._named("OUTPUT_API_KEY"):
            if secret and is_placeholder(secret):
                self.mistakes.append(
                    f"{variable}: still a placeholder; choose a long random secret, or remove the line"
                )
            elif secret and not _SENDABLE.fullmatch(secret):
                self.mistakes.append(f"{variable}: has spaces or characters that a header can't carry")
            elif secret and name in keys:
                self.mistakes.append(f"{variable}: there is a client key {name} already; choose another name")
            elif secret:
                keys[name] = secret
        return keys

    def admin_key(self) -> str | None:
        """The admin key; None if there is none."""
        secret = self.text("ADMIN_API_KEY")
        if secret and is_placeholder(secret):
            self.mistakes.append("ADMIN_API_KEY: still a placeholder; choose a long random secret")
        elif secret and not _SENDABLE.fullmatch(secret):
            self.mistakes.append("ADMIN_API_KEY: has spaces or characters that a header can't carry")
        return secret or None

    def _named(self, prefix: str) -> list[tuple[str, str, str]]:
        found = []
        for variable, value in self._variables.items():
            if variable == prefix:
                found.append((variable, "default", value))
            elif variable.startswith(f"{prefix}_") and variable != f"{prefix}_":
                found.append((variable, variable.removeprefix(f"{prefix}_"), value))
        return sorted(found, key=lambda entry: _natural(entry[1]))

    def text(self, variable: str) -> str:
        """A variable as it is; empty if there is none."""
        return self._variables.get(variable, "")

    def number(
        self, variable: str, default: float, *, most: float = 1e9, whole: bool = False, positive: bool = False
    ) -> float:
        """A number of at least 0."""
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
        """Megabytes, in bytes."""
        return max(1, int(self.number(variable, default / MEGABYTE, positive=True) * MEGABYTE))

    def doubling(self, prefix: str, default: Doubling) -> Doubling:
        """Two variables: the first and the longest rest, in seconds."""
        first = self.number(f"{prefix}_SECONDS", default.first, positive=True)
        longest = self.number(f"{prefix}_MAX_SECONDS", max(default.longest, first), positive=True)
        if longest < first:
            self.mistakes.append(
                f"{prefix}_MAX_SECONDS: {longest:g} is less than {prefix}_SECONDS ({first:g})"
            )
        return Doubling(first, longest)

    def choice(self, variable: str, choices: tuple[str, ...]) -> str:
        """One of a few words; empty if there is none."""
        value = self.text(variable).lower()
        if value and value not in choices:
            self.mistakes.append(f"{variable}: {value!r} is not one of {', '.join(choices)}")
        return value

    def file(self, variable: str) -> str | None:
        """The name of a file that is there."""
        value = self.text(variable)
        try:
            found = Path(value).is_file()
        except (OSError, ValueError):  # a name that no file can have
            found = False
        if value and not found:
            self.mistakes.append(f"{variable}: there is no file {value[:200]!r}")
        return value or None

    def workers(self, variable: str, default: int) -> int:
        """A number of processes; 0 stands for one for each core."""
        wanted = int(self.number(variable, default, most=1000, whole=True))
        if wanted != 1 and not hasattr(os, "fork"):
            self.mistakes.append(f"{variable}: this system can run one process only")
        if wanted:
            return wanted
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def url(self, variable: str, schemes: tuple[str, ...], *, bare: bool | None) -> str | None:
        """A URL with one of the schemes; `bare` says whether it may have credentials but no path.

        None: both, and a query.
        """
        value = self.text(variable).rstrip("/")
        if not value:
            return None
        # The value itself is not shown: it may hold a password.
        try:
            parts = urlsplit(value)
            usable = (
                bool(parts.hostname or parts.scheme == "unix")
                and parts.port != 0
                and _SENDABLE.fullmatch(value) is not None
            )
        except ValueError:
            usable = False
        if not usable or parts.scheme not in schemes:
            self.mistakes.append(
                f"{variable}: not a URL that begins with {', '.join(s + '://' for s in schemes)}"
            )
        elif bare is not None and ({"?", "#"} & set(value) or (parts.path if bare else "@" in parts.netloc)):
            self.mistakes.append(f"{variable}: has {'a path' if bare else 'a user name'}, query or fragment")
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
    """Whether this stands where a secret belongs."""
    return secret in PLACEHOLDERS or _PLACEHOLDER_LIKE.fullmatch(secret) is not None


def _natural(name: str) -> list[tuple[int, str]]:
    # 2 before 10, as people count.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
