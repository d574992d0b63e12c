"""Fair scheduling of long work on the event loop: computations in small steps, large transfers in turns."""

import asyncio
from collections import deque
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 8  # transfers that continue at each turn of the event loop


class Turns:
    """Runs computations, which are generators that yield every few milliseconds.

    However many there are, one step runs at each turn of the event loop, in order of arrival.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # first come, first served

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run all steps; return what the generator returns. The first step runs at once, without waiting."""
        try:
            next(steps)
            while True:
                async with self._lock:
                    await asyncio.sleep(0)
                    next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()


class Rounds:
    """Continues large transfers in order, a few at each turn of the event loop, however many there are."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def next_turn(self) -> "asyncio.Future[None]":
        """A future that is done when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._run_some)
        self._waiting.append(turn)
        return turn

    def _run_some(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run_some)
