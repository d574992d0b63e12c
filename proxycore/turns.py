"""Long computations in small steps: the event loop serves others in between. Pure, but for asyncio."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Runs computations, which are generators that yield every few milliseconds.

    However many there are, one step is taken at each turn of the event loop, in order of arrival.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # fair: who waits longest is next

    async def run(self, steps: Generator[None, None, T]) -> T:
        """What the generator returns. The first step is taken at once, so a short computation never waits."""
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
