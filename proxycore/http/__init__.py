"""HTTP as any server sees it: header fields, credentials, CORS, redaction, errors, the access log.

Nothing here knows of Gemini, of upstream keys or of sockets. `base_handler` is the life of every request
that the program answers, from its head to its line in the log; the other modules are what it is made of, and
pure.
"""

__all__ = [
    "access_record",
    "address",
    "auth",
    "base_handler",
    "coding",
    "context",
    "cors",
    "credential_limiter",
    "credentials",
    "error_response",
    "fields",
    "handler_state",
    "head_limits",
    "idle_timer",
    "incoming_body",
    "redaction",
    "websocket_handshake",
]
