"""Which key is next, which rest, who waits, and who owns what. No I/O: clock and randomness are arguments.

A key is *ready* until a response says otherwise. A refusal *benches* it until a moment, for a reason: for
one lane (a quota, shared by its project), or as a whole. A refusal without a reason is a *suspicion* until
other keys show whom it is about (`attribution`); a key that is called dead repeatedly is *retired*, and
probed. Quotas are learned, so that keys rest before they would be refused. When no key is ready, requests
wait in order of arrival (`wait_queue`), each with a call reserved. Everything that changes is published as
an event (`events`).
"""

__all__ = [
    "affinity",
    "bench",
    "calls",
    "case",
    "events",
    "judgement",
    "key",
    "limiter",
    "outage",
    "ownership",
    "retry_budget",
    "rotator",
    "scheduler",
    "search",
    "wait_queues",
]
