"""The requests that are under way, as JSON: each stream, and the one that has waited longest. Pure.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable
from typing import Any

from proxycore.http.access_record import AccessRecord

_LONGEST_METHOD = 200  # characters


def stream_json(record: AccessRecord, now: float) -> dict[str, Any]:
    """Return a stream or Live session as JSON. `last_byte` is when the upstream sent something last."""
    activity = record.activity
    return {
        "id": record.request_id,
        "kind": record.kind,
        "client": record.client,
        "key": record.key,
        "model": record.model,
        "method": record.path[record.path.rfind(":") + 1 :][:_LONGEST_METHOD],
        "since": record.since,
        "attempts": record.attempts,
        "sent_bytes": record.sent_bytes,
        "last_byte": now - activity.idle if activity else None,
    }


def longest_wait(records: Iterable[AccessRecord]) -> tuple[float, str] | None:
    """Return since when, all its waits together, the longest waiter waits for a key, and its model.

    None if no request waits.
    """
    waits = ((one.waits_since - one.waited, one.model) for one in records if one.waits_since is not None)
    return min(waits, default=None)
