"""The queue in which requests wait for a key for one model: fair between clients, then in order of arrival.

While a key is ready, a request gets it at once. While none is, the request joins the queue: for each that
waits a call is reserved on the key that is ready first, after the calls that were reserved before. Reserved
calls count like those that were made, so no other request takes their places, and it is known when each
waiter would be served: one that could not be served in time is refused at once, with the time to retry.
When something changes (a key is refused, a key is ready earlier, a request is cancelled), the reservations
are made anew.

A reservation is nobody's own: whoever is first in the order when it is due has it. Only a restricted waiter
(a request of a resource's owner, or one that some keys have refused) has one of its own, since few
reservations suit it: it takes over the one that suits it about when it would be its turn if any did, and
another is made for the others.

While a search for a key that serves is on (`search`), nothing is reserved: one request at a time gets the
next try, mostly those that fewest keys have refused, since a request that every key refuses must not use up
all tries.
"""

import asyncio
from collections.abc import Mapping

from proxycore.rotation.calls import Call
from proxycore.rotation.expected_returns import ExpectedReturns
from proxycore.rotation.fair_order import FairOrder
from proxycore.rotation.key import Key
from proxycore.rotation.pool_rates import PoolRates
from proxycore.rotation.reservations import Reservations
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import Scheduler, Timer
from proxycore.rotation.search import Search
from proxycore.rotation.waiter import Reservation, Waiter

_LATE = 0.001  # seconds after its moment that a timer is set for, since timers may fire a little early
_NO_KEY_FIT = 0.05  # seconds after which a search is tried again, if no key was fit for any waiter
_REFRESH = 0.0001  # seconds of delay for each waiter: the work grows with their number


