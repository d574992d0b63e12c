"""The queue in which requests wait for a key for one model, served in order of arrival.

While a key is ready, a request gets it at once. While none is, the request joins the queue: a place in it is
a call that is reserved on the key that is ready first, after the calls that were reserved before. Reserved
calls count like those that were made, so no other request takes their places, and it is known when the
next request would be served: one that could not be served in time is refused at once, with the time to
retry. When something changes (a key is refused, a key is ready earlier, a request is cancelled), the
reservations are made anew in order of arrival.

While a search for a key that serves is on (`search`), nothing is reserved: one request at a time gets the
next try, mostly those that fewest keys have refused, since a request that every key refuses must not use up
all tries.
"""

import asyncio
from bisect import insort

from proxycore.rotation.calls import APART, Call
from proxycore.rotation.key import Key
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import Scheduler, Timer
from proxycore.rotation.search import Search
from proxycore.rotation.waiter import Reservation, Waiter

_LATE = 0.001  # seconds after its moment that a timer is set for, since timers may fire a little early
_NO_KEY_FIT = 0.05  # seconds after which a search is tried again, if no key was fit for any waiter
_REFRESH = 0.0001  # seconds of delay for each waiter: the work grows with their number


class WaitQueue:
    """The requests that wait for a key for one model.

    The scheduler has to go by the rotator's clock: reservations and deadlines are its moments.
    """

    def __init__(self, model: str, rotator: Rotator, scheduler: Scheduler) -> None:
        self._model = model
        self._rotator = rotator
        self._scheduler = scheduler
        self._waiters: list[Waiter] = []
        self._refreshing = False
        self._tries = 0
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, waiter: Waiter) -> Call | None:
        """Return the waiter's call when its turn comes; None if it cannot come before the deadline."""
        self._join(waiter)
        seconds = waiter.deadline - self._scheduler.now()
        timer = self._scheduler.call_later(seconds, lambda: self._expire(waiter))
        try:
            # Not the future itself: that would be cancelled with the request, and could not be resolved then.
            # Even if it is resolved already, requests that were served before this one continue first.
            await asyncio.wait((waiter.turn,))
        except asyncio.CancelledError:
            self._cancel(waiter)
            raise
        finally:
            timer.cancel()
        return waiter.turn.result()

    def refresh(self) -> None:
        """Make the reservations anew soon, since something has changed."""
        if not self._refreshing:
            self._refreshing = True
            self._scheduler.call_later(len(self._waiters) * _REFRESH, self._reserve_all)

    # Joining and leaving.

    def _join(self, waiter: Waiter) -> None:
        insort(self._waiters, waiter)
        if search := self._search:
            self._try_one(search)
        elif waiter.is_restricted or (self._waiters[-1] is waiter and not self._refreshing):
            self._serve_or_reserve(waiter)
            self._set_timer()
        else:
            self._reserve_all()

    def _expire(self, waiter: Waiter) -> None:
        """Refuse a waiter whose deadline has come."""
        if not waiter.turn.done():
            self._leave(waiter)
            waiter.turn.set_result(None)

    def _cancel(self, waiter: Waiter) -> None:
        """Remove a waiter whose request was cancelled, or withdraw the call that it was just assigned."""
        if not waiter.turn.done():
            self._leave(waiter)
        elif call := waiter.turn.result():
            self._rotator.withdraw(call)
            self.refresh()

    def _leave(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        if waiter.is_restricted:
            self._release(waiter)
        elif waiter.reservation:
            # Waiters behind move up one reservation; the last reservation is released.
            behind = [one.reservation for one in self._exchanging() if one.reservation]
            self._assign(sorted([*behind, waiter.reservation]))
        self.refresh()

    # While a search is on.

    @property
    def _search(self) -> Search | None:
        return self._rotator.searches.holding(self._model)

    def _try_one(self, search: Search) -> None:
        """Give the search's next try, if it is time for that, to the first waiter that a key is fit for."""
        for waiter in self._waiters:
            self._release(waiter)
        if search.is_due(self._model, self._scheduler.now()):
            self._tries += 1
            for waiter in self._in_order_of_tries():
                if key := self._rotator.pick(self._model, waiter.avoid, waiter.only):
                    self._serve(waiter, key)
                    break
                if self._rotator.next_turn(self._model, waiter.avoid, waiter.only) is None:
                    self._refuse(waiter)  # every key has refused it
        seconds = search.due(self._model) - self._scheduler.now()
        self._set_timer((seconds if seconds > 0 else _NO_KEY_FIT) if self._waiters else None)

    def _in_order_of_tries(self) -> list[Waiter]:
        # Those that fewest keys have refused; every fourth time those that wait longest, since new requests
        # that every key refuses must not use up all tries, either.
        if self._tries % 4 == 0:
            return self._waiters[:]
        return sorted(self._waiters, key=lambda waiter: len(waiter.avoid))

    # Reservations.

    def _reserve_all(self) -> None:
        """Serve the waiters that a key is ready for, and make the reservations of the others anew."""
        self._refreshing = False
        if search := self._search:
            self._try_one(search)
            return
        for waiter in [waiter for waiter in self._waiters if waiter.is_restricted]:
            self._release(waiter)
            self._serve_or_reserve(waiter)
        rotator, model, exchanging = self._rotator, self._model, self._exchanging()
        reservations = self._confirmed(exchanging)
        while exchanging and (key := rotator.pick(model)):
            self._serve(exchanging.pop(0), key)
        while exchanging and (turn := rotator.next_turn(model)):
            if len(reservations) >= len(exchanging):
                if turn[1] >= reservations[len(exchanging) - 1].at - APART:
                    break
                last = reservations.pop()
                rotator.uncount(last.key, model, last.at)
            insort(reservations, self._reserve(*turn))
        self._assign(reservations)
        self._set_timer()

    def _confirmed(self, waiters: list[Waiter]) -> list[Reservation]:
        """Return the reservations of these waiters that still hold, in order; release the others."""
        confirmed = []
        for reservation in sorted(waiter.reservation for waiter in waiters if waiter.reservation):
            if self._rotator.holds(reservation.key, self._model, reservation.at):
                confirmed.append(reservation)
            else:
                self._rotator.uncount(reservation.key, self._model, reservation.at)
        return confirmed

    def _assign(self, reservations: list[Reservation]) -> None:
        """Assign these in order of arrival, and refuse the waiters that would be served too late."""
        assigned = 0
        for waiter in self._exchanging():
            waiter.reservation = reservations[assigned] if assigned < len(reservations) else None
            if waiter.reservation is None or waiter.reservation.at > waiter.deadline:
                self._refuse(waiter)
            else:
                assigned += 1
        for reservation in reservations[assigned:]:
            self._rotator.uncount(reservation.key, self._model, reservation.at)

    def _serve_due(self) -> None:
        """Serve every waiter whose reservation is due."""
        if search := self._search:
            self._try_one(search)
            return
        if not any(waiter.reservation for waiter in self._waiters):
            self._reserve_all()  # a search has ended
            return
        now, rotator, model = self._scheduler.now(), self._rotator, self._model
        for waiter in self._waiters[:]:
            reservation = waiter.reservation
            if reservation is None or reservation.at > now:
                continue
            if rotator.can_redeem(reservation.key, model):
                self._waiters.remove(waiter)
                call = rotator.redeem(
                    reservation.key, model, reservation.at, spends=waiter.spends, tokens=waiter.tokens
                )
                waiter.turn.set_result(call)
            else:
                self.refresh()
        self._set_timer()

    def _serve_or_reserve(self, waiter: Waiter) -> None:
        """Serve a waiter at once, or reserve a call for it, or refuse it."""
        rotator, model = self._rotator, self._model
        if key := rotator.pick(model, waiter.avoid, waiter.only, tokens=waiter.tokens):
            self._serve(waiter, key)
            return
        turn = rotator.next_turn(model, waiter.avoid, waiter.only, waiter.tokens)
        if turn is None or turn[1] > waiter.deadline:
            self._refuse(waiter)
        elif waiter.spends:
            waiter.reservation = self._reserve(*turn, waiter.tokens)
        else:
            waiter.reservation = Reservation(turn[1], turn[0])

    def _exchanging(self) -> list[Waiter]:
        """The waiters that can use any key, and so each other's reservations."""
        return [waiter for waiter in self._waiters if not waiter.is_restricted]

    def _serve(self, waiter: Waiter, key: Key) -> None:
        self._waiters.remove(waiter)
        call = self._rotator.call(key, self._model, spends=waiter.spends, tokens=waiter.tokens)
        waiter.turn.set_result(call)

    def _refuse(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.reservation = None
        waiter.turn.set_result(None)

    def _reserve(self, key: Key, at: float, tokens: int = 0) -> Reservation:
        return Reservation(self._rotator.reserve(key, self._model, at, tokens), key)

    def _release(self, waiter: Waiter) -> None:
        """Undo the waiter's reservation."""
        if waiter.reservation and waiter.spends:
            self._rotator.uncount(waiter.reservation.key, self._model, waiter.reservation.at)
        waiter.reservation = None

    def _set_timer(self, seconds: float | None = None) -> None:
        """Set the timer for the first reservation, or in so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is None:
            moments = [waiter.reservation.at for waiter in self._waiters if waiter.reservation]
            seconds = max(0.0, min(moments) - self._scheduler.now()) if moments else None
        if seconds is not None and not self._refreshing:
            self._timer = self._scheduler.call_later(seconds + _LATE, self._serve_due)
