"""The calls that are reserved for waiters which can use any key: as many as they are, nobody's own. Pure.

Reserved calls count like those that were made, so no other request takes their places. Times are the clock's
moments, in seconds.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator

from proxycore.rotation.calls import APART
from proxycore.rotation.key import Key
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.waiter import Reservation, Waiter


class Reservations:
    """The reservations for `model`, in order of their moments."""

    def __init__(self, model: str, rotator: Rotator) -> None:
        self._model = model
        self._rotator = rotator
        self._all: list[Reservation] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._all)

    def __getitem__(self, place: int) -> Reservation:
        return self._all[place]

    def add(self, key: Key, at: float) -> None:
        """Reserve a call with this key for about this moment."""
        insort(self._all, Reservation(self._rotator.reserve(key, self._model, at), key))

    def remove(self, reservation: Reservation) -> None:
        """Remove a reservation that somebody has now; its call stays counted."""
        self._all.remove(reservation)

    def due(self, now: float) -> list[Reservation]:
        """Return the reservations whose moment has come."""
        return self._all[: bisect_right(self._all, now, key=_moment)]

    def suitable(self, waiter: Waiter, ahead: int, before: float) -> Reservation | None:
        """Return the reservation for a restricted waiter to take over, of those before a moment.

        It is the first that suits it after as many as there are waiters `ahead` of it, or else the last one
        before, since those who come later must not keep it from its keys.
        """
        suitable = None
        if waiter.counts_tokens:
            return None  # no tokens were reserved with any of them
        for place, reservation in enumerate(self._all):
            if reservation.at >= before or (suitable and place > ahead):
                break
            if waiter.may_use(reservation.key):
                suitable = reservation
        return suitable

    def confirm(self) -> None:
        """Keep the reservations that still hold, and release the others."""
        rotator, model, unconfirmed = self._rotator, self._model, self._all
        self._all = []
        for reservation in unconfirmed:
            if rotator.holds(reservation.key, model, reservation.at):
                self._all.append(reservation)
            else:
                rotator.uncount(reservation.key, model, reservation.at)

    def fill(self, wanted: int) -> None:
        """Reserve calls until there are so many, or none can be made, each as early as possible."""
        rotator, model = self._rotator, self._model
        while wanted and (turn := rotator.next_turn(model)):
            if len(self._all) >= wanted:
                if turn[1] >= self._all[wanted - 1].at - APART:
                    break
                last = self._all.pop()
                rotator.uncount(last.key, model, last.at)
            self.add(*turn)

    def keep(self, wanted: int) -> None:
        """Release the last reservations, but for so many."""
        for reservation in self._all[wanted:]:
            self._rotator.uncount(reservation.key, self._model, reservation.at)
        del self._all[wanted:]


def _moment(reservation: Reservation) -> float:
    return reservation.at
