"""Idle timeouts end a transfer, and nothing else does."""

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

    def __init__(self, loop: TurnedLoop) -> None:
        self.busy = False
        self.asked = 0
        self.said: list[float] = []
        self.silence: IdleTimer | None = None
        self._loop = loop
        self._active_at = 0.0

    def start(self, limit: float) -> None:
        """The silence is limited from now on."""
        if self.silence:
            self.silence.restart(limit)
        else:
            self.silence = IdleTimer(limit, self._last_active, self.said.append)

    def stop(self) -> None:
        if self.silence:
            self.silence.stop()

    def talk(self) -> None:
        """Something happened."""
        self._active_at = self._loop.now

    def _last_active(self) -> float:
        self.asked += 1
        return self._loop.now if self.busy else self._active_at


def test_the_callback_gets_the_limit_once_when_the_timeout_is_over(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    loop.turn(LIMIT - 0.001)
    assert watched.said == []
    loop.turn(0.002)
    assert watched.said == [LIMIT]
    loop.turn(10 * LIMIT)
    assert watched.said == [LIMIT]


def test_an_active_transfer_may_take_any_time(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    for _ in range(100):
        loop.turn(LIMIT * 0.9)
        watched.talk()
    assert watched.said == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_idle_time_counts_from_the_last_reset(loop: TurnedLoop, share: float) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    loop.turn(LIMIT * share)
    watched.talk()
    loop.turn(LIMIT - 0.001)
    assert watched.said == []
    loop.turn(0.002)
    assert watched.said == [LIMIT]


def test_a_thousand_resets_cost_one_timer(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    for _ in range(1000):
        loop.turn(0.001)
        watched.talk()
    assert len(loop.timers) == 1
    assert watched.asked == 0


def test_a_busy_transfer_does_not_time_out(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.busy = True
    watched.start(LIMIT)
    loop.turn(3 * LIMIT)
    assert (watched.asked, watched.said) == (3, [])
    watched.busy = False
    loop.turn(LIMIT)
    assert watched.said == [LIMIT]


def test_after_stop_no_callback_is_called(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    watched.stop()
    watched.stop()
    assert loop.timers == []
    loop.turn(2 * LIMIT)
    assert (watched.said, watched.asked) == ([], 0)


def test_a_new_limit_takes_the_place_of_the_old_one_and_starts_afresh(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    watched.start(LIMIT)
    watched.start(1000 * LIMIT)
    loop.turn(2 * LIMIT)
    assert watched.said == []
    watched.start(LIMIT)
    loop.turn(LIMIT)
    assert watched.said == [LIMIT]


def test_the_timer_can_be_started_again_after_a_timeout(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    for times in (1, 2):
        watched.start(LIMIT)
        loop.turn(LIMIT)
        assert watched.said == [LIMIT] * times


def test_starting_again_leaves_no_second_timer(loop: TurnedLoop) -> None:
    watched = Watched(loop)
    for _ in range(3):
        watched.start(LIMIT)
    loop.turn(3 * LIMIT)
    assert watched.said == [LIMIT]


def test_the_callback_may_stop_the_timer(loop: TurnedLoop) -> None:
    told: list[float] = []

    def stop(limit: float) -> None:
        told.append(limit)
        silence.stop()

    silence = IdleTimer(LIMIT, lambda: 0.0, stop)
    loop.turn(2 * LIMIT)
    assert told == [LIMIT]
