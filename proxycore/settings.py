"""The settings: read once at start from the environment and `.env`, all mistakes found then.

The only reader of `os.environ`. The environment wins over `.env`; an empty value counts as unset, since
container tools pass unset variables as empty ones.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv.parser import parse_stream

from proxycore.rotator import Doubling

MEGABYTE = 1024 * 1024
_BENCH = Doubling(10.0, 600.0)
_FORBIDDEN_BENCH = Doubling(300.0, 86400.0)

PLACEHOLDERS = frozenset(
    {"your-first-gemini-api-key", "your-second-gemini-api-key", "choose-a-long-random-secret"}
)
"""What `.env.example` has where a secret belongs."""

_PLACEHOLDER_LIKE = re.compile(r"(?i)<.*>|your[-_ ].*|.*change[-_ ]?me.*|\.{3}|x{3,}")
# What a header field can carry (RFC 9110 §5.5), less spaces: a secret goes out as one.
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_ORIGIN = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/?#\s]+|null")

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class SettingsError(Exception):
    """The settings are unusable; the message lists every mistake and names the variables."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. Times are seconds; `README.md` has the table."""

    google_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # name -> secret
    client_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # name -> secret
    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside; HOST narrows it
    port: int = 8000
    upstream_url: str = "https://generativelanguage.googleapis.com"
    upstream_ca_file: str | None = None
    upstream_proxy: str | None = field(default=None, repr=False)
    public_url: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    cors_allow_origins: tuple[str, ...] = ("*",)
    max_attempts: int = 0
    max_wait: float = 10.0
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0
    max_body_bytes: int = 100 * MEGABYTE
    bench: Doubling = _BENCH
    forbidden_bench: Doubling = _FORBIDDEN_BENCH
    drain_timeout: float = 30.0
    log_level: str = "info"
    log_format: str = "text"
    warnings: Sequence[str] = ()  # what is odd, but not wrong enough to stop

    @property
    def key_names(self) -> dict[str, str]:
        """What may be shown instead of each Gemini API key."""
        return {secret: f"key {name}" for name, secret in self.google_keys.items()}

    @property
    def secrets(self) -> dict[str, str]:
        """What may be shown instead of each secret, client keys included."""
        return {secret: f"client key {name}" for name, secret in self.client_keys.items()} | self.key_names


