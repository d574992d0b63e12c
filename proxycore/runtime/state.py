"""The state file, by the settings at start: of what a reload changes, it only gets the new secrets."""

from collections.abc import Callable
from pathlib import Path

from proxycore.clock import Clock
from proxycore.http.redaction import Redactor
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.store import Store
from proxycore.runtime.announcements import keys_and_clients
from proxycore.runtime.settings import Settings
from proxycore.storage.rows import EventKind, EventRow
from proxycore.storage.storage import Storage


def make_storage(settings: Settings, clock: Clock) -> Storage | None:
    """Return the storage of the state file; None if there is to be none."""
    if settings.state_file is None:
        return None
    return Storage(Path(settings.state_file), settings.keep_days * 86400, clock, _redaction(settings))


def disk_link(settings: Settings, store: Store, clock: Clock) -> DiskLink | None:
    """Return the link of a store to the state file; None if there is to be none."""
    storage = make_storage(settings, clock)
    return DiskLink(storage, store, clock, settings.upstream_url) if storage else None


def note_reload(link: DiskLink | None, settings: Settings, clock: Clock) -> None:
    """Record that these settings apply from now on, and keep their secrets out of the file, too."""
    if link:
        link.storage.redact_with(_redaction(settings))
        link.storage.put_event(EventRow(clock.wall(), EventKind.RELOADED, why=keys_and_clients(settings)))


def _redaction(settings: Settings) -> Callable[[str], str]:
    """What removes all secrets from a text, former ones as well."""
    return Redactor(dict(settings.former_secrets) | settings.secrets).text
