"""One client request, from its first byte to its last.

`handler` receives the request and holds its body as far as there is room for it; `exchange` is the loop over
keys: the next call, an attempt, what its response means, and what follows (`retry_policy`); `outcome`
decides which response is the client's when no key served it. Uploads, lists and Live sessions are exchanges
of their own kind. `probe` makes the calls that no client asked for: it tries retired keys.
"""

__all__ = [
    "handler",
    "lists",
    "live",
    "pool",
    "probe",
    "upload",
]
