"""HTTP as any server sees it: header fields, credentials, CORS, redaction, errors, the access log.

Nothing here knows of Gemini, of upstream keys or of sockets. `base_handler` handles every request that the
program serves, from its head to its entry in the log. The other modules are its parts; most are pure.
"""

__all__ = [
    "access_record",
    "address",
    "application",
    "auth",
    "base_handler",
    "checked_headers",
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
