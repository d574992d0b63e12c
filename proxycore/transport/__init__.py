"""Bytes on the wire, at both ends: the client's connections, and the upstream's.

The only room that touches sockets, TLS and the libraries of the wire. An `attempt` is one call to the
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