def read(folder: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """All variables: from `overrides` (flags), the environment, and `.env` in `folder`, in this order.

    Raises SettingsError when `.env` can't be read.
    """
    # Container tools pass unset variables as empty ones. They hide nothing, but an empty key is told.
    empty = {name: value for name, value in os.environ.items() if not value.strip()}
    return empty | _dotenv(folder / ".env") | _filled(os.environ) | _filled(overrides)


def without_keys(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables less the Gemini keys, all about the upstream, and placeholders: what `--demo` goes by."""
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(("GOOGLE_API_KEY", "UPSTREAM_")) and not _is_placeholder(value.strip())
    }


def parse(variables: Mapping[str, str]) -> Settings:
    """The settings that these variables make; raises SettingsError with every mistake in one message."""
    reader = _Reader(variables)
    settings = Settings(
        google_keys=reader.google_keys(),
        client_keys=reader.client_keys(),
        host=reader.text("HOST") or Settings.host,
        port=int(reader.number("PORT", Settings.port, most=65535, whole=True)),
        upstream_url=reader.url("UPSTREAM_URL", ("http", "https"), bare=False) or Settings.upstream_url,
        upstream_ca_file=reader.file("UPSTREAM_CA_FILE"),
        upstream_proxy=reader.url("UPSTREAM_PROXY", PROXY_SCHEMES, bare=True),
        public_url=reader.url("PUBLIC_URL", ("http", "https"), bare=False),
        tls_cert_file=reader.file("TLS_CERT_FILE"),
        tls_key_file=reader.file("TLS_KEY_FILE"),
        cors_allow_origins=reader.origins("CORS_ALLOW_ORIGIN"),
        max_attempts=int(reader.number("MAX_ATTEMPTS", Settings.max_attempts, whole=True)),
        max_wait=reader.number("MAX_WAIT", Settings.max_wait),
        connect_timeout=reader.number("CONNECT_TIMEOUT", Settings.connect_timeout, positive=True),
        first_byte_timeout=reader.number("FIRST_BYTE_TIMEOUT", Settings.first_byte_timeout, positive=True),
        idle_timeout=reader.number("IDLE_TIMEOUT", Settings.idle_timeout, positive=True),
        max_body_bytes=reader.megabytes("MAX_BODY_MB", Settings.max_body_bytes),
        bench=reader.doubling("BENCH", Settings.bench),
        forbidden_bench=reader.doubling("FORBIDDEN_BENCH", Settings.forbidden_bench),
        drain_timeout=reader.number("DRAIN_TIMEOUT", Settings.drain_timeout),
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS) or Settings.log_level,
        log_format=reader.choice("LOG_FORMAT", LOG_FORMATS) or Settings.log_format,
        warnings=reader.warnings,
    )
    if settings.tls_key_file and not settings.tls_cert_file:
        reader.mistakes.append("TLS_KEY_FILE: needs TLS_CERT_FILE, the certificate that the key belongs to")
    if reader.mistakes:
        raise SettingsError("\n".join(reader.mistakes))
    return settings


def _dotenv(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: can't be read: {error}") from error
    mistakes = [
        f"{path.name}, line {b.original.line}: not of the form NAME=value" for b in bindings if b.error
    ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return {binding.key: binding.value or "" for binding in bindings if binding.key}


def _filled(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value.strip()}


class _Reader:
    """Reads single variables and collects what is wrong with them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name: value.strip() for name, value in variables.items()}
        self.mistakes: list[str] = []
        self.warnings: list[str] = []

    def google_keys(self) -> dict[str, str]:
        keys: dict[str, str] = {}
        for variable, name, secret in self._named("GOOGLE_API_KEY"):
            if not secret:
                self.warnings.append(f"{variable}: empty, ignored")
            elif _is_placeholder(secret):
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
        return keys

    def client_keys(self) -> dict[str, str]:
        keys: dict[str, str] = {}
        for variable, name, secret in self._named("OUTPUT_API_KEY"):
            if secret and _is_placeholder(secret):
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

    def _named(self, prefix: str) -> list[tuple[str, str, str]]:
        found = []
        for variable, value in self._variables.items():
            if variable == prefix:
                found.append((variable, "default", value))
            elif variable.startswith(f"{prefix}_") and variable != f"{prefix}_":
                found.append((variable, variable.removeprefix(f"{prefix}_"), value))
        return sorted(found, key=lambda entry: _natural(entry[1]))

    def text(self, variable: str) -> str:
        return self._variables.get(variable, "")

    def number(
        self, variable: str, default: float, *, most: float = 1e9, whole: bool = False, positive: bool = False
    ) -> float:
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
        return max(1, int(self.number(variable, default / MEGABYTE, positive=True) * MEGABYTE))

    def doubling(self, prefix: str, default: Doubling) -> Doubling:
        first = self.number(f"{prefix}_SECONDS", default.first, positive=True)
        longest = self.number(f"{prefix}_MAX_SECONDS", max(default.longest, first), positive=True)
        if longest < first:
            self.mistakes.append(
                f"{prefix}_MAX_SECONDS: {longest:g} is less than {prefix}_SECONDS ({first:g})"
            )
        return Doubling(first, longest)

    def choice(self, variable: str, choices: tuple[str, ...]) -> str:
        value = self.text(variable).lower()
        if value and value not in choices:
            self.mistakes.append(f"{variable}: {value!r} is not one of {', '.join(choices)}")
        return value

    def file(self, variable: str) -> str | None:
        value = self.text(variable)
        try:
            found = Path(value).is_file()
        except (OSError, ValueError):  # a name that no file can have
            found = False
        if value and not found:
            self.mistakes.append(f"{variable}: there is no file {value[:200]!r}")
        return value or None

    def url(self, variable: str, schemes: tuple[str, ...], *, bare: bool) -> str | None:
        """A URL with one of the schemes; `bare` says whether it may have credentials but no path."""
        value = self.text(variable).rstrip("/")
        if not value:
            return None
        # The value itself is not shown: it may hold a password.
        try:
            parts = urlsplit(value)
            usable = bool(parts.hostname) and parts.port != 0 and _SENDABLE.fullmatch(value) is not None
        except ValueError:
            usable = False
        if not usable or parts.scheme not in schemes:
            self.mistakes.append(
                f"{variable}: not a URL that begins with {', '.join(s + '://' for s in schemes)}"
            )
        elif {"?", "#"} & set(value) or (parts.path if bare else "@" in parts.netloc):
            self.mistakes.append(f"{variable}: has {'a path' if bare else 'a user name'}, query or fragment")
        return value

    def origins(self, variable: str) -> tuple[str, ...]:
        values = tuple(
            part.strip().rstrip("/") for part in (self.text(variable) or "*").split(",") if part.strip()
        )
        for value in values:
            if value != "*" and not _ORIGIN.fullmatch(value):
                self.mistakes.append(f"{variable}: {value!r} is not an origin like https://app.example")
        return values


def _is_placeholder(secret: str) -> bool:
    return secret in PLACEHOLDERS or _PLACEHOLDER_LIKE.fullmatch(secret) is not None


def _natural(name: str) -> list[tuple[int, str]]:
    # 2 before 10, as people count.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
