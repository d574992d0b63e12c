"""What the operator sees and does: the status page, the snapshot, the stream of updates, and actions.

`snapshot` presents what is known as JSON, once a second at most; `event_stream` sends it to everyone who
watches; `actions` release, bench and try a key. The page itself is in `page/`, plain modules without a build
step.
"""

__all__ = [
    "actions",
    "event_stream",
    "handlers",
    "pages",
    "snapshot",
]
