"""One try of a request with one key, over AsyncHTTPClient on libcurl.

What Tornado's curl client does not do by itself is done on the pycurl handle, which
`prepare_curl_callback` hands over:

- the head arrives in order and before the body (Tornado's own `header_callback` can come after it);
- an attempt can be ended at any moment, and the upstream sees the connection close at once;
- `streaming_callback` is called straight from libcurl, and a receiver that can't take more pauses the
  transfer, so that the upstream is slowed, not buffered;
- nothing ends a transfer but silence: there is no total timeout and no limit on size.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial

import pycurl
from tornado.httpclient import HTTPRequest, HTTPResponse

from proxycore.feed import Feed
from proxycore.fields import Field, Fields
from proxycore.head import Head, HeadReader, MalformedError
from proxycore.held_body import HeldBody
from proxycore.messages import Outgoing, UpstreamError, broken_off, from_curl, malformed, timed_out
from proxycore.silence import Silence
from proxycore.upstream import Upstream

_READ_SIZE = 64 * 1024  # bytes that libcurl reads at once; the buffer is shared, not one for each stream
_MOST_HELD = 4  # chunks of that size: libcurl would read a hundred before it lets others have a turn
_TURN = 512 * 1024  # bytes of one response that are passed on before others have a turn
_SEND_SIZE = 16 * 1024  # the same for sending; this one is held for as long as an attempt lasts
_COPIED = 64 * 1024  # bytes of a body that libcurl gets in one piece; a larger one is read as it is sent
_NOT_ADDED = ("User-Agent", "Accept", "Content-Type", "Expect")
_EXPECT_BODY = frozenset({"POST", "PUT", "PATCH"})  # sent with Content-Length: 0 when empty (RFC 9110 §8.6)

Sink = Callable[[bytes], "asyncio.Future[None] | None"]


class Attempt:
    """One try of a request with one key: `head`, then `read` or `relay`, and `end` in any case."""

    def __init__(
        self, upstream: Upstream, outgoing: Outgoing, credential: Field | None, *, fresh: bool
    ) -> None:
        self._upstream = upstream
        self._outgoing = outgoing
        self._credential = credential
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._curl: pycurl.Curl | None = None  # only while libcurl works on it for us
        self._sent = False
        self._head: Head | None = None
        self._head_came: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._error: UpstreamError | None = None
        self._sink: Sink | None = None
        self._held: deque[bytes] = deque()  # chunks that came while nobody could take them
        self._paused = False
        self._in_turn = 0  # bytes passed on since the transfer last paused
        self._blocked: asyncio.Future[None] | None = None  # done when the sink can take more
        self._uploaded = 0.0
        self._silence = Silence(self._still_busy, self._fall_silent)

    async def head(self) -> Head:
        """Sends the request and waits for the answer's head. Raises UpstreamError when none comes."""
        request = HTTPRequest(
            self._upstream.origin, streaming_callback=self._receive, prepare_curl_callback=self._prepare
        )
        self._silence.watch(self._upstream.route.first_byte_timeout)
        self._upstream.client.fetch(request, raise_error=False).add_done_callback(self._finished)
        await self._head_came
        if self._head is None:
            raise self._taken_error() or broken_off()
        self._silence.watch(self._upstream.route.idle_timeout)
        return self._head

    async def read(self, limit: int) -> bytes | None:
        """The body; None if it has more than `limit` bytes. Raises UpstreamError when it breaks off."""
        body = bytearray()

        def collect(chunk: bytes) -> None:
            if len(body) <= limit:
                body.extend(chunk)
                if len(body) > limit:
                    self._loop.call_soon(self.end)  # not from within libcurl

        try:
            await self.relay(collect)
        except UpstreamError:
            if len(body) <= limit:
                raise
        return bytes(body) if len(body) <= limit else None

    async def relay(self, sink: Sink) -> None:
        """Passes every chunk on to `sink` as it comes, until the body's end.

        `sink` may return a future that is done when it can take more; until then the transfer pauses, and
        so does the upstream. Raises UpstreamError when the body breaks off, once what had come is passed on.
        """
        self._sink = sink
        try:
            self._drain()
            if self._paused and self._blocked is None:
                self._go_on()
            await self._over
            while self._blocked is not None:
                await asyncio.wait((self._blocked,))
        finally:
            self._sink = None
        if error := self._taken_error():
            raise error

    def end(self) -> None:
        """Ends the attempt in whatever phase it is; the upstream sees its connection close at once."""
        self._silence.stop()
        if self._curl is not None:
            self._upstream.client.end(self._curl)

    def release(self) -> None:
        """The client's word that the handle is no longer ours."""
        self._curl = None

    def _write(self, chunk: bytes) -> int:
        # libcurl keeps what it is told to pause for, and hands it over again when it is resumed.
        if self._blocked is not None or len(self._held) >= _MOST_HELD:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        self._receive(chunk)
        return len(chunk)

    def _receive(self, chunk: bytes) -> None:
        self._silence.heard()
        if self._sink is None:
            self._held.append(chunk)
        else:
            self._push(self._sink, chunk)

    def _push(self, sink: Sink, chunk: bytes) -> None:
        taken = sink(chunk)
        self._in_turn += len(chunk)
        if taken is None or taken.done():
            if self._in_turn < _TURN:
                return
            taken = self._upstream.rounds.next()
        self._in_turn = 0
        self._blocked = taken
        taken.add_done_callback(self._resume)

    def _drain(self) -> None:
        while self._held and self._blocked is None and self._sink is not None:
            self._push(self._sink, self._held.popleft())

    def _resume(self, _: "asyncio.Future[None]") -> None:
        self._blocked = None
        self._drain()
        if self._blocked is None:
            self._go_on()

    def _go_on(self) -> None:
        self._paused = False
        if self._curl is not None:
            self._silence.heard()
            # A transfer that failed while it was paused says so here, and again when it finishes.
            with contextlib.suppress(pycurl.error):
                self._curl.pause(pycurl.PAUSE_CONT)

    def _taken_error(self) -> UpstreamError | None:
        # Its traceback will hold this attempt, so this must not hold it.
        error, self._error = self._error, None
        return error

    def _finished(self, fetch: "asyncio.Future[HTTPResponse]") -> None:
        self._silence.stop()
        error = fetch.exception()
        if error is not None and self._error is None:
            self._error = from_curl(error, sent=self._sent)
        for event in (self._head_came, self._over):
            if not event.done():
                event.set_result(None)

    def _fall_silent(self, seconds: float) -> None:
        self._error = timed_out(seconds, sent=self._sent)
        self.end()

    def _still_busy(self) -> bool:
        # A paused upstream is silent for our sake, one that waits for the client for its sake, and one that
        # is still being sent to may well be.
        body = self._outgoing.body
        starved = isinstance(body, Feed) and body.starved
        uploaded = self._curl.getinfo(pycurl.SIZE_UPLOAD_T) if self._curl is not None else 0
        progress, self._uploaded = uploaded != self._uploaded, uploaded
        return progress or starved or self._paused or self._blocked is not None

    def _prepare(self, curl: pycurl.Curl) -> None:
        curl.attempt = self
        self._curl = curl
        outgoing, upstream = self._outgoing, self._upstream
        curl.setopt(pycurl.URL, upstream.origin)
        curl.setopt(pycurl.REQUEST_TARGET, (upstream.prefix + outgoing.target).encode("latin-1"))
        curl.setopt(pycurl.CUSTOMREQUEST, outgoing.method)
        if outgoing.method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif isinstance(outgoing.body, Feed):
            self._prepare_feed(curl, outgoing.body)
        elif isinstance(outgoing.body, HeldBody) and len(outgoing.body) > _COPIED:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(outgoing.body))
            curl.setopt(pycurl.READFUNCTION, outgoing.body.reader())
        elif len(outgoing.body) or outgoing.method in _EXPECT_BODY:
            data = outgoing.body.data if isinstance(outgoing.body, HeldBody) else outgoing.body
            curl.setopt(pycurl.POSTFIELDS, bytes(data))
        curl.setopt(
            pycurl.HTTPHEADER,
            _lines(outgoing.fields if self._credential is None else [self._credential, *outgoing.fields]),
        )
        # Called by libcurl itself: Tornado's queue in between resumes transfers that are paused for our
        # sake, and costs every chunk one more turn of the event loop.
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        # Held by the handle alone: in a circle, what a request holds would outlive it.
        curl.setopt(pycurl.HEADERFUNCTION, partial(self._read_line, HeadReader(self._head_arrived)))
        curl.setopt(pycurl.SOCKOPTFUNCTION, upstream.connected)
        curl.setopt(pycurl.PREREQFUNCTION, self._about_to_send)
        # Not 2: it saved an eighth of the CPU of small requests, but a stalled stream held 14 MB, since
        # libcurl's window for a stream is that large, and all streams shared one connection's fate.
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(1000 * upstream.route.connect_timeout))
        curl.setopt(pycurl.CAINFO, upstream.ca_file)
        curl.setopt(pycurl.FRESH_CONNECT, self._fresh)
        curl.setopt(pycurl.TCP_KEEPALIVE, 1)  # thinking takes minutes, and a NAT forgets
        curl.setopt(pycurl.NOSIGNAL, 1)  # Python ignores SIGPIPE already; libcurl would at every event
        curl.setopt(pycurl.BUFFERSIZE, _READ_SIZE)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _SEND_SIZE)
        # Never a proxy from the environment that nobody set for this program.
        curl.setopt(pycurl.PROXY, upstream.route.proxy or "")
        if upstream.route.proxy:
            curl.setopt(pycurl.NOPROXY, "")
            curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
            curl.setopt(pycurl.PROXY_CAINFO, upstream.ca_file)

    def _prepare_feed(self, curl: pycurl.Curl, feed: Feed) -> None:
        def read(size: int) -> bytes | int:
            piece = feed.take(size)
            return int(pycurl.READFUNC_PAUSE) if piece is None else piece

        curl.setopt(pycurl.UPLOAD, 1)
        if feed.length is not None:  # else it goes in chunks
            curl.setopt(pycurl.INFILESIZE_LARGE, feed.length)
        curl.setopt(pycurl.READFUNCTION, read)
        feed.connect(self._go_on)

    def _about_to_send(self, *_: object) -> int:
        # libcurl by itself repeats a request when a kept connection turns out to be closed. What is
        # repeated, and how often, is ours to decide.
        if self._sent:
            return int(pycurl.PREREQFUNC_ABORT)
        self._sent = True
        return int(pycurl.PREREQFUNC_OK)

    def _read_line(self, reader: HeadReader, line: bytes) -> int:
        try:
            reader(line)
        except MalformedError as error:
            if self._sent:  # else an outbound proxy's answer to CONNECT, which libcurl looks after
                self._error = malformed(str(error))
                return -1  # libcurl ends the transfer, and closes the connection
        return len(line)

    def _head_arrived(self, head: Head) -> None:
        if not self._sent:
            return  # an outbound proxy's answer to CONNECT
        self._head = head
        self._silence.heard()
        if not self._head_came.done():
            self._head_came.set_result(None)


def _lines(fields: Fields) -> list[bytes]:
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in fields]
    present = {name.lower() for name, _ in fields}
    # A name with a colon and no value takes out what libcurl and pycurl would add by themselves.
    lines += [f"{name}:" for name in _NOT_ADDED if name.lower() not in present]
    return [line.encode("latin-1") for line in lines]
