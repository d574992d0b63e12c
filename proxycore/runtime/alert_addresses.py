"""ALERT_URL: where alerts go, as addresses that Apprise understands, and the process that knows them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from proxycore.runtime import alert_process
from proxycore.runtime.env_reader import EnvReader

_VARIABLE = "ALERT_URL"
_SECRET = "ALERT_URL"  # noqa: S105 - what is shown instead of one
_CHECK_TIMEOUT = 60.0  # seconds
_LIKELY_SECRET = 16  # characters of a part of a path
# The environment of the process: it has no use for the program's own secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_PASSED_ON_PREFIXES = (
    "LC_",
    "PYTHON",
    "SSL_CERT_",
    "REQUESTS_CA_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
)


def read_alert_urls(reader: EnvReader) -> tuple[str, ...]:
    """Return the addresses for alerts. One that Apprise does not understand is a mistake."""
    addresses = tuple(reader.text(_VARIABLE).split())
    if not addresses:
        return ()
    label = reader.label(_VARIABLE)
    try:
        unknown = _unknown(addresses)
    except (OSError, ValueError, subprocess.SubprocessError):
        reader.mistakes.append(f"{label}: needs the Python package apprise; install requirements.txt")
        return ()
    # An address is not shown, since most contain a token.
    for number in unknown:
        which = f"address {number + 1} of {len(addresses)}" if len(addresses) > 1 else "the value"
        reader.mistakes.append(
            f"{label}: {which} is not an address that Apprise knows (https://appriseit.com/services/);"
            " a webhook is json://host/path, or jsons:// for HTTPS"
        )
    return addresses


def secrets_in(addresses: Iterable[str]) -> dict[str, str]:
    """Return what is shown instead of each secret in the addresses, by the secret."""
    found: list[str] = []
    for address in addresses:
        found.append(address)
        try:
            parts = urlsplit(address)
        except ValueError:  # Apprise reads more than URLs
            continue
        found += [part for part in (parts.password, parts.query) if part]
        found += [part for part in parts.path.split("/") if len(part) >= _LIKELY_SECRET]
    return {secret: _SECRET for one in found for secret in (one, unquote(one))}


def command() -> list[str]:
    """Return the command of the process that sends alerts."""
    return [sys.executable, "-P", str(Path(alert_process.__file__))]


def environment() -> dict[str, str]:
    """Return the environment of the process that sends alerts."""
    # One arena for malloc: each reserves memory, which is limited.
    return {"MALLOC_ARENA_MAX": "1"} | {
        name: value for name, value in os.environ.items() if _is_passed_on(name)
    }


def task(addresses: Iterable[str], notice: Mapping[str, str] | None = None) -> bytes:
    """Return what the process reads: the addresses, and the notice to send to them, if any."""
    return json.dumps({"addresses": list(addresses), **(notice or {})}).encode()


@lru_cache(8)
def _unknown(addresses: tuple[str, ...]) -> list[int]:
    """Return the numbers of the addresses that Apprise does not know. Cached: most reloads change none."""
    checked = subprocess.run(  # noqa: S603 - our own module
        command(),
        input=task(addresses),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        timeout=_CHECK_TIMEOUT,
        check=True,
    )
    lines = [json.loads(line) for line in checked.stdout.splitlines()]
    return [number for number, _, is_known in lines if not is_known]


def _is_passed_on(name: str) -> bool:
    return name.upper() in _PASSED_ON or name.upper().startswith(_PASSED_ON_PREFIXES)
