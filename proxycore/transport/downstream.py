"""A client's connection, as what reads from it and writes to it sees it."""

import asyncio
from typing import Protocol


class Downstream(Protocol):
    """A connection, as `downstream_transport` implements and describes it."""

    written: "asyncio.Future[None]"
    closed: bool

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and wait for the client."""

    def send(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes. Returns a future if the client has to catch up before more are written."""

    def pause(self) -> None:
        """Read nothing for now; a disconnect is noticed all the same."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Close the connection when what was written is sent."""

    def abort(self, *, reset: bool) -> None:
        """Close the connection now; with `reset`, so that the client sees that something is missing."""
