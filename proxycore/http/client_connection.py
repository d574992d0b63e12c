"""The interface of a client's connection that handlers use; `transport.server_request` implements it."""

from typing import Protocol


class ClientConnection(Protocol):
    """The connection on which a request arrived.

    `fault` is the status and the reason, as a sentence, with which the request has to be refused for its
    head; None if the head is valid. `received` is whether the whole request has come.
    """

    fault: tuple[int, str] | None

    @property
    def received(self) -> bool:
        """Whether the whole request has come."""

    def abort(self, *, reset: bool) -> None:
        """Close the connection before the response is complete; with `reset`, by a TCP reset."""
