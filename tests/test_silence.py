"""What ends a transfer: silence, and nothing else."""

import asyncio

import pytest

from proxycore.silence import Silence
from tests.conftest import until

pytestmark = pytest.mark.usefixtures("io_loop")

LIMIT = 0.03


class Watched:
    """A transfer that is being watched, and what was said about it."""

    def __init__(self) -> None:
        self.busy = False
        self.asked = 0
        self.said: list[float] = []
        self.silence = Silence(self._is_busy, self.said.append)

    def _is_busy(self) -> bool:
        self.asked += 1
        return self.busy


async def keep_talking(watched: Watched, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        watched.silence.heard()
        await asyncio.sleep(0.002)


async def test_silence_that_is_too_long_is_told_once_with_its_limit() -> None:
    watched = Watched()
    watched.silence.watch(LIMIT)
    await until(lambda: bool(watched.said))
    await asyncio.sleep(2 * LIMIT)
    assert watched.said == [LIMIT]


async def test_silence_is_not_told_before_its_time() -> None:
    watched = Watched()
    loop = asyncio.get_running_loop()
    start = loop.time()
    watched.silence.watch(LIMIT)
    await until(lambda: bool(watched.said))
    assert loop.time() - start >= LIMIT * 0.99


async def test_a_transfer_that_talks_may_take_as_long_as_it_likes() -> None:
    watched = Watched()
    watched.silence.watch(LIMIT)
    await keep_talking(watched, 4 * LIMIT)
    assert watched.said == []
    watched.silence.stop()


async def test_silence_counts_from_the_last_sign_of_life() -> None:
    watched = Watched()
    loop = asyncio.get_running_loop()
    watched.silence.watch(LIMIT)
    await keep_talking(watched, LIMIT * 0.8)
    watched.silence.heard()
    last = loop.time()
    await until(lambda: bool(watched.said))
    assert loop.time() - last >= LIMIT * 0.99


async def test_silence_that_began_early_is_not_looked_at_late() -> None:
    watched = Watched()
    loop = asyncio.get_running_loop()
    watched.silence.watch(4 * LIMIT)
    await asyncio.sleep(2 * LIMIT)
    watched.silence.heard()
    last = loop.time()
    await until(lambda: watched.asked == 1)
    (look,) = (timer for timer in vars(loop)["_scheduled"] if "Silence" in repr(timer))
    assert look.when() - last < 5 * LIMIT
    watched.silence.stop()


async def test_a_reason_to_wait_is_asked_for_and_respected() -> None:
    watched = Watched()
    watched.busy = True
    watched.silence.watch(LIMIT)
    await until(lambda: watched.asked >= 3)
    assert watched.said == []
    watched.busy = False
    await until(lambda: bool(watched.said))
    assert watched.said == [LIMIT]


async def test_after_stop_nothing_is_told_or_asked() -> None:
    watched = Watched()
    watched.silence.watch(LIMIT)
    watched.silence.stop()
    watched.silence.stop()
    await asyncio.sleep(2 * LIMIT)
    assert (watched.said, watched.asked) == ([], 0)


async def test_one_that_was_never_watched_is_never_told() -> None:
    watched = Watched()
    watched.silence.heard()
    watched.silence.stop()
    await asyncio.sleep(LIMIT)
    assert watched.said == []


async def test_a_new_limit_takes_the_place_of_the_old_one_and_starts_afresh() -> None:
    watched = Watched()
    watched.silence.watch(LIMIT)
    watched.silence.watch(60)
    await asyncio.sleep(2 * LIMIT)
    assert watched.said == []
    watched.silence.watch(LIMIT)
    await until(lambda: bool(watched.said))
    assert watched.said == [LIMIT]


async def test_watching_can_begin_again_after_it_was_too_long() -> None:
    watched = Watched()
    for _ in range(2):
        watched.said.clear()
        watched.silence.watch(LIMIT)
        await until(lambda: bool(watched.said))
        assert watched.said == [LIMIT]


async def test_watching_anew_leaves_no_other_watch_behind() -> None:
    watched = Watched()
    for _ in range(3):
        watched.silence.watch(LIMIT)
    await asyncio.sleep(3 * LIMIT)
    assert watched.said == [LIMIT]


async def test_whoever_is_told_may_stop_the_watch() -> None:
    told: list[float] = []

    def stop(limit: float) -> None:
        told.append(limit)
        silence.stop()

    silence = Silence(lambda: False, stop)
    silence.watch(LIMIT)
    await asyncio.sleep(3 * LIMIT)
    assert told == [LIMIT]


async def test_a_sign_of_life_sets_no_timer() -> None:
    watched = Watched()
    watched.silence.watch(60)
    scheduled = vars(asyncio.get_running_loop())["_scheduled"]
    before = len(scheduled)
    for _ in range(1000):
        watched.silence.heard()
    assert len(scheduled) == before
    watched.silence.stop()