class WaitQueue:
    """The requests that wait for a key for one model. `weights` are those of the clients, 1 by default.

    The scheduler has to go by the rotator's clock: reservations and deadlines are its moments.
    """

    def __init__(
        self,
        model: str,
        rotator: Rotator,
        scheduler: Scheduler,
        *,
        expected: ExpectedReturns,
        rates: PoolRates,
        weights: Mapping[str, float],
    ) -> None:
        self._model = model
        self._rotator = rotator
        self._scheduler = scheduler
        self._expected = expected
        self._rates = rates
        self._order = FairOrder(weights)
        self._reservations = Reservations(model, rotator)  # one for each unrestricted waiter
        self._refreshing = False
        self._tries = 0
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._order)

    async def wait(self, waiter: Waiter) -> Call | None:
        """Return the waiter's call when its turn comes; None if it cannot come before the deadline."""
        self._join(waiter)
        if waiter.turn.done() and waiter.turn.result() is None:
            return None
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
            self._scheduler.call_later(len(self._order) * _REFRESH, self._reserve_all)

    # Joining and leaving.

    def _join(self, waiter: Waiter) -> None:
        if self._refreshing and not waiter.is_restricted:
            self._reserve_all()
        turn = self._turn(waiter)
        self._order.add(waiter)
        if turn is None:
            self._refuse(waiter)
        elif search := self._search:
            self._try_one(search)
        elif turn[1] <= self._scheduler.now() and (key := self._pick(waiter)):
            self._serve(waiter, key)
        elif not self._admits(waiter, turn[1]):
            self._refuse(waiter)
            if not waiter.is_restricted:
                self._rates.spread(self._model)
        elif waiter.is_restricted:
            self._reserve_own(waiter, *turn)
            self._complete()
            self._set_timer()
        else:
            self._reservations.add(*turn)
            if self._order.unrestricted[-1] is not waiter:
                self._refuse_late()
            self._set_timer()

    def _admits(self, waiter: Waiter, at: float) -> bool:
        """Return whether there is room for this waiter, which would have its turn `at` a moment if last."""
        now, places = self._scheduler.now(), self._reservations
        ahead = self._order.ahead(waiter)
        if waiter.is_restricted and places:
            ahead = min(ahead, len(places) - 1)  # it may take over the last as well
        if ahead < len(places):
            at = min(at, places[ahead].at)
        return self._expected.admit(self._model, at - now, waiter.deadline - now, waiter.client)

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
        self._order.remove([waiter])
        self._release(waiter)
        self._reservations.keep(len(self._order.unrestricted))
        self.refresh()

    # While a search is on.

    @property
    def _search(self) -> Search | None:
        return self._rotator.searches.holding(self._model)

    def _try_one(self, search: Search) -> None:
        """Give the search's next try, if it is time for that, to the first waiter that a key is fit for."""
        for waiter in self._order.restricted:
            self._release(waiter)
        self._reservations.keep(0)
        if search.is_due(self._model, self._scheduler.now()):
            self._tries += 1
            for waiter in self._order.by_tries(self._tries):
                if key := self._pick(waiter):
                    self._serve(waiter, key)
                    break
                if self._turn(waiter) is None:
                    self._refuse(waiter)  # every key has refused it
        seconds = search.due(self._model) - self._scheduler.now()
        self._set_timer((seconds if seconds > 0 else _NO_KEY_FIT) if self._order else None)

    # Reservations.

    def _reserve_all(self) -> None:
        """Serve the waiters that a key is ready for, and make the reservations of the others anew."""
        self._refreshing = False
        if search := self._search:
            self._try_one(search)
            return
        self._reservations.confirm()
        for waiter in self._order.restricted[:]:
            self._release(waiter)
            self._serve_or_reserve(waiter)
        unrestricted = self._order.unrestricted
        while unrestricted and (key := self._rotator.pick(self._model)):
            self._serve(unrestricted[0], key)
        self._complete()
        self._set_timer()

    def _complete(self) -> None:
        """Reserve a call for every unrestricted waiter, and refuse those that would be served too late."""
        self._reservations.fill(len(self._order.unrestricted))
        self._refuse_late()

    def _refuse_late(self) -> None:
        """Refuse the unrestricted waiters that would be served too late."""
        late, behind = [], iter(self._reservations)
        reservation = next(behind, None)
        for waiter in self._order.unrestricted:
            if reservation and reservation.at <= waiter.deadline:
                reservation = next(behind, None)
            else:
                late.append(waiter)
        if late:
            self._refuse(*late)
        self._reservations.keep(len(self._order.unrestricted))

    def _serve_due(self) -> None:
        """Serve those whose turn it is: the reservations that are due are for the first in the order."""
        if search := self._search:
            self._try_one(search)
            return
        if len(self._reservations) < len(self._order.unrestricted) or not all(
            waiter.reservation for waiter in self._order.restricted
        ):
            self._reserve_all()  # a search has ended
            return
        now = self._scheduler.now()
        for waiter in self._order.restricted[:]:
            if (own := waiter.reservation) and own.at <= now:
                self._redeem(own, waiter)
        for reservation in self._reservations.due(now):
            if self._redeem(reservation, self._order.unrestricted[0]):
                self._reservations.remove(reservation)
        self._set_timer()

    def _redeem(self, reservation: Reservation, waiter: Waiter) -> bool:
        """Serve a waiter with the call that was reserved, if it can be made; returns whether it can."""
        if not self._rotator.can_redeem(reservation.key, self._model):
            self.refresh()
            return False
        self._order.serve(waiter)
        call = self._rotator.redeem(
            reservation.key, self._model, reservation.at, spends=waiter.spends, tokens=waiter.tokens
        )
        waiter.turn.set_result(call)
        return True

    def _serve_or_reserve(self, waiter: Waiter) -> None:
        """Serve a restricted waiter at once, or reserve a call for it, or refuse it."""
        if key := self._pick(waiter):
            self._serve(waiter, key)
        elif turn := self._turn(waiter):
            self._reserve_own(waiter, *turn)
        else:
            self._refuse(waiter)

    def _reserve_own(self, waiter: Waiter, key: Key, at: float) -> None:
        """Reserve a call for a restricted waiter that could have one with this key `at` a moment; or refuse.

        It takes over an earlier reservation that suits it; another is then made for the others.
        """
        if not waiter.spends:
            waiter.reservation = Reservation(at, key) if at <= waiter.deadline else None
        elif taken := self._reservations.suitable(
            waiter, self._order.ahead(waiter), min(at, waiter.deadline)
        ):
            self._reservations.remove(taken)
            waiter.reservation = taken
        elif at <= waiter.deadline:
            reserved = self._rotator.reserve(key, self._model, at, waiter.tokens)
            waiter.reservation = Reservation(reserved, key)
        if waiter.reservation is None:
            self._refuse(waiter)

    def _pick(self, waiter: Waiter) -> Key | None:
        return self._rotator.pick(self._model, waiter.avoid, waiter.only, tokens=waiter.tokens)

    def _turn(self, waiter: Waiter) -> tuple[Key, float] | None:
        return self._rotator.next_turn(self._model, waiter.avoid, waiter.only, waiter.tokens)

    def _serve(self, waiter: Waiter, key: Key) -> None:
        self._order.serve(waiter)
        call = self._rotator.call(key, self._model, spends=waiter.spends, tokens=waiter.tokens)
        waiter.turn.set_result(call)

    def _refuse(self, *waiters: Waiter) -> None:
        self._order.remove(waiters)
        for waiter in waiters:
            waiter.turn.set_result(None)

    def _release(self, waiter: Waiter) -> None:
        """Undo a restricted waiter's reservation."""
        if waiter.reservation and waiter.spends:
            self._rotator.uncount(waiter.reservation.key, self._model, waiter.reservation.at)
        waiter.reservation = None

    def _set_timer(self, seconds: float | None = None) -> None:
        """Set the timer for the first reservation, or in so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is None:
            moments = [waiter.reservation.at for waiter in self._order.restricted if waiter.reservation]
            moments += [self._reservations[0].at] if self._reservations else []
            seconds = max(0.0, min(moments) - self._scheduler.now()) if moments else None
        if seconds is not None and not self._refreshing:
            self._timer = self._scheduler.call_later(seconds + _LATE, self._serve_due)
