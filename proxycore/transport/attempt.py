"""One attempt: a request is sent once with one key, by AsyncHTTPClient.

Chunks come straight from the connection that has read them. A sink that can't take more pauses the transfer,
so that the upstream is slowed down instead of buffered. Only an idle timeout ends a transfer: there is no
total timeout and no limit on size.
"""

import asyncio
from collections.abc import Callable

from tornado.httpclient import HTTPResponse

from proxycore.http.fields import Field
from proxycore.http.idle_timer import Activity, IdleTimer
from proxycore.transport.client import UpstreamRequest
from proxycore.transport.messages import Outgoing, UpstreamError, broken_off, timed_out
from proxycore.transport.request_body import RequestBodyStream
from proxycore.transport.response_head import ResponseHead
from proxycore.transport.upstream import Upstream

_MOST_HELD = 64 * 1024  # bytes that are held before there is a sink; one more read may come
_TURN = 512 * 1024  # bytes of one response that are passed on before other transfers continue

Sink = Callable[[bytes], "asyncio.Future[None] | None"]
"""Called with each chunk. It may return a future that is done when it can accept the next one."""


class Attempt:
    """One attempt: `head`, then `read` or `relay`, and `end` in any case.

    `credential` is the header field that presents the key, None if the request has its own; `proxy` is the
    key's outbound proxy, None for none. `fresh` asks for a new connection instead of a reused one.
    """

    def __init__(
        self,
        upstream: Upstream,
        outgoing: Outgoing,
        credential: Field | None,
        *,
        proxy: str | None,
        fresh: bool,
    ) -> None:
        self._upstream = upstream
        self._outgoing = outgoing
        self._credential = credential
        self._proxy = proxy
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._request: UpstreamRequest | None = None  # while it is in progress
        self._fetch: asyncio.Future[HTTPResponse] | None = None
        self._waiter: asyncio.Future[None] | None = None  # done with the head, or with the fetch
        self._head: ResponseHead | None = None
        self._sink: Sink | None = None
        self._held = bytearray()  # what arrived before there was a sink
        self._paused = False
        self._in_turn = 0  # bytes passed on since the transfer last paused
        self._blocked: asyncio.Future[None] | None = None  # done when the sink can accept more
        self._uploaded = 0
        self.activity = Activity(self._loop)
        """When the upstream sent something last."""
        self._idle_timer: IdleTimer  # once the request is sent
        self._end_timer: asyncio.TimerHandle | None = None

    async def head(self) -> ResponseHead:
        """Send the request and wait for the response's head. Raises UpstreamError if none arrives."""
        upstream = self._upstream
        self._idle_timer = IdleTimer(upstream.route.first_byte_timeout, self._last_active, self._time_out)
        self._request = UpstreamRequest(
            upstream.origin,
            upstream.prefix,
            self._outgoing,
            self._credential,
            on_head=self._on_head,
            streaming_callback=self._receive,
            proxy=self._proxy,
            fresh=self._fresh,
        )
        self._fetch = upstream.client.fetch(self._request, raise_error=False)
        self._fetch.add_done_callback(self._on_finished)
        await self._wait()
        head, self._head = self._head, None  # a stream may go on for hours, and has no use for it
        if head is None:
            raise self._pop_error() or broken_off()
        return head

    async def read(self, limit: int) -> bytes | None:
        """Read the body; None if it has more than `limit` bytes. Raises UpstreamError if it ends early."""
        body = bytearray()

        def collect(chunk: bytes) -> None:
            if len(body) <= limit:
                body.extend(chunk)
                if len(body) > limit:
                    self.end()

        try:
            await self.relay(collect)
        except UpstreamError:
            if len(body) <= limit:
                raise
        return bytes(body) if len(body) <= limit else None

    async def relay(self, sink: Sink) -> None:
        """Pass every chunk on to `sink` as it arrives, until the body's end.

        While the sink can't accept more, the transfer pauses, and so does the upstream. Raises UpstreamError
        if the body ends early, after everything that arrived was passed on.
        """
        self._sink = sink
        try:
            if self._held:
                held, self._held = bytes(self._held), bytearray()
                self._push(sink, held)
            if self._paused and self._blocked is None:
                self._resume()
            if self._fetch is not None and not self._fetch.done():
                await self._wait()
            while self._blocked is not None:
                await asyncio.wait((self._blocked,))
        finally:
            self._sink = None
        if error := self._pop_error():
            raise error

    def end(self) -> None:
        """End the attempt, whatever its phase; the upstream sees its connection close at once."""
        if self._end_timer:
            self._end_timer.cancel()
        self._end(broken_off("(ended)"))

    def end_in(self, seconds: float) -> None:
        """End the attempt in so many seconds, unless it ends before. The latest call counts."""
        if self._end_timer:
            self._end_timer.cancel()
        self._end_timer = self._loop.call_later(seconds, self.end)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _receive(self, chunk: bytes) -> None:
        self.activity.at = self._loop.time()
        if self._sink is not None:
            self._push(self._sink, chunk)
            return
        self._held += chunk
        if len(self._held) >= _MOST_HELD and not self._paused:
            self._pause()

    def _push(self, sink: Sink, chunk: bytes) -> None:
        ready = sink(chunk)
        self._in_turn += len(chunk)
        if ready is None or ready.done():
            if self._in_turn < _TURN:
                return
            ready = self._upstream.rounds.next_turn()
        self._in_turn = 0
        self._blocked = ready
        self._pause()
        ready.add_done_callback(self._on_ready)

    def _on_ready(self, _: "asyncio.Future[None]") -> None:
        self._blocked = None
        self._resume()

    def _pause(self) -> None:
        self._paused = True
        if self._request:
            self._request.pause()

    def _resume(self) -> None:
        self._paused = False
        if self._request:
            self.activity.at = self._loop.time()
            self._request.resume()

    def _pop_error(self) -> UpstreamError | None:
        # Its traceback will refer to this attempt, so this must not refer to it.
        fetch, self._fetch = self._fetch, None
        error = fetch.exception() if fetch and fetch.done() else None
        return error if isinstance(error, UpstreamError) else None

    def _on_finished(self, fetch: "asyncio.Future[HTTPResponse]") -> None:
        fetch.exception()  # if it is one, it was meant for who waits, who may be gone
        self._idle_timer.stop()
        self._request = None
        self._wake()

    def _end(self, error: UpstreamError) -> None:
        if self._request is not None:  # else the transfer is over, or has not begun
            self._idle_timer.stop()
            self._request.end(error)

    def _time_out(self, seconds: float) -> None:
        if self._request is not None:
            self._end(timed_out(seconds, sent=self._request.sent))

    def _last_active(self) -> float:
        # The upstream is not idle by its own fault while it is paused, while it waits for the client's body,
        # or while the request is still being sent to it.
        body = self._outgoing.body
        starved = isinstance(body, RequestBodyStream) and body.starved
        uploaded = self._request.upload_progress if self._request else 0
        progress, self._uploaded = uploaded != self._uploaded, uploaded
        busy = progress or starved or self._paused
        return self._loop.time() if busy else self.activity.at

    def _on_head(self, head: ResponseHead) -> None:
        self._head = head
        self.activity.at = self._loop.time()
        limit = self._upstream.route.idle_timeout
        if limit != self._idle_timer.limit:
            self._idle_timer.restart(limit)
        self._wake()
