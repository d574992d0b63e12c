"""The first event of a 2xx stream: nothing goes to the client before it is known to be no error.

    waiting      nothing that came decides it, or an error is not whole      all is held, the head too
    committed    it is no error, or one that is for the client               all that came goes on as it came
    refused      an error that another key may not meet                      nothing goes on; another attempt

Comments and empty lines before the event wait with it. A stream that ends, or brings more than `LONGEST`
bytes, without deciding it is committed.
"""

import asyncio
from collections.abc import Callable

from proxycore.opening import LONGEST, Opening
from proxycore.verdict import FOREIGN, HEALTHY, Then, Verdict

GRACE = 0.1
"""Seconds that the rest of a stream which an error refused is awaited: then its connection can be kept."""


class FirstEvent:
    """Holds a stream back until its first event has shown what it is; then it is the stream's `Opening`.

    `judge` reads an error's text, None if it is none of Google's or not whole yet. `commit` is called once,
    with what the event says of the key, before anything goes on. `end` ends the attempt: soon after an error
    that refuses it, since the upstream may keep the connection open.
    """

    def __init__(
        self,
        opening: Opening,
        judge: Callable[[bytes], Verdict | None],
        commit: Callable[[Verdict], None],
        end: Callable[[], None],
    ) -> None:
        self._opening = opening
        self._judge = judge
        self._commit = commit
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._came: list[bytes] = []
        self._size = 0  # bytes of `_came`
        self._ready = b""  # what goes on when it is committed
        self._committed = False
        self.error = b""  # the text of the one that refused it

    @property
    def decided(self) -> bool:
        """Whether all that follows goes on as it comes."""
        return self._committed and self._opening.decided

    @property
    def changed(self) -> bool:
        """Whether an error named a secret, so that what goes on differs from what came."""
        return self._opening.changed

    @property
    def came(self) -> bytes:
        """All that has come of a stream that was not committed, byte for byte."""
        return b"".join(self._came)

    def take(self, chunk: bytes) -> bytes:
        """What of the stream can go on, now that the next chunk is there."""
        if self._committed:
            return self._opening.take(chunk)
        self._came.append(chunk)
        self._size += len(chunk)
        if self.error:
            self._bound()
            return b""
        self._ready += self._opening.take(chunk)
        return self._look()

    def end(self) -> bytes:
        """What is still held, now that the stream has ended."""
        if self.error:
            return b""
        rest = self._opening.end()
        if self._committed:
            return rest
        self._ready += rest
        return self._go_on(FOREIGN if self._opening.erroneous else HEALTHY)

    def stop(self) -> None:
        """Nothing more is awaited."""
        if self._timer:
            self._timer.cancel()

    def _look(self) -> bytes:
        opening = self._opening
        if opening.erroneous and (verdict := self._judge(error := opening.error())):
            if verdict.then is not Then.RELAY:
                self._refuse(error)
                return b""
            if not opening.decided:
                self._ready += opening.release()
            return self._go_on(verdict)
        if opening.decided or self._size >= LONGEST:
            return self._go_on(FOREIGN if opening.erroneous else HEALTHY)
        return b""

    def _go_on(self, verdict: Verdict) -> bytes:
        self._committed = True
        self._commit(verdict)
        ready, self._ready, self._came = self._ready, b"", []
        return ready

    def _refuse(self, error: bytes) -> None:
        self.error = error
        self._timer = asyncio.get_running_loop().call_later(GRACE, self._end)
        self._bound()

    def _bound(self) -> None:
        if self._size > LONGEST and self._timer:
            self._timer.cancel()
            self._timer = None
            asyncio.get_running_loop().call_soon(self._end)  # not from within libcurl
