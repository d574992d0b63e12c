"""The interface of a client's connection that handlers use; `transport.connection` implements it."""

from typing import Protocol


class ClientConnection(Protocol):
    """The connection on which a request arrived.

    `fault` is why the request's head is invalid, as a sentence; empty if it is valid. `has_too_many_fields`
    is whether it had more header fields than were parsed. `query` is its query if Tornado has not seen it.
    """

    fault: str
    has_too_many_fields: bool
    query: str

    def abort(self, *, reset: bool) -> None:
        """Close the connection before the response is complete; with `reset`, by a TCP reset."""

    def close(self) -> None:
        """Close the connection."""
