"""What the operator sees and does: the status page, the snapshot, the stream of updates, and actions.

`snapshot` is the status as JSON; `event_stream` sends it to all watchers once a second; `actions` release,
bench and test a key; `key_changes` add keys to KEYS_FILE, pause and remove them. `records` serves the
request log, the events and the usage, with what it costs by a table of `prices`, and `history_ranges` what
became of requests over time. The page itself is in `page/`, plain JavaScript modules without a build step.
"""

__all__ = [
    "actions",
    "event_stream",
    "handlers",
    "history_ranges",
    "key_changes",
    "pages",
    "prices",
    "record_handlers",
    "records",
    "snapshot",
]
