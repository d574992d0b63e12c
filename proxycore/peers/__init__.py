"""What processes and hosts publish to each other, so that all of them know what one has learned.

The `replicator` turns the rotator's events into `update`s, each of which holds until it expires, and applies
those of others. The `publisher` sends them: to the `hub` of this host over a Unix socket (`worker_link`),
and from there to other replicas through Redis (`redis_link`). The hub's `store` keeps what still holds, for
workers that start later, and the state file (`disk_link`), for the next start. Rows for the request log go
from the workers to the hub in a `row_batch`, and workers ask the hub for what the file has (`records_link`).
"""

__all__ = [
    "alert_link",
    "disk_link",
    "hub",
    "publisher",
    "records_link",
    "redis_link",
    "replicator",
    "store",
    "worker_link",
]
