"""The lines in which requests wait for a key, one for each model, served in order of arrival.

While nobody waits, a request takes any ready key at once. When all keys rest it joins the line, and a
key that comes off the bench serves the first in line. The others don't jump on it too: until that one
was answered, or for `HEAD_START` seconds if the answer takes longer (a refusal comes at once, a long
thought does not), the key serves no one else who waited. So a key whose quota is still spent costs one
refused call, not one for each who waits.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from proxycore.rotator import Key, Rotator

HEAD_START = 0.25
"""Seconds that the first in line has a key to itself."""


@dataclass(order=True, slots=True)
class Place:
    """A request's place: earlier arrivals come first, however often they come back."""

    arrival: int
    avoid: AbstractSet[Key] = field(compare=False)
    turn: asyncio.Future[Key] = field(compare=False)


class Line:
    """Those who wait for a key for one model."""

    def __init__(self, model: str, rotator: Rotator, clock: Callable[[], float]) -> None:
        self._model = model
        self._rotator = rotator
        self._clock = clock
        self._places: list[Place] = []
        self._held: dict[Key, float] = {}  # key -> until when its head start lasts
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    async def wait(self, arrival: int, avoid: AbstractSet[Key], seconds: float) -> Key | None:
        """A key, when it is this request's turn; None when `seconds` have passed before that."""
        place = Place(arrival, avoid, asyncio.get_running_loop().create_future())
        insort(self._places, place)
        self._serve()
        key = None
        try:
            await asyncio.wait((place.turn,), timeout=seconds)
            key = place.turn.result() if place.turn.done() else None
        finally:
            if key is None:
                self._leave(place)
        return key

    def answered(self, key: Key) -> None:
        """The call that had this key to itself was answered, or is over: the next in line may have it."""
        if self._held.pop(key, None) is not None:
            self._serve()

    def _leave(self, place: Place) -> None:
        if place.turn.done():
            self.answered(place.turn.result())
        else:
            self._places.remove(place)
            self._serve()

    def _serve(self) -> None:
        now = self._clock()
        self._held = {key: until for key, until in self._held.items() if until > now}
        for place in self._places[:]:
            key = self._rotator.pick(self._model, place.avoid | self._held.keys())
            if key is not None:
                self._places.remove(place)
                self._held[key] = now + HEAD_START
                place.turn.set_result(key)
            elif not place.avoid:
                break  # nobody behind could be served either
        self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        changes = [key.ready_at(self._model) for key in self._rotator.keys] if self._places else []
        later = [moment for moment in (*changes, *self._held.values()) if moment > now]
        if self._places and later:
            # A millisecond past the moment: timers may fire a little early.
            delay = min(later) - now + 0.001
            self._alarm = asyncio.get_running_loop().call_later(delay, self._serve)


class Lines:
    """All lines of the program. `max_wait` is the seconds that one request may wait in all."""

    def __init__(self, rotator: Rotator, max_wait: float, clock: Callable[[], float]) -> None:
        self.max_wait = max_wait
        self._rotator = rotator
        self._clock = clock
        self._lines: dict[str, Line] = {}

    @property
    def waiting(self) -> int:
        """How many requests wait, in all lines."""
        return sum(map(len, self._lines.values()))

    def take(self, model: str, avoid: AbstractSet[Key]) -> Key | None:
        """A ready key at once, unless others have waited for one longer."""
        return None if self._lines.get(model) else self._rotator.pick(model, avoid)

    async def wait(self, model: str, arrival: int, avoid: AbstractSet[Key], seconds: float) -> Key | None:
        """The next key that is this request's in order of arrival; None when that takes too long.

        When it is known before that no key is ready within `seconds`, the answer comes at once.
        """
        first = self._rotator.ready_at(model, avoid)
        if seconds <= 0 or first is None or first - self._clock() > seconds:
            return None
        line = self._lines.setdefault(model, Line(model, self._rotator, self._clock))
        try:
            return await line.wait(arrival, avoid, seconds)
        finally:
            self._close(model)

    def answered(self, model: str, key: Key) -> None:
        """An attempt with this key for this model was answered, or is over."""
        if line := self._lines.get(model):
            line.answered(key)

    def _close(self, model: str) -> None:
        if not self._lines.get(model):
            self._lines.pop(model, None)
