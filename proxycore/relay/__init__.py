"""The relay of one client request, from its first byte to its last.

`handler` receives the request and holds its body while there is room for it; `exchange` is the loop over
keys: the next call, an attempt, what its response means, and what follows (`retry_policy`); `outcome`
decides which response the client gets if no key served it. Uploads, lists and Live sessions have handlers of
their own. `probe` sends the only requests that no client sent: those with retired keys.
"""

__all__ = [
    "handler",
    "lists",
    "live",
    "pool",
    "probe",
    "upload",
]
