"""The log lines of a process when it is ready, reloads and stops, and warnings about its settings."""

import logging

from proxycore import __version__
from proxycore.runtime.settings import Settings, SettingsError
from proxycore.transport.listener import reachable_host

logger = logging.getLogger(__name__)

SECOND_SIGNAL = "a second signal (Ctrl-C) stops immediately"
"""A hint for those who wait after the first signal."""


def announce_ready(settings: Settings, port: int) -> None:
    """Log the address, how many keys there are, and who may use them, after the warnings."""
    _warn(settings)
    host = reachable_host(settings.host)
    logger.info(
        "ready: %s://%s:%d%s, %s%s",
        "https" if settings.tls_cert_file else "http",
        host,
        port,
        f" (listening on {settings.host})" if host == "localhost" != settings.host else "",
        keys_and_clients(settings),
        f", {settings.workers} workers" if settings.workers > 1 else "",
        extra={"fields": {"version": __version__}},
    )


def announce_reload(former: Settings, settings: Settings) -> None:
    """Log that these settings apply now, their warnings, and which changes need a restart."""
    _warn(settings)
    for name in ("host", "port"):
        if getattr(former, name) != getattr(settings, name):
            logger.warning("%s: a change takes effect after a restart", name.upper())
    if (former.workers > 1) != (settings.workers > 1):
        logger.warning("WORKERS: a change from or to 1 takes effect after a restart")
    logger.info("reloaded: %s", keys_and_clients(settings))


def announce_rejected(error: SettingsError) -> None:
    """Log that changed settings can't be used, and why."""
    logger.error(
        "reload rejected, the current settings stay in effect: %s",
        "; ".join(str(error).splitlines()),
    )


def announce_stop(running: int, seconds: float, *, hint: bool) -> None:
    """Log for how many requests the process waits, and for how long at most.

    `hint` is whether to add how to stop at once.
    """
    if not running:
        logger.info("stopping: no requests in progress")
        return
    requests = "1 request" if running == 1 else f"{running} requests"
    ending = f"; {SECOND_SIGNAL}" if hint else ""
    logger.info("stopping: waiting up to %g s for %s to finish%s", seconds, requests, ending)


def _warn(settings: Settings) -> None:
    for warning in settings.warnings:
        logger.warning("%s", warning)
    if not settings.keys:
        misnamed = [name for name, meant in settings.misnamed.items() if meant.startswith("GOOGLE_API_KEY")]
        found = f" Not a valid name for one: {', '.join(misnamed)}." if misnamed else ""
        logger.error(
            "NO GEMINI API KEY is set: all requests get a 401 response.%s Set GOOGLE_API_KEY_1.", found
        )
    elif all(key.paused for key in settings.keys):
        logger.error("ALL GEMINI API KEYS are paused: all requests get a 401 response.")
    if not settings.client_keys and not settings.is_demo:  # a demo has no keys that need protection
        logger.warning("OUTPUT_API_KEY is not set: ANYONE who can reach this address can use your keys.")


def keys_and_clients(settings: Settings) -> str:
    """Return how many keys there are, and whether clients need one."""
    count = len(settings.keys)
    keys = "key" if count == 1 else "keys"
    clients = "client key required" if settings.client_keys else "no client key required"
    paused = sum(key.paused for key in settings.keys)
    return f"{count} Gemini API {keys}{f' ({paused} paused)' if paused else ''}, {clients}"
