"""A journal in memory: the requests that ended, and the events."""

from proxycore.storage.rows import EventRow, RequestRow
from tests.support.proxy import Proxy
from tests.support.waiting import until


class Kept:
    """What a proxy records from now on."""

    def __init__(self, here: Proxy) -> None:
        self.requests: list[RequestRow] = []
        self.events: list[EventRow] = []
        self.put_request, self.put_event = self.requests.append, self.events.append
        here.app.record_in(self)

    async def row(self) -> RequestRow:
        """The only request, once it is over."""
        await until(lambda: bool(self.requests))
        (row,) = self.requests
        return row
