"""A request whose body is held, as far as there is room for it, so that it can be sent again."""

import asyncio
import math
from collections.abc import Awaitable

from tornado.http1connection import HTTP1Connection

from proxycore.body_budget import SMALL
from proxycore.departure import has_left
from proxycore.handler import ProxyHandler
from proxycore.handler_state import HandlerState
from proxycore.held_body import HeldBody
from proxycore.pool import Pool
from proxycore.record import RequestOutcome
from proxycore.variables import MEGABYTE

_LOOK = 0.25  # seconds between two looks whether a client that waits has left
_LONGEST_TOLD = 10  # seconds after which a client that found no room may come again


class BodyHandler(ProxyHandler):
    """Holds the request's body, and lets the client wait as long as there is no room for it."""

    def initialize(self, pool: Pool) -> None:  # type: ignore[override] # Tornado passes keywords
        """Called by Tornado for every request."""
        super().initialize()
        self.pool = pool
        self.body = HeldBody(pool.budget.share())
        self._waits_for_room = False

    @property
    def holds_body(self) -> bool:
        """Whether the body is kept, so that it can be sent again."""
        return True

    def prepare(self) -> Awaitable[None] | None:
        """Lets in who may come in, and then the body, when there is room for it."""
        super().prepare()
        if self._over:
            return None
        if refusal := self.check():
            return refusal
        if self.holds_body and not self._over:
            self._check_size(self.announced_bytes)
        if self._over or not self.holds_body:
            return None
        return self._wait_for_room(room) if (room := self.body.expect(self.announced_bytes)) else None

    @property
    def _over(self) -> bool:
        return self.state is not HandlerState.PENDING

    def check(self) -> Awaitable[None] | None:
        """Refuses the request, by its head, if it may not come in; an awaitable if that takes a while."""

    @property
    def stalled(self) -> bool:
        """Whether the client has to wait until there is room for its body."""
        return self._waits_for_room

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Holds the next piece of the body."""
        super().data_received(chunk)
        if not self._over:
            self._check_size(len(self.body) + len(chunk))
        if self._over:
            return None
        return self._wait_for_room(room) if (room := self.body.add(chunk)) else None

    def on_record_closed(self, outcome: RequestOutcome) -> None:  # noqa: ARG002 - what others need
        """The request is over, so the body is of no more use."""
        self.body.drop()

    def _check_size(self, size: int) -> None:
        """Refuses a body of so many bytes if no body may be so large."""
        budget = max(self.pool.budget.limit, SMALL)
        limit, name = min((self.site.max_body_bytes, "MAX_BODY_MB"), (budget, "MAX_HELD_MB"))
        if size > limit:
            self.body.drop()
            self.refuse(413, f"The request's body is larger than {limit / MEGABYTE:.4g} MB ({name}).")

    async def _wait_for_room(self, room: "asyncio.Future[bool]") -> None:
        """Waits until all that is held leaves room for the body, or refuses the request."""
        seconds, connection = self.pool.lines.max_wait, self.request.connection
        assert isinstance(connection, HTTP1Connection)  # noqa: S101 - Tornado serves no other HTTP
        stream, deadline = connection.stream, self._loop.time() + seconds
        self._waits_for_room = True
        while not room.done() and (left := deadline - self._loop.time()) > 0 and not has_left(stream):
            await asyncio.wait((room,), timeout=min(left, _LOOK))
        self._waits_for_room = False
        if room.done() and room.result():
            return
        self.body.drop()
        if has_left(stream):
            stream.close()  # Tornado finds out when it reads on, and says so
        elif not self._over:
            self.set_header("Retry-After", min(max(1, math.ceil(seconds)), _LONGEST_TOLD))
            self.refuse(
                503, "The proxy holds as many request bodies as it may (MAX_HELD_MB). Try again later."
            )
