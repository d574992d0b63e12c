"""The lines in which requests wait for a key, one for each model, served in order of arrival.

While a key is ready, a request takes it at once. When all rest it joins the line: a place in it is a call
that is reserved on the key that comes back first, after the calls that were reserved before. Reserved calls
count like those that were made, so nobody else jumps on that key, and the end of the line is always known:
who could not be served in time is told at once, and told when to come back. When it turns out otherwise (a
key is refused, or comes back earlier, or someone leaves), the reservations are made anew in order of arrival.

While a search for a key that serves is on (`search`), nothing is reserved: one request at a time gets the
next try, mostly those that were refused least, since a request that every key refuses must not take them all.

Who was told to come back shall not be turned away again. So as long as someone is expected, newcomers may
join only up to a little less than they may wait; the rest of the line is for those who come back.
"""

import asyncio
import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from proxycore.bench import LANE_PLACES
from proxycore.calls import APART, Call
from proxycore.events import (
    BenchChanged,
    CallCounted,
    CallUncounted,
    Event,
    Origin,
    OwnerLearned,
    QuotaLearned,
    RequestBlamed,
    ReturnExpected,
    RoomChanged,
    SearchChanged,
)
from proxycore.key import Key, Project
from proxycore.lane import counted_as
from proxycore.rotator import Rotator
from proxycore.search import Search

_KEPT_FREE = 0.25  # of the time that a request may wait, for those who were told to come back
_EXPECTED = 0.3  # seconds after the told moment that someone is expected
_FAR = 600.0  # seconds: who is told to come back later than that is not expected
_MANY = 10_000  # who are expected for a model
_MODELS = 256
_NOBODY_FIT = 0.05  # seconds after which a search is looked at again, if no key was fit for anybody
_STIR = 0.0001  # seconds for each who waits: making all reservations anew takes its time


@dataclass(order=True, frozen=True, slots=True)
class Slot:
    """A call that is reserved on a key for a moment."""

    at: float
    key: Key = field(compare=False)


@dataclass(order=True, slots=True)
class Place:
    """A request's place: earlier arrivals come first, however often they come back. Times are the clock's.

    Who can't use every key has a slot that is bound to the place. Others get the slots in order of arrival.
    """

    arrival: int
    avoid: AbstractSet[Key] = field(compare=False)
    only: Key | None = field(compare=False)
    spends: bool = field(compare=False)
    deadline: float = field(compare=False)
    turn: "asyncio.Future[Call | None]" = field(compare=False)
    slot: Slot | None = field(default=None, compare=False)

    @property
    def bound(self) -> bool:
        """Whether its slot is no use to others, or theirs not to it."""
        return bool(self.only or self.avoid or not self.spends)


