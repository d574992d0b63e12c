"""Validation of a client's WebSocket opening handshake (RFC 6455 §4.2.1). Pure."""

import re

from tornado.httputil import HTTPServerRequest

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


def handshake_fault(request: HTTPServerRequest) -> str:
    """What is wrong with the handshake, as a sentence; empty if nothing is."""
    headers = request.headers
    options = [option.strip().lower() for option in headers.get("Connection", "").split(",")]
    version = headers.get("Sec-WebSocket-Version", "")
    if headers.get("Upgrade", "").lower() != "websocket" or version != "13":
        return "Live sessions use WebSocket version 13; this address accepts nothing else."
    if "upgrade" not in options:
        return "A WebSocket handshake needs the header Connection: Upgrade."
    if not _KEY.fullmatch(headers.get("Sec-WebSocket-Key", "")):
        return "Sec-WebSocket-Key is not 16 bytes in base64."
    names = subprotocols_in(request)
    if len(set(names)) < len(names) or not all(map(_TOKEN.fullmatch, names)):
        return "Sec-WebSocket-Protocol is not a list of different names."
    return ""


def subprotocols_in(request: HTTPServerRequest) -> list[str]:
    """The subprotocols that the client offers, in order."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return [name.strip() for name in offered if name.strip()]
