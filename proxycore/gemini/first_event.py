"""Holds back a 2xx stream until its first event is known not to be an error. Pure.

    waiting      undecided so far, or an error is incomplete              everything is held, the head too
    committed    not an error, or an error that is for the client         everything is passed on
    refused      an error that another key may not get                    nothing is passed on; failover

Comments and empty lines before the event are held with it. A stream that ends undecided, or has more than
`LONGEST` bytes undecided, is committed.
"""

from collections.abc import Callable

from proxycore.gemini.response_opening import LONGEST, ResponseOpening
from proxycore.gemini.verdict import HEALTHY, NOT_GOOGLE, Reaction, Verdict

GRACE = 0.1
"""Seconds that a refused stream gets to end by itself, so that its connection can be reused."""


class FirstEvent:
    """Holds a stream back until its first event is known, then passes chunks through its `ResponseOpening`.

    `judge` judges an error's text; it returns None if that is not Google's or not complete yet. `commit` is
    called once, with the verdict on the key, before anything is passed on. `end_attempt` ends the attempt in
    so many seconds; it is called after an error that refuses it, since the upstream may keep the connection
    open.
    """

    __slots__ = (
        "_commit",
        "_committed",
        "_end_attempt",
        "_judge",
        "_opening",
        "_ready",
        "_received",
        "_size",
        "error",
    )

    def __init__(
        self,
        opening: ResponseOpening,
        judge: Callable[[bytes], Verdict | None],
        commit: Callable[[Verdict], None],
        end_attempt: Callable[[float], None],
    ) -> None:
        self._opening = opening
        self._judge = judge
        self._commit = commit
        self._end_attempt = end_attempt
        self._received: list[bytes] = []
        self._size = 0  # bytes of `_received`
        self._ready = b""  # to be passed on once the stream is committed
        self._committed = False
        self.error = b""  # the text of the error, if the stream is refused

    @property
    def decided(self) -> bool:
        """Whether the rest of the stream is passed on unchanged."""
        return self._committed and self._opening.decided

    @property
    def changed(self) -> bool:
        """Whether an error contained a secret, so that what is passed on differs from what was received."""
        return self._opening.changed

    @property
    def received(self) -> bytes:
        """All bytes received of a stream that was not committed, unchanged."""
        return b"".join(self._received)

    def feed(self, chunk: bytes) -> bytes:
        """Add the next chunk; return what can be passed on now."""
        if self._committed:
            return self._opening.feed(chunk)
        self._received.append(chunk)
        size, self._size = self._size, self._size + len(chunk)
        if self.error:
            if size <= LONGEST < self._size:
                self._end_attempt(0)
            return b""
        self._ready += self._opening.feed(chunk)
        return self._decide()

    def end(self) -> bytes:
        """End the stream; return what was still held."""
        if self.error:
            return b""
        rest = self._opening.end()
        if self._committed:
            return rest
        self._ready += rest
        return self._release(NOT_GOOGLE if self._opening.erroneous else HEALTHY)

    def _decide(self) -> bytes:
        opening = self._opening
        if opening.erroneous and (verdict := self._judge(error := opening.error())):
            if verdict.then is not Reaction.RELAY:
                self.error = error
                self._end_attempt(0 if self._size > LONGEST else GRACE)
                return b""
            if not opening.decided:
                self._ready += opening.release()
            return self._release(verdict)
        if opening.decided or self._size >= LONGEST:
            return self._release(NOT_GOOGLE if opening.erroneous else HEALTHY)
        return b""

    def _release(self, verdict: Verdict) -> bytes:
        self._committed = True
        self._commit(verdict)
        ready, self._ready, self._received = self._ready, b"", []
        return ready