class Line:
    """Those who wait for a key for one model."""

    def __init__(self, model: str, rotator: Rotator, clock: Callable[[], float]) -> None:
        self._model = model
        self._rotator = rotator
        self._clock = clock
        self._places: list[Place] = []
        self._stirred = False
        self._tries = 0
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    async def wait(self, place: Place, seconds: float) -> Call | None:
        """A call, when it is this place's turn; None when it can't be in time, or `seconds` have passed."""
        insort(self._places, place)
        if search := self._held:
            self._try_one(search)
        elif place.bound or (self._places[-1] is place and not self._stirred):
            self._turn_to(place)
            self._set_alarm()
        else:
            self._reserve_anew()
        try:
            await asyncio.wait((place.turn,), timeout=max(0.0, seconds))
        except asyncio.CancelledError:
            self._leave(place)
            raise
        if not place.turn.done():
            self._leave(place)
            return None
        return place.turn.result()

    def stir(self) -> None:
        """Something has changed: the reservations are to be looked at again."""
        if not self._stirred:
            self._stirred = True
            asyncio.get_running_loop().call_later(len(self._places) * _STIR, self._reserve_anew)

    def _leave(self, place: Place) -> None:
        call = place.turn.result() if place.turn.done() else None
        if call and call.spends:
            self._rotator.uncount(call.key, call.model, call.at)
        elif not place.turn.done():
            self._places.remove(place)
            if place.bound:
                self._give_back(place, place.slot)
            elif place.slot:
                # Those behind move up, so that it is the last slot that nobody needs any more.
                slots = [one.slot for one in self._shared() if one.slot]
                self._assign(sorted([*slots, place.slot]))
        self.stir()

    @property
    def _held(self) -> Search | None:
        return self._rotator.searches.holding(self._model)

    def _try_one(self, search: Search) -> None:
        """While a search is on: gives its next try, if it is time, to who was refused least."""
        for place in self._places:
            self._give_back(place, place.slot)
        if search.is_due(self._model, self._clock()):
            self._tries += 1
            for place in self._in_order_of_tries():
                if key := self._rotator.pick(self._model, place.avoid, place.only):
                    self._hand_over(place, key)
                    break
                if self._rotator.next_turn(self._model, place.avoid, place.only) is None:
                    self._refuse(place)  # every key has refused it
        seconds = search.due(self._model) - self._clock()
        self._set_alarm((seconds if seconds > 0 else _NOBODY_FIT) if self._places else None)

    def _in_order_of_tries(self) -> list[Place]:
        # Those that were refused least; every fourth time those that wait longest, since newcomers that every
        # key refuses must not take all tries, either.
        if self._tries % 4 == 0:
            return self._places[:]
        return sorted(self._places, key=lambda place: len(place.avoid))

    def _reserve_anew(self) -> None:
        self._stirred = False
        if search := self._held:
            self._try_one(search)
            return
        for place in [place for place in self._places if place.bound]:
            self._give_back(place, place.slot)
            self._turn_to(place)
        rotator, model, shared = self._rotator, self._model, self._shared()
        slots = []
        for slot in sorted(place.slot for place in shared if place.slot):
            if rotator.holds(slot.key, model, slot.at):
                slots.append(slot)
            else:
                rotator.uncount(slot.key, model, slot.at)
        while shared and (key := rotator.pick(model)):
            self._hand_over(shared.pop(0), key)
        while shared and (turn := rotator.next_turn(model)):
            if len(slots) >= len(shared):
                if turn[1] >= slots[len(shared) - 1].at - APART:
                    break
                last = slots.pop()
                rotator.uncount(last.key, model, last.at)
            insort(slots, self._reserve(*turn))
        self._assign(slots)
        self._set_alarm()

    def _assign(self, slots: list[Slot]) -> None:
        """Gives the slots to those who can use any, in order of arrival; those who would be late leave."""
        shared, given = self._shared(), 0
        for place in shared:
            place.slot = slots[given] if given < len(slots) else None
            if place.slot is None or place.slot.at > place.deadline:
                self._refuse(place)
            else:
                given += 1
        for slot in slots[given:]:
            self._rotator.uncount(slot.key, self._model, slot.at)

    def _serve(self) -> None:
        """Serves all whose reservation is due."""
        if search := self._held:
            self._try_one(search)
            return
        if not any(place.slot for place in self._places):
            self._reserve_anew()  # a search has ended
            return
        now, rotator, model = self._clock(), self._rotator, self._model
        for place in [place for place in self._places if place.slot and place.slot.at <= now]:
            slot = place.slot
            if slot and rotator.claim(slot.key, model):
                self._places.remove(place)
                place.turn.set_result(rotator.redeem(slot.key, model, slot.at, spends=place.spends))
            else:
                self.stir()
        self._set_alarm()

    def _turn_to(self, place: Place) -> None:
        """Serves a place at once, or reserves its slot, or refuses it."""
        rotator, model = self._rotator, self._model
        if key := rotator.pick(model, place.avoid, place.only):
            self._hand_over(place, key)
            return
        turn = rotator.next_turn(model, place.avoid, place.only)
        if turn is None or turn[1] > place.deadline:
            self._refuse(place)
        else:
            place.slot = self._reserve(*turn) if place.spends else Slot(turn[1], turn[0])

    def _shared(self) -> list[Place]:
        return [place for place in self._places if not place.bound]

    def _hand_over(self, place: Place, key: Key) -> None:
        self._places.remove(place)
        place.turn.set_result(self._rotator.call(key, self._model, spends=place.spends))

    def _refuse(self, place: Place) -> None:
        self._places.remove(place)
        place.slot = None
        place.turn.set_result(None)

    def _reserve(self, key: Key, at: float) -> Slot:
        return Slot(self._rotator.reserve(key, self._model, at), key)

    def _give_back(self, place: Place, slot: Slot | None) -> None:
        if slot and place.spends:
            self._rotator.uncount(slot.key, self._model, slot.at)
        place.slot = None

    def _set_alarm(self, seconds: float | None = None) -> None:
        """Sets the alarm for the first reservation, or in so many seconds."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if seconds is None:
            moments = [place.slot.at for place in self._places if place.slot]
            seconds = max(0.0, min(moments) - self._clock()) if moments else None
        if seconds is not None and not self._stirred:
            # A millisecond past the moment: timers may fire a little early.
            self._alarm = asyncio.get_running_loop().call_later(seconds + 0.001, self._serve)


class Lines:
    """All lines of the program. `max_wait` is the seconds that one request may wait in all."""

    def __init__(self, rotator: Rotator, max_wait: float, clock: Callable[[], float]) -> None:
        self.max_wait = max_wait
        self._rotator = rotator
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._expected: OrderedDict[str, list[float]] = (
            OrderedDict()
        )  # model -> when those come back who were told to
        rotator.events.subscribe(Event, self._on_event)

    @property
    def waiting(self) -> int:
        """How many requests wait, in all lines."""
        return sum(map(len, self._lines.values()))

    def take(
        self,
        model: str,
        avoid: AbstractSet[Key],
        only: Key | None = None,
        *,
        spends: bool = True,
        prefer: Project | None = None,
    ) -> Call | None:
        """A call with a ready key at once (of `prefer`, if possible), unless others wait for it."""
        if self._lines.get(model):
            return None
        return self._rotator.acquire(model, avoid, only, prefer, spends=spends)

    async def wait(
        self,
        model: str,
        arrival: int,
        avoid: AbstractSet[Key],
        seconds: float,
        only: Key | None = None,
        *,
        spends: bool = True,
    ) -> Call | None:
        """The next call that is this request's in order of arrival; None when that takes too long.

        When it is known before that its turn would not come within `seconds`, the answer comes at once.
        """
        turn = self._rotator.next_turn(model, avoid, only) if seconds > 0 else None
        now = self._clock()
        held = self._rotator.searches.holding(model)
        if turn is None or not (held or self._has_room(model, turn[1] - now, seconds, now)):
            return None
        line = self._lines.setdefault(model, Line(model, self._rotator, self._clock))
        place = Place(arrival, avoid, only, spends, now + seconds, asyncio.get_running_loop().create_future())
        try:
            return await line.wait(place, seconds)
        finally:
            if not line:
                self._lines.pop(model, None)

    def expect(self, model: str, at: float, *, gone: bool = False, origin: Origin = Origin.HERE) -> None:
        """Someone was told to come back at this moment, or (`gone`) is not expected any more."""
        now, expected = self._clock(), self._expected.setdefault(model, [])
        if len(self._expected) > _MODELS:
            self._expected.popitem(last=False)  # of models that nobody asks for any more, or never existed
        if gone and at in expected:
            expected.remove(at)
        elif not gone and now < at < now + _FAR and len(expected) < _MANY:
            insort(expected, at)
            self._rotator.events.publish(ReturnExpected(origin, model, at, gone=False))

    def come_back(self, model: str, at: float) -> int:
        """Whole seconds until this moment, at which a new request is expected to come."""
        now = self._clock()
        seconds = max(1, math.ceil(at - now))
        self.expect(model, now + seconds)
        return seconds

    def stir(self, model: str | None) -> None:
        """Something has changed for those who wait for this lane, or (None) for all."""
        for lane, line in self._lines.items():
            if model in {None, lane, counted_as(lane)}:
                line.stir()

    def _has_room(self, model: str, needed: float, seconds: float, now: float) -> bool:
        """Whether one who would wait for the needed seconds may join the line."""
        expected = self._expected.get(model, [])
        del expected[: bisect_left(expected, now - _EXPECTED)]
        if not expected:
            self._expected.pop(model, None)
            return needed <= seconds
        if needed <= seconds * (1 - _KEPT_FREE):
            return True
        if needed > seconds or expected[0] > now:
            return False
        self._rotator.events.publish(ReturnExpected(Origin.HERE, model, expected.pop(0), gone=True))
        return True

    def _on_event(self, event: Event) -> None:
        match event:
            case CallCounted() | CallUncounted() | ReturnExpected() | OwnerLearned() | RequestBlamed():
                pass  # nobody can be served earlier for that, or who can is served already
            case BenchChanged(place=place, about=lane) if place in LANE_PLACES:
                self.stir(lane)
            case QuotaLearned(lane=lane) | RoomChanged(lane=lane) | SearchChanged(lane=lane):
                self.stir(lane)
            case _:
                self.stir(None)
