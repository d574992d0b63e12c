"""Network I/O at both ends: connections of clients, and connections to the upstream.

The only room that uses sockets, TLS and HTTP libraries. An `attempt` is one call to the
upstream: it sends the request (`messages`, `request_body`, `held_body`), reads the response's head, and
relays the body chunk by chunk with backpressure, or buffers it (`fetch`, `buffered_response`). `server` and
`connection` refuse what is not valid HTTP/1.1 before a handler sees it.
"""

__all__ = [
    "address_file",
    "attempt",
    "body_budget",
    "buffered_response",
    "disconnect",
    "fetch",
    "held_body",
    "listener",
    "messages",
    "replay",
    "request_body",
    "response_head",
    "response_writer",
    "server",
    "turns",
    "upstream",
    "websocket",
]
