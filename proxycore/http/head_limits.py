"""How large the head of a request may be: its request line and header fields. Pure."""

from tornado.httputil import HTTPServerRequest

LARGEST_HEAD = 64 * 1024
"""Bytes of the request line and the header fields together."""

MOST_FIELDS = 100
"""Header fields that a request may have."""

TOO_LARGE = f"The request line and header fields are larger than {LARGEST_HEAD // 1024} kB."
"""The error message for a request whose head is larger."""

_LONGEST_TARGET = 16 * 1024  # bytes


def fault_of(request: HTTPServerRequest, *, has_too_many_fields: bool = False) -> tuple[int, str] | None:
    """The status and the message with which to refuse a request for its head; None if it is acceptable.

    `has_too_many_fields` is whether fields beyond `MOST_FIELDS` were dropped before the head was parsed.
    """
    target, fields = request.uri or "", list(request.headers.get_all())
    if len(target) > _LONGEST_TARGET:
        return 414, f"The request target is longer than {_LONGEST_TARGET // 1024} kB."
    if len(fields) > MOST_FIELDS or has_too_many_fields:
        return 431, f"The request has more than {MOST_FIELDS} header fields."
    line = len(request.method or "") + len(target) + len(request.version) + 4
    if line + sum(len(name) + len(value) + 4 for name, value in fields) > LARGEST_HEAD:
        return 431, TOO_LARGE
    return None
