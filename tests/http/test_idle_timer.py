"""What ends a transfer: silence, and nothing else."""

import asyncio
from collections.abc import Callable

import pytest

from proxycore.http.idle_timer import IdleTimer

LIMIT = 30.0


class TurnedLoop:
    """The part of an event loop that silence needs; its time goes on when a test turns it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[TurnedTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "TurnedTimer":
        timer = TurnedTimer(self, self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def turn(self, seconds: float) -> None:
        """Lets the time go on, and what is due happen at its own moment."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self.now = first.when
            first.callback()
        self.now = end


class TurnedTimer:
    def __init__(self, loop: TurnedLoop, when: float, callback: Callable[[], None]) -> None:
        self.loop, self.when, self.callback = loop, when, callback

    def cancel(self) -> None:
        if self in self.loop.timers:
            self.loop.timers.remove(self)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> TurnedLoop:
    turned = TurnedLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: turned)
    return turned


class Watched:
    """A transfer that is being watched, and what was said about it."""

    def __init__(self) -> None:
        self.busy = False
        self.asked = 0
        self.said: list[float] = []
        self.silence = IdleTimer(self._is_busy, self.said.append)

    def _is_busy(self) -> bool:
        self.asked += 1
        return self.busy


def test_silence_that_is_too_long_is_told_once_with_its_limit(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    loop.turn(LIMIT - 0.001)
    assert watched.said == []
    loop.turn(0.002)
    assert watched.said == [LIMIT]
    loop.turn(10 * LIMIT)
    assert watched.said == [LIMIT]


def test_a_transfer_that_talks_may_take_as_long_as_it_likes(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    for _ in range(100):
        loop.turn(LIMIT * 0.9)
        watched.silence.reset()
    assert watched.said == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_silence_counts_from_the_last_sign_of_life(loop: TurnedLoop, share: float) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    loop.turn(LIMIT * share)
    watched.silence.reset()
    loop.turn(LIMIT - 0.001)
    assert watched.said == []
    loop.turn(0.002)
    assert watched.said == [LIMIT]


def test_a_thousand_signs_of_life_cost_one_timer(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    for _ in range(1000):
        loop.turn(0.001)
        watched.silence.reset()
    assert len(loop.timers) == 1
    assert watched.asked == 0


def test_a_reason_to_wait_is_asked_for_and_respected(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.busy = True
    watched.silence.start(LIMIT)
    loop.turn(3 * LIMIT)
    assert (watched.asked, watched.said) == (3, [])
    watched.busy = False
    loop.turn(LIMIT)
    assert watched.said == [LIMIT]


def test_after_stop_nothing_is_told_or_asked(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    watched.silence.stop()
    watched.silence.stop()
    assert loop.timers == []
    loop.turn(2 * LIMIT)
    assert (watched.said, watched.asked) == ([], 0)


def test_one_that_was_never_watched_is_never_told(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.reset()
    watched.silence.stop()
    loop.turn(LIMIT)
    assert watched.said == []


def test_a_new_limit_takes_the_place_of_the_old_one_and_starts_afresh(loop: TurnedLoop) -> None:
    watched = Watched()
    watched.silence.start(LIMIT)
    watched.silence.start(1000 * LIMIT)
    loop.turn(2 * LIMIT)
    assert watched.said == []
    watched.silence.start(LIMIT)
    loop.turn(LIMIT)
    assert watched.said == [LIMIT]


def test_watching_can_begin_again_after_it_was_too_long(loop: TurnedLoop) -> None:
    watched = Watched()
    for times in (1, 2):
        watched.silence.start(LIMIT)
        loop.turn(LIMIT)
        assert watched.said == [LIMIT] * times


def test_watching_anew_leaves_no_other_watch_behind(loop: TurnedLoop) -> None:
    watched = Watched()
    for _ in range(3):
        watched.silence.start(LIMIT)
    loop.turn(3 * LIMIT)
    assert watched.said == [LIMIT]


def test_whoever_is_told_may_stop_the_watch(loop: TurnedLoop) -> None:
    told: list[float] = []

    def stop(limit: float) -> None:
        told.append(limit)
        silence.stop()

    silence = IdleTimer(lambda: False, stop)
    silence.start(LIMIT)
    loop.turn(2 * LIMIT)
    assert told == [LIMIT]
