"""Which key is next, which are benched, who waits, who owns what. No I/O: time and randomness are arguments.

A key is *ready* until a response shows otherwise. A refusal *benches* it until a moment, for a reason: for
one lane (a quota, shared by its project), or as a whole. A refusal without a reason is a *suspicion* until
the results of other keys show what it is about (`attribution`). A key that is called dead repeatedly is
*retired*, and probed. Quotas are learned, so that no call is made that would be refused. When no key is
ready, requests wait (`wait_queue`), fairly between clients and then in order of arrival, with a call reserved
for each. The turns of a conversation prefer one project (`conversations`). Everything that changes is
published as an event (`events`).
"""

__all__ = [
    "affinity",
    "bench",
    "calls",
    "case",
    "conversations",
    "events",
    "hedging",
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
    "ways",
]
