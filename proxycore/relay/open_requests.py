"""The open requests, which the operator can end: those of this process, and of others on this host."""

from collections.abc import Awaitable, Callable

from proxycore.http.context import InFlight
from proxycore.relay.handler import RelayHandler


async def _nowhere(_: str) -> bool:
    return False


class OpenRequests:
    """Ends requests by their ids. `in_flight` has the requests of this process."""

    def __init__(self, in_flight: InFlight) -> None:
        self.end_elsewhere: Callable[[str], Awaitable[bool]] = _nowhere
        """Ends a request of another process; returns whether there was one."""
        self._in_flight = in_flight

    async def end(self, request: str) -> bool:
        """End the open request of this id; returns whether there was one."""
        return self.end_here(request) or await self.end_elsewhere(request)

    def end_here(self, request: str) -> bool:
        """End the open request of this id, if this process has it; returns whether it has.

        Clients choose the ids of their requests, so there may be several: all are ended.
        """
        handlers = [one for one in self._in_flight.running if isinstance(one, RelayHandler)]
        found = [one for one in handlers if one.record.request_id == request and not one.state.over]
        for handler in found:
            handler.end_by_hand()
        return bool(found)
