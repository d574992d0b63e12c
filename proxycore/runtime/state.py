"""The state file, by the settings at start: of what a reload changes, it only gets the new secrets."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from proxycore.clock import Clock
from proxycore.http.redaction import Redactor
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.store import Store
from proxycore.runtime.announcements import keys_and_clients
from proxycore.runtime.settings import Settings
from proxycore.storage.rows import EventKind, EventRow
from proxycore.storage.storage import Storage

_MOST_CHANGES = 1000  # of keys that a reload records one by one


def make_storage(settings: Settings, clock: Clock) -> Storage | None:
    """Return the storage of the state file; None if there is to be none."""
    if settings.state_file is None:
        return None
    return Storage(Path(settings.state_file), settings.keep_days * 86400, clock, _redaction(settings))


def disk_link(settings: Settings, store: Store, clock: Clock) -> DiskLink | None:
    """Return the link of a store to the state file; None if there is to be none."""
    storage = make_storage(settings, clock)
    return DiskLink(storage, store, clock, settings.upstream_url) if storage else None


def note_reload(link: DiskLink | None, former: Settings, settings: Settings, clock: Clock) -> None:
    """Record that these settings apply from now on, and keep their secrets out of the file, too."""
    if link is None:
        return
    link.storage.redact_with(_redaction(settings))
    now = clock.wall()
    link.storage.put_event(EventRow(now, EventKind.RELOADED, why=keys_and_clients(settings)))
    for name, change in islice(_changes_of_keys(former, settings), _MOST_CHANGES):
        link.storage.put_event(EventRow(now, EventKind.RELOADED, name, why=change))


def _changes_of_keys(former: Settings, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what has changed about keys: the name of each, and a word."""
    before, after = ({key.name: key for key in some.keys} for some in (former, settings))
    for name in before.keys() - after.keys():
        yield name, "removed"
    for name, key in after.items():
        known = before.get(name)
        if known is None:
            yield name, "added"
        elif known.secret != key.secret:
            yield name, "replaced"
        elif known.paused is not key.paused:
            yield name, "paused" if key.paused else "resumed"


def _redaction(settings: Settings) -> Callable[[str], str]:
    """What removes all secrets from a text, former ones as well."""
    return Redactor(dict(settings.former_secrets) | settings.secrets).text
