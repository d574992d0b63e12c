"""Reads the keys that are configured, for the Gemini API, clients and the admin, and warns of weak ones.

With a key for the Gemini API goes the outbound proxy that it is used through.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from proxycore.rotation.key import KeySpec
from proxycore.runtime.env_reader import EnvReader, is_placeholder, is_sendable
from proxycore.runtime.keyring import Keyring
from proxycore.runtime.quoting import has_lone_quote
from proxycore.runtime.setting_names import SYNONYMS

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
"""The schemes that the URL of an outbound proxy may have."""

_UNSENDABLE = "has spaces or characters that a header can't contain"
_SHORT = 16  # characters; shorter secrets can be guessed
_PARTS = re.compile(r"[,;]")
_LEAST_PART = 8  # characters of a part that may be meant as a separate key


def read_google_keys(reader: EnvReader) -> Keyring:
    """Return the Gemini API keys from variables and KEYS_FILE."""
    keyring = Keyring()
    for variable, suffix, value in reader.named("GOOGLE_API_KEY"):
        keyring.add_variable(variable, suffix, value)
    if path := reader.text("KEYS_FILE"):
        keyring.add_lines("KEYS_FILE", reader.file_text("KEYS_FILE", path))
    reader.warnings += keyring.warnings
    return keyring


def read_proxies(reader: EnvReader, keys: Sequence[KeySpec]) -> dict[str, str]:
    """Return the outbound proxies of single keys and projects, by the name of the key or project.

    There is a warning for one whose name no key and no project has; a key may be configured later.
    """
    proxies, names = {}, {name for key in keys for name in _proxy_names(key)}
    for name in reader.suffixes("UPSTREAM_PROXY"):
        variable = f"UPSTREAM_PROXY_{name}"
        if name not in names and variable in SYNONYMS:
            continue  # meant for all keys, and told like any misspelled name
        url = reader.url(variable, PROXY_SCHEMES, bare=True)
        if url:
            proxies[name] = url
            if name not in names:
                label = reader.label(variable)
                reader.warnings.append(f"{label}: there is no key and no project {name}, ignored")
    return proxies


def with_proxies(
    keys: Sequence[KeySpec], proxies: Mapping[str, str], other: str | None
) -> tuple[KeySpec, ...]:
    """Return the keys with their outbound proxies, by their own names or those of their projects.

    All other keys get the proxy `other`, None for none.
    """
    if not proxies and not other:
        return tuple(keys)
    return tuple(
        replace(key, proxy=next((proxies[name] for name in _proxy_names(key) if name in proxies), other))
        for key in keys
    )


def _proxy_names(key: KeySpec) -> Iterator[str]:
    """The names that a key's outbound proxy may have, the first one counts."""
    yield key.name
    variable, _, number = key.name.rpartition(".")
    if variable and number.isdecimal():
        yield variable  # of which the key is one of several
    if key.project:
        yield key.project


def read_writable_keys_file(reader: EnvReader) -> str | None:
    """Return the path of KEYS_FILE if the admin may change it, else None."""
    path, is_on = reader.text("KEYS_FILE"), reader.choice("ADMIN_WRITES", ("on", "off")) == "on"
    if is_on and not path:
        reader.mistakes.append("ADMIN_WRITES: needs KEYS_FILE, the path of the file that keys are written to")
    return path if is_on and path else None


def read_client_keys(reader: EnvReader) -> dict[str, str]:
    """Return the client keys by their names. A variable is one key, since a secret may have commas."""
    keys: dict[str, str] = {}
    for variable, name, secret in reader.named("OUTPUT_API_KEY"):
        if not secret:
            continue
        if is_placeholder(secret):
            reader.mistakes.append(
                f"{variable}: still a placeholder; choose a long random secret, or remove the line"
            )
        elif not is_sendable(secret):
            reader.mistakes.append(
                f"{variable}: {_UNSENDABLE}; it is one key; set further ones as OUTPUT_API_KEY_<name>"
            )
        elif not name.isprintable():
            reader.mistakes.append(f"{variable}: the key's name has non-printable characters")
        elif name in keys:
            reader.mistakes.append(f"{variable}: there is a client key {name} already; choose another name")
        else:
            keys[name] = secret
            parts = _PARTS.split(secret)
            if len(parts) > 1 and min(map(len, parts)) >= _LEAST_PART:
                reader.warnings.append(
                    f"{variable}: is one key, commas included; set further ones as OUTPUT_API_KEY_<name>"
                )
    return keys


def read_admin_key(reader: EnvReader) -> str | None:
    """Return the admin key; None if it is not set."""
    secret, variable = reader.text("ADMIN_API_KEY"), reader.label("ADMIN_API_KEY")
    if secret and is_placeholder(secret):
        reader.mistakes.append(f"{variable}: still a placeholder; choose a long random secret")
    elif secret and not is_sendable(secret):
        reader.mistakes.append(f"{variable}: {_UNSENDABLE}")
    return secret or None


def warn_of_secrets(
    reader: EnvReader, google: Iterable[KeySpec], clients: Mapping[str, str], admin: str | None
) -> None:
    """Warn of secrets that can be guessed, and of secrets that are used twice."""
    used_by = {key.secret: f"Gemini API key {key.name}" for key in google}
    for name, secret in clients.items():
        variable = reader.label("OUTPUT_API_KEY" if name == "default" else f"OUTPUT_API_KEY_{name}")
        if secret in used_by:
            reader.warnings.append(f"{variable}: the same as {used_by[secret]}; choose another secret")
        used_by.setdefault(secret, f"client key {name}")
        _warn_if_weak(reader, variable, secret)
    if admin:
        variable = reader.label("ADMIN_API_KEY")
        if admin in used_by:
            reader.warnings.append(f"{variable}: the same as {used_by[admin]}; choose another secret")
        _warn_if_weak(reader, variable, admin)


def _warn_if_weak(reader: EnvReader, variable: str, secret: str) -> None:
    if len(secret) < _SHORT:
        reader.warnings.append(
            f"{variable}: has fewer than {_SHORT} characters; choose a longer random secret"
        )
    if has_lone_quote(secret):
        reader.warnings.append(f"{variable}: begins or ends with a quotation mark, which is part of it")
