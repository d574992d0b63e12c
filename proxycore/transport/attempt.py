"""One attempt: a request is sent once with one key, by AsyncHTTPClient on libcurl.

What Tornado's curl client lacks is set on the pycurl handle, which `prepare_curl_callback` provides:

- the head arrives in order and before the body (Tornado's own `header_callback` can come after it);
- an attempt can be ended at any moment, and the upstream sees the connection close at once;
- chunks come straight from libcurl, and a sink that can't take more pauses the transfer, so that the
  upstream is slowed down instead of buffered;
- only an idle timeout ends a transfer: there is no total timeout and no limit on size.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial

import pycurl
from tornado.httpclient import HTTPRequest, HTTPResponse

from proxycore.http.fields import Field
from proxycore.http.idle_timer import IdleTimer
from proxycore.transport.held_body import HeldBody
from proxycore.transport.messages import (
    Outgoing,
    UpstreamError,
    broken_off,
    curl_lines,
    from_curl,
    malformed,
    timed_out,
)
from proxycore.transport.request_body import RequestBodyStream
from proxycore.transport.response_head import MalformedError, ResponseHead, ResponseHeadReader
from proxycore.transport.upstream import Upstream

_MOST_HELD = 4  # chunks of `READ_SIZE`: libcurl would read a hundred before other transfers get a turn
_TURN = 512 * 1024  # bytes of one response that are passed on before other transfers continue
_COPIED = 64 * 1024  # bytes of a body that libcurl gets in one piece; it reads a larger one as it sends
_EXPECT_BODY = frozenset({"POST", "PUT", "PATCH"})  # sent with Content-Length: 0 when empty (RFC 9110 §8.6)

Sink = Callable[[bytes], "asyncio.Future[None] | None"]
"""Called with each chunk. It may return a future that is done when it can accept the next one."""


class Attempt:
    """One attempt: `head`, then `read` or `relay`, and `end` in any case.

    `credential` is the header field that presents the key, None if the request has its own. `fresh` asks
    for a new connection instead of a reused one.
    """

    def __init__(
        self, upstream: Upstream, outgoing: Outgoing, credential: Field | None, *, fresh: bool
    ) -> None:
        self._upstream = upstream
        self._outgoing = outgoing
        self._credential = credential
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._curl: pycurl.Curl | None = None  # only while libcurl uses it for this attempt
        self._sent = False
        self._head: ResponseHead | None = None
        self._head_arrived: asyncio.Future[None] = self._loop.create_future()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._error: UpstreamError | None = None
        self._sink: Sink | None = None
        self._held: deque[bytes] = deque()  # chunks that arrived while the sink could not accept them
        self._paused = False
        self._in_turn = 0  # bytes passed on since the transfer last paused
        self._blocked: asyncio.Future[None] | None = None  # done when the sink can accept more
        self._uploaded = 0
        self._active_at = 0.0  # when the upstream sent something last
        self._idle_timer: IdleTimer  # once the request is sent
        self._end_timer: asyncio.TimerHandle | None = None

    async def head(self) -> ResponseHead:
        """Send the request and wait for the response's head. Raises UpstreamError if none arrives."""
        request = HTTPRequest(
            self._upstream.origin, streaming_callback=self._receive, prepare_curl_callback=self._prepare
        )
        limit = self._upstream.route.first_byte_timeout
        self._idle_timer = IdleTimer(limit, self._last_active, self._time_out)
        self._upstream.client.fetch(request, raise_error=False).add_done_callback(self._on_finished)
        await self._head_arrived
        if self._head is None:
            raise self._pop_error() or broken_off()
        return self._head

    async def read(self, limit: int) -> bytes | None:
        """Read the body; None if it has more than `limit` bytes. Raises UpstreamError if it ends early."""
        body = bytearray()

        def collect(chunk: bytes) -> None:
            if len(body) <= limit:
                body.extend(chunk)
                if len(body) > limit:
                    self.end_in(0)

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
            self._drain()
            if self._paused and self._blocked is None:
                self._unpause()
            await self._finished
            while self._blocked is not None:
                await asyncio.wait((self._blocked,))
        finally:
            self._sink = None
        if error := self._pop_error():
            raise error

    def end(self) -> None:
        """End the attempt, whatever its phase; the upstream sees its connection close at once.

        Not to be called from a sink, which libcurl calls: use `end_in`.
        """
        if self._end_timer:
            self._end_timer.cancel()
        if self._curl is not None:  # else the transfer is over, or has not begun
            self._idle_timer.stop()
            self._upstream.client.end(self._curl)

    def end_in(self, seconds: float) -> None:
        """End the attempt in so many seconds, unless it ends before. The latest call counts."""
        if self._end_timer:
            self._end_timer.cancel()
        self._end_timer = self._loop.call_later(seconds, self.end)

    def release(self) -> None:
        """Called by the client when the handle no longer belongs to this attempt."""
        self._curl = None

    def _write(self, chunk: bytes) -> int:
        # libcurl keeps the chunk for which it is paused, and passes it again once it is resumed.
        if self._blocked is not None or len(self._held) >= _MOST_HELD:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        self._receive(chunk)
        return len(chunk)

    def _receive(self, chunk: bytes) -> None:
        self._active_at = self._loop.time()
        if self._sink is None:
            self._held.append(chunk)
        else:
            self._push(self._sink, chunk)

    def _push(self, sink: Sink, chunk: bytes) -> None:
        ready = sink(chunk)
        self._in_turn += len(chunk)
        if ready is None or ready.done():
            if self._in_turn < _TURN:
                return
            ready = self._upstream.rounds.next_turn()
        self._in_turn = 0
        self._blocked = ready
        ready.add_done_callback(self._resume)

    def _drain(self) -> None:
        while self._held and self._blocked is None and self._sink is not None:
            self._push(self._sink, self._held.popleft())

    def _resume(self, _: "asyncio.Future[None]") -> None:
        self._blocked = None
        self._drain()
        if self._blocked is None:
            self._unpause()

    def _unpause(self) -> None:
        self._paused = False
        if self._curl is not None:
            self._active_at = self._loop.time()
            # A transfer that failed while it was paused raises here, and fails again when it finishes.
            with contextlib.suppress(pycurl.error):
                self._curl.pause(pycurl.PAUSE_CONT)

    def _pop_error(self) -> UpstreamError | None:
        # Its traceback will refer to this attempt, so this must not refer to it.
        error, self._error = self._error, None
        return error

    def _on_finished(self, fetch: "asyncio.Future[HTTPResponse]") -> None:
        self._idle_timer.stop()
        error = fetch.exception()
        if error is not None and self._error is None:
            self._error = from_curl(error, sent=self._sent)
        for event in (self._head_arrived, self._finished):
            if not event.done():
                event.set_result(None)

    def _time_out(self, seconds: float) -> None:
        self._error = timed_out(seconds, sent=self._sent)
        self.end()

    def _last_active(self) -> float:
        # The upstream is not idle by its own fault while it is paused, while it waits for the client's body,
        # or while the request is still being sent to it.
        body = self._outgoing.body
        starved = isinstance(body, RequestBodyStream) and body.starved
        uploaded = self._curl.getinfo(pycurl.SIZE_UPLOAD_T) if self._curl is not None else 0
        progress, self._uploaded = uploaded != self._uploaded, uploaded
        busy = progress or starved or self._paused or self._blocked is not None
        return self._loop.time() if busy else self._active_at

    def _prepare(self, curl: pycurl.Curl) -> None:
        curl.attempt = self
        self._curl = curl
        self._upstream.prepare(curl)
        self._prepare_request(curl)
        curl.setopt(pycurl.FRESH_CONNECT, self._fresh)
        # Called by libcurl itself: Tornado's queue in between would resume transfers that were paused here,
        # and costs every chunk one more turn of the event loop.
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        # The handle alone refers to the reader: in a cycle, all that a request holds would outlive it.
        curl.setopt(pycurl.HEADERFUNCTION, partial(self._read_line, ResponseHeadReader(self._on_head)))
        curl.setopt(pycurl.PREREQFUNCTION, self._about_to_send)

    def _prepare_request(self, curl: pycurl.Curl) -> None:
        outgoing, body = self._outgoing, self._outgoing.body
        curl.setopt(pycurl.REQUEST_TARGET, (self._upstream.prefix + outgoing.target).encode("latin-1"))
        curl.setopt(pycurl.CUSTOMREQUEST, outgoing.method)
        fields = outgoing.fields if self._credential is None else [self._credential, *outgoing.fields]
        curl.setopt(pycurl.HTTPHEADER, curl_lines(fields))
        if outgoing.method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif isinstance(body, RequestBodyStream):
            self._prepare_stream(curl, body)
        elif isinstance(body, HeldBody) and len(body) > _COPIED:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
            curl.setopt(pycurl.READFUNCTION, body.reader())
        elif len(body) or outgoing.method in _EXPECT_BODY:
            curl.setopt(pycurl.POSTFIELDS, bytes(body.data if isinstance(body, HeldBody) else body))

    def _prepare_stream(self, curl: pycurl.Curl, stream: RequestBodyStream) -> None:
        def read(size: int) -> bytes | int:
            piece = stream.read(size)
            return int(pycurl.READFUNC_PAUSE) if piece is None else piece

        curl.setopt(pycurl.UPLOAD, 1)
        if stream.length is not None:  # else libcurl sends it chunked
            curl.setopt(pycurl.INFILESIZE_LARGE, stream.length)
        curl.setopt(pycurl.READFUNCTION, read)
        stream.on_readable(self._unpause)

    def _about_to_send(self, *_: object) -> int:
        # libcurl by itself repeats a request when a reused connection turns out to be closed. Whether a
        # request is repeated, and how often, is decided elsewhere.
        if self._sent:
            return int(pycurl.PREREQFUNC_ABORT)
        self._sent = True
        return int(pycurl.PREREQFUNC_OK)

    def _read_line(self, reader: ResponseHeadReader, line: bytes) -> int:
        try:
            reader(line)
        except MalformedError as error:
            if self._sent:  # else an outbound proxy's response to CONNECT, which libcurl handles
                self._error = malformed(str(error))
                return -1  # libcurl ends the transfer, and closes the connection
        return len(line)

    def _on_head(self, head: ResponseHead) -> None:
        if not self._sent:
            return  # an outbound proxy's response to CONNECT
        self._head = head
        self._active_at = self._loop.time()
        limit = self._upstream.route.idle_timeout
        if limit != self._idle_timer.limit:
            self._idle_timer.restart(limit)
        if not self._head_arrived.done():
            self._head_arrived.set_result(None)
