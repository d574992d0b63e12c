"""An event loop whose time does not pass by itself: when it is idle, time jumps to the next timer."""

import asyncio
import selectors

_GRACE = 0.01  # seconds; what was sent to another socket of this process is there at once, or very soon


class _Turned(selectors.DefaultSelector):
    """Instead of waiting, the time is turned."""

    def __init__(self, grace: float, tick: float) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.turns = 0
        self._grace = grace
        self._tick = tick

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        self.now += self._tick
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, self._grace))
        if not ready and timeout:
            self.now += max(timeout, 1e-6)
        return ready


class TurnedLoop(asyncio.SelectorEventLoop):
    """The loop: what takes minutes passes in milliseconds, and a busy machine changes no moment.

    Threads and other processes are not waited for. What this process sends to itself is, with `sockets`,
    for `grace` seconds. With `tick` each turn of the loop takes so many seconds, so that no two things that
    follow from each other happen at the same moment.
    """

    def __init__(self, *, sockets: bool = True, grace: float = _GRACE, tick: float = 0.0) -> None:
        self._turned = _Turned(grace if sockets else 0.0, tick)
        super().__init__(self._turned)
        self._clock_resolution = 1e-5

    def time(self) -> float:
        return self._turned.now

    @property
    def turns(self) -> int:
        """The number of its iterations, which is the cost of an idle program."""
        return self._turned.turns
