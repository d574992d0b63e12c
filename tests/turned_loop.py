"""An event loop whose time does not pass by itself: when nothing happens, it is the next timer's time."""

import asyncio
import selectors

_GRACE = 0.01  # seconds; what was sent to another socket of this process is there at once, or very soon


class _Turned(selectors.DefaultSelector):
    """Instead of waiting, the time is turned."""

    def __init__(self, grace: float) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self._grace = grace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, self._grace))
        if not ready and timeout:
            self.now += max(timeout, 1e-6)
        return ready


class TurnedLoop(asyncio.SelectorEventLoop):
    """The loop: what takes minutes passes in milliseconds, and a busy machine changes no moment.

    Threads and other processes are not waited for. What this process sends to itself is, with `sockets`.
    """

    def __init__(self, *, sockets: bool = True) -> None:
        self._turned = _Turned(_GRACE if sockets else 0.0)
        super().__init__(self._turned)
        self._clock_resolution = 1e-5

    def time(self) -> float:
        return self._turned.now
