"""What handlers need of the connection to a client, which the transport implements."""

from typing import Protocol


class ClientConnection(Protocol):
    """The connection on which a request came.

    `fault` says why the request's head can't be taken, empty if it can; `has_too_many_fields` is whether it
    had more header fields than were parsed.
    """

    fault: str
    has_too_many_fields: bool

    def abort(self, *, reset: bool) -> None:
        """Close the connection in the midst of a response; with `reset`, by a TCP reset."""

    def close(self) -> None:
        """Close the connection."""
