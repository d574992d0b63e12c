"""The settings, made from variables. All configuration errors are reported together.

The environment is read only here. It overrides `.env`; an empty value counts as unset, since container
tools pass unset variables as empty ones.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from proxycore.admin.prices import Price
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.key import KeySpec
from proxycore.runtime.alert_addresses import read_alert_urls, secrets_in
from proxycore.runtime.client_settings import read_client_limits
from proxycore.runtime.credential_settings import (
    PROXY_SCHEMES,
    read_admin_key,
    read_client_keys,
    read_google_keys,
    read_proxies,
    read_writable_keys_file,
    warn_of_secrets,
    with_proxies,
)
from proxycore.runtime.env_file import EnvText, parse_env
from proxycore.runtime.env_reader import EnvReader, is_placeholder
from proxycore.runtime.key_order import in_order
from proxycore.runtime.memory import usable_memory
from proxycore.runtime.price_file import read_prices
from proxycore.runtime.quoting import without_comment
from proxycore.runtime.regular_file import FileError, NoFileError, TextFiles
from proxycore.runtime.setting_names import misnamed, warnings_of
from proxycore.stats.limits.ledger import LimitRules
from proxycore.transport.body_budget import MEGABYTE

_BENCH = ExponentialBackoff(10.0, 600.0)
_FORBIDDEN_BENCH = ExponentialBackoff(300.0, 86400.0)

_NOT_IN_DEMO = (
    "GOOGLE_",
    "GEMINI_",
    "KEYS_FILE",
    "KEY_ORDER",
    "ADMIN_WRITES",
    "UPSTREAM_",
    "WORKERS",
    "REDIS_URL",
    "STATE_FILE",
    "ALERT_URL",
)
_MOST_MISTAKES = 10
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


class SettingsError(Exception):
    """The settings can't be used; the message has a line for each error, with the name of its variable."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. Times are seconds; `README.md` has the table."""

    keys: tuple[KeySpec, ...] = ()  # for the Gemini API
    client_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # name -> secret
    client_limits: LimitRules = field(default_factory=LimitRules)
    admin_key: str | None = field(default=None, repr=False)
    keys_file: str | None = None  # the file that the admin may change, None if ADMIN_WRITES is off
    one_time_admin_key: str | None = field(default=None, repr=False)  # made for one run of the demo
    is_demo: bool = False
    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside; HOST narrows it
    port: int = 8000
    upstream_url: str = "https://generativelanguage.googleapis.com"
    upstream_ca_file: str | None = None
    upstream_proxy: str | None = field(default=None, repr=False)
    upstream_proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # by key or project
    public_url: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    cors_allow_origins: tuple[str, ...] = ("*",)
    max_attempts: int = 0
    max_wait: float = 10.0
    hedge_share: float = 0.0  # 0 to 1
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0
    max_body_bytes: int = 100 * MEGABYTE
    max_held_bytes: int = field(default_factory=lambda: usable_memory() // 4)  # of all processes together
    bench: ExponentialBackoff = _BENCH
    forbidden_bench: ExponentialBackoff = _FORBIDDEN_BENCH
    affinity: bool = True
    drain_timeout: float = 30.0
    workers: int = 1
    redis_url: str | None = field(default=None, repr=False)
    state_file: str | None = "state.db"
    keep_days: int = 30
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    prices: tuple[Price, ...] = ()  # what tokens cost, by model; the first that matches counts
    watch_env_file: bool = True
    log_level: str = "info"
    log_format: str = "text"
    warnings: Sequence[str] = ()  # mistakes that do not prevent serving
    misnamed: Mapping[str, str] = field(default_factory=dict)  # variable -> the one that was meant
    former_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # secret -> what to show

    @property
    def google_keys(self) -> dict[str, str]:
        """The secrets of the Gemini API keys by their names."""
        return {key.name: key.secret for key in self.keys}

    @property
    def key_names(self) -> dict[str, str]:
        """What is shown instead of each Gemini API key, by the key's secret."""
        return {key.secret: f"key {key.name}" for key in self.keys}

    @property
    def secrets(self) -> dict[str, str]:
        """What is shown instead of each secret, by the secret."""
        admin_key = self.admin_key or self.one_time_admin_key
        named = {admin_key: "the admin key"} if admin_key else {}
        named |= secrets_in(self.alert_urls)
        named |= {secret: f"client key {name}" for name, secret in self.client_keys.items()} | self.key_names
        urls = {"UPSTREAM_PROXY": self.upstream_proxy, "REDIS_URL": self.redis_url}
        urls |= {f"UPSTREAM_PROXY_{name}": url for name, url in self.upstream_proxies.items()}
        for variable, url in urls.items():
            if password := urlsplit(url or "").password:
                named = {password: f"the password of {variable}"} | named
                named = {unquote(password): f"the password of {variable}"} | named
        return named


def read_env_file(path: Path, files: TextFiles) -> EnvText:
    """Return the variables of `.env`; none if there is no such file.

    Raises SettingsError when the file can't be used, StillChangingError while it is being written.
    """
    try:
        env = parse_env(files.text(path))
    except NoFileError:
        return EnvText()
    except FileError as error:
        raise SettingsError(f"{path.name}: {error}") from error
    if env.mistakes:
        more = len(env.mistakes) - _MOST_MISTAKES
        listed = [
            *env.mistakes[:_MOST_MISTAKES],
            *([f"{path.name}: {more} more lines like these"] if more > 0 else []),
        ]
        raise SettingsError("\n".join(listed))
    return env


def merged(in_env_file: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return all variables: from `overrides` (flags), the environment, and `.env`, in this order."""
    # Empty variables override nothing, but are kept: an empty key gets a warning.
    empty = {name: value for name, value in os.environ.items() if not without_comment(value)}
    return empty | dict(in_env_file) | _filled(os.environ) | _filled(overrides)


def read(folder: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return all variables, with those of `.env` in `folder`. Raises SettingsError if that can't be used."""
    return merged(read_env_file(folder / ".env", TextFiles()).values, overrides)


def without_keys(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for `--demo`: without Gemini keys, the upstream, and other processes."""
    return {
        name: value
        for name, value in variables.items()
        if not name.upper().startswith(_NOT_IN_DEMO) and not is_placeholder(without_comment(value))
    }


def parse(
    variables: Mapping[str, str], files: TextFiles | None = None, in_env_file: Collection[str] = ()
) -> Settings:
    """Make settings from variables. Files that they name are read through `files`.

    `in_env_file` are the names in `.env`: there is a warning for each that is no setting.

    Raises SettingsError with all errors, StillChangingError while a file is being written.
    """
    reader = EnvReader(variables, files or TextFiles())
    keys = in_order(reader, "KEY_ORDER", read_google_keys(reader).specs)
    client_keys = read_client_keys(reader)
    admin_key = read_admin_key(reader)
    warn_of_secrets(reader, keys, client_keys, admin_key)
    proxy = reader.url("UPSTREAM_PROXY", PROXY_SCHEMES, bare=True)
    proxies = read_proxies(reader, keys)
    settings = Settings(
        keys=with_proxies(keys, proxies, proxy),
        client_keys=client_keys,
        client_limits=read_client_limits(reader, client_keys),
        admin_key=admin_key or client_keys.get("default"),
        keys_file=read_writable_keys_file(reader),
        host=reader.text("HOST").removeprefix("[").removesuffix("]") or Settings.host,
        port=int(reader.number("PORT", Settings.port, most=65535, whole=True)),
        upstream_url=reader.url("UPSTREAM_URL", ("http", "https"), bare=False) or Settings.upstream_url,
        upstream_ca_file=reader.file("UPSTREAM_CA_FILE"),
        upstream_proxy=proxy,
        upstream_proxies=proxies,
        public_url=reader.url("PUBLIC_URL", ("http", "https"), bare=False),
        tls_cert_file=reader.file("TLS_CERT_FILE"),
        tls_key_file=reader.file("TLS_KEY_FILE"),
        cors_allow_origins=reader.origins("CORS_ALLOW_ORIGIN"),
        max_attempts=int(reader.number("MAX_ATTEMPTS", Settings.max_attempts, whole=True)),
        max_wait=reader.number("MAX_WAIT", Settings.max_wait),
        hedge_share=reader.share("HEDGE", Settings.hedge_share),
        connect_timeout=reader.number("CONNECT_TIMEOUT", Settings.connect_timeout, positive=True),
        first_byte_timeout=reader.number("FIRST_BYTE_TIMEOUT", Settings.first_byte_timeout, positive=True),
        idle_timeout=reader.number("IDLE_TIMEOUT", Settings.idle_timeout, positive=True),
        max_body_bytes=reader.megabytes("MAX_BODY_MB", Settings.max_body_bytes),
        max_held_bytes=reader.megabytes("MAX_HELD_MB", usable_memory() // 4),
        bench=reader.backoff("BENCH", Settings.bench),
        forbidden_bench=reader.backoff("FORBIDDEN_BENCH", Settings.forbidden_bench),
        affinity=reader.choice("AFFINITY", ("on", "off")) != "off",
        drain_timeout=reader.number("DRAIN_TIMEOUT", Settings.drain_timeout),
        workers=reader.workers("WORKERS", Settings.workers),
        redis_url=reader.url("REDIS_URL", ("redis", "rediss", "unix"), bare=None),
        state_file=_unless_off(reader.text("STATE_FILE") or Settings.state_file),
        keep_days=int(reader.number("KEEP_DAYS", Settings.keep_days, whole=True, positive=True)),
        alert_urls=read_alert_urls(reader),
        prices=read_prices(reader, "PRICES_FILE"),
        watch_env_file=reader.choice("WATCH_ENV_FILE", ("on", "off")) != "off",
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS) or Settings.log_level,
        log_format=reader.choice("LOG_FORMAT", LOG_FORMATS) or Settings.log_format,
    )
    if settings.tls_key_file and not settings.tls_cert_file:
        reader.mistakes.append("TLS_KEY_FILE: needs TLS_CERT_FILE, the certificate that the key belongs to")
    largest = settings.max_held_bytes // settings.workers
    if reader.text("MAX_HELD_MB") and largest < settings.max_body_bytes:
        shared = f" (the share of one of {settings.workers} workers)" if settings.workers > 1 else ""
        reader.warnings.append(
            f"MAX_HELD_MB: request bodies over {largest / MEGABYTE:.4g} MB{shared} are refused, although"
            f" MAX_BODY_MB is {settings.max_body_bytes / MEGABYTE:.4g}"
        )
    if reader.mistakes:
        raise SettingsError("\n".join(reader.mistakes))
    filled = [name for name in variables if reader.is_filled(name)]
    other = misnamed(filled, reader.known, in_env_file)
    return replace(settings, warnings=[*reader.warnings, *warnings_of(other)], misnamed=other)


def _unless_off(value: str | None) -> str | None:
    return None if value is None or value.lower() == "off" else value


def _filled(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if without_comment(value)}
