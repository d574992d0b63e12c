"""Where usage, requests and events are asked for: in this process, or in the one that has the state file."""

from typing import Protocol

from proxycore.storage.rows import (
    EventFilter,
    EventPage,
    NoStateFileError,
    RequestFilter,
    RequestPage,
    SlotQuery,
    SlotRange,
    UsageQuery,
    UsageRow,
)
from proxycore.storage.status import StateFileStatus, StateFileUse

MOST_ROWS = 1000
"""Requests or events of a page that can be asked for."""


class StateFileOffError(NoStateFileError):
    """There is to be no state file."""

    def __init__(self) -> None:
        super().__init__(
            "STATE_FILE is off, so nothing is recorded. Set it to the path of a file, and restart."
        )


class RecordsSource(Protocol):
    """Answers queries. Each raises NoStateFileError, and QueryError if it asks for too much."""

    async def requests(
        self, wanted: RequestFilter, *, before: int | None = None, limit: int = 100
    ) -> RequestPage:
        """Return a page of the request log, before a cursor."""

    async def events(self, wanted: EventFilter, *, before: int | None = None, limit: int = 100) -> EventPage:
        """Return a page of the events, before a cursor."""

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Return sums over requests."""

    async def status(self) -> StateFileStatus:
        """Return whether the state file is in use; raises neither of them."""

    async def slots(self, query: SlotQuery) -> SlotRange:
        """Return what became of requests, by slots of time."""


class NoRecords:
    """The records of a program without a state file: there are none."""

    async def requests(self, *_: object, **__: object) -> RequestPage:
        """Raise StateFileOffError."""
        raise StateFileOffError

    async def events(self, *_: object, **__: object) -> EventPage:
        """Raise StateFileOffError."""
        raise StateFileOffError

    async def usage(self, *_: object) -> list[UsageRow]:
        """Raise StateFileOffError."""
        raise StateFileOffError

    async def status(self) -> StateFileStatus:
        """Return that it is off."""
        return StateFileStatus(StateFileUse.OFF)

    async def slots(self, *_: object) -> SlotRange:
        """Raise StateFileOffError."""
        raise StateFileOffError
