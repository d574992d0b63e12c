"""Network I/O at both ends: connections of clients, and connections to the upstream.

The only room that uses sockets, TLS and HTTP libraries. An `attempt` is one call to the
upstream: it sends the request (`messages`, `request_body`, `held_body`), reads the response's head, and
relays the body chunk by chunk with backpressure, or buffers it (`fetch`, `buffered_response`). It fetches
through Tornado's AsyncHTTPClient, whose implementation is `client`: connections (`client_connection`,
`request_writer`, `response_head`, `chunked_body`) that are kept (`connection_pool`) and opened in one way
(`connector`, `tunnel`, `tls`, `tls_client`), which Live sessions share (`websocket`).

A `listener` accepts connections for a `server`. Each is a `server_connection`, which reads a head
(`request_head`) and the body behind it (`request_framing`), and refuses what is not valid HTTP/1.1. A
`server_request` is one request and its response, which handlers read and write; a WebSocket's handler takes
the connection over as a `websocket_stream`.
"""

__all__ = [
    "address_file",
    "attempt",
    "body_budget",
    "buffered_response",
    "chunked_body",
    "client",
    "client_connection",
    "connection_pool",
    "connector",
    "disconnect",
    "downstream",
    "downstream_transport",
    "fetch",
    "held_body",
    "incoming_request",
    "listener",
    "messages",
    "open_connections",
    "replay",
    "request_body",
    "request_framing",
    "request_head",
    "request_writer",
    "response_head",
    "response_writer",
    "server",
    "server_connection",
    "server_request",
    "tls",
    "tls_client",
    "tunnel",
    "turns",
    "upstream",
    "websocket",
    "websocket_stream",
]
