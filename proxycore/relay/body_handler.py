"""A handler that holds its request's body in memory, so that it can be sent again."""

import asyncio
import math
from collections.abc import Awaitable

from proxycore.http.access_record import RequestOutcome
from proxycore.http.base_handler import BaseHandler
from proxycore.http.handler_state import HandlerState
from proxycore.relay.pool import Pool
from proxycore.transport.body_budget import MEGABYTE, SMALL
from proxycore.transport.held_body import HeldBody

_LONGEST_RETRY_AFTER = 10  # seconds for a client for whose body there was no room


class BodyHandler(BaseHandler):
    """Holds the request's body, and makes the client wait while there is no room for it."""

    __slots__ = ("_announced", "_waits_for_room", "body", "pool")

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize()
        self.pool = pool
        self.body = HeldBody(pool.budget)
        self._announced = 0  # bytes of the body, 0 if the head does not state them
        self._waits_for_room = False

    @property
    def holds_body(self) -> bool:
        """Whether the body is held, so that it can be sent again."""
        return True

    def prepare(self) -> Awaitable[None] | None:
        """Check the request's head; the awaitable is done when there is room for the body."""
        super().prepare()
        if self._over:
            return None
        if checking := self.check():
            return self._prepare_after(checking)
        return self._prepare_body()

    async def _prepare_after(self, checking: Awaitable[None]) -> None:
        await checking
        if waiting := self._prepare_body():
            await waiting

    def _prepare_body(self) -> Awaitable[None] | None:
        if self._over or not self.holds_body:
            return None
        self._announced = size = self.incoming.announced_bytes
        self._check_size(size)
        if self._over:
            return None
        return self._wait_for_room(room) if (room := self.body.expect(size)) else None

    @property
    def _over(self) -> bool:
        return self.state is not HandlerState.PENDING

    def check(self) -> Awaitable[None] | None:
        """Refuse the request if its head requires it; return an awaitable if that takes time."""

    @property
    def stalled(self) -> bool:
        """Whether the client has to wait until there is room for its body."""
        return self._waits_for_room

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Hold the next chunk of the body; the awaitable is done when there is room for more."""
        super().data_received(chunk)
        if not self._announced and not self._over:  # else the size has been checked
            self._check_size(len(self.body.data) + len(chunk))
        if self._over:
            return None
        return self._wait_for_room(room) if (room := self.body.add(chunk)) else None

    def on_record_closed(self, outcome: RequestOutcome) -> None:  # noqa: ARG002 - for subclasses
        """Drop the body: the request is over."""
        self.body.drop()

    def _check_size(self, size: int) -> None:
        """Refuse the request if a body of so many bytes exceeds a limit."""
        budget = max(self.pool.budget.limit, SMALL)
        limit, name = min((self.context.max_body_bytes, "MAX_BODY_MB"), (budget, "MAX_HELD_MB"))
        if size > limit:
            self.body.drop()
            self.refuse(413, f"The request body is larger than {limit / MEGABYTE:.4g} MB ({name}).")

    async def _wait_for_room(self, room: "asyncio.Future[bool]") -> None:
        """Wait until there is room for the body, or refuse the request if there is none in time."""
        seconds = self.pool.queues.max_wait
        self._waits_for_room = True
        await asyncio.wait((room,), timeout=seconds)  # a client that disconnects drops its body
        self._waits_for_room = False
        if room.done() and room.result():
            return
        self.body.drop()
        if not self._over:
            self.set_header("Retry-After", min(max(1, math.ceil(seconds)), _LONGEST_RETRY_AFTER))
            self.refuse(503, "The memory for request bodies is full (MAX_HELD_MB). Try again later.")
