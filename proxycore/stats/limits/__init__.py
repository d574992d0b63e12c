"""What each client may use: requests and tokens in a period, requests at once, models, an end date.

A relayed request is admitted by the `client_limiter` of its process, which gets requests granted by a
`lender`. With one process that is the `ledger`: the accounts of all clients, exact. Of several processes one
keeps the ledger, and the others get grants from it, ahead of demand while there is much left: so the sum of
all grants is never more than a limit. While that one is away, each process grants its share of the limits.
"""

__all__ = [
    "account",
    "client_limiter",
    "client_limits",
    "ledger",
    "lender",
    "remote_lender",
    "window",
]
