"""Waits for a condition, with a limit that a busy machine does not reach."""

import asyncio
import time
from collections.abc import Callable

from tests.support.turned_loop import TurnedLoop

PATIENCE = 60.0
"""Seconds that a test waits at most: the machine may be busy with other things."""


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits for a condition that the test's own actions bring about; fails when it doesn't come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.001)


async def quiet() -> None:
    """Waits until everything has happened that happens by itself, on sockets of this process.

    The test's loop has to be a turned one: its time only passes once nothing else can happen.
    """
    assert isinstance(asyncio.get_running_loop(), TurnedLoop)
    await asyncio.sleep(0.05)


async def at_once(condition: Callable[[], bool], seconds: float = 0.05) -> None:
    """Waits for a condition; fails when it takes this process more than so many seconds of work.

    The loop never sleeps meanwhile, so on an idle machine that is the time that passes. What a busy machine
    does for others does not count.
    """
    begun = time.process_time()
    while not condition():
        await asyncio.sleep(0)
        assert time.process_time() - begun < seconds, "it took too long"
