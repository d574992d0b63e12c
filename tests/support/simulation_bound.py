"""The bound of a simulation: a scheduler that sees Google's own counts, and knows who will ask how much."""

import asyncio
import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.google_windows import Bucket
from tests.support.scenario import Request, Scenario
from tests.support.simulation_schedulers import Upstream

_SOON = 0.001  # seconds until it tries again, if the upstream failed
_BURST = 10.0  # seconds of its share that a client may use at once


def _fair_shares(loads: dict[str, float]) -> dict[str, float]:
    """Return what each client gets of what is there: what it asks for, or else as much as any other."""
    left, shares = 1.0, {}
    for served, (name, load) in enumerate(sorted(loads.items(), key=lambda item: item[1])):
        shares[name] = min(load, left / (len(loads) - served))
        left -= shares[name]
    return shares


def _paces(scenario: Scenario) -> dict[tuple[str, bool], Bucket]:
    """Return how fast those are served who ask for more than their share: owned requests, and all others.

    They would use up all windows at once, and nothing would be left for others until those end.
    """
    loads = {client.name: client.load for client in scenario.clients}
    kinds = {True: scenario.bound, False: 1 - scenario.bound}
    if sum(loads.values()) <= 1 or (len(loads) == 1 and not scenario.bound):
        return {}
    each = scenario.free(0.0) / scenario.habits.period * _BURST
    return {
        (name, owned): Bucket(share * part * each, _BURST)
        for name, share in _fair_shares(loads).items()
        for owned, part in kinds.items()
        if part and share < loads[name]
    }


@dataclass(order=True, slots=True)
class _Place:
    """A request that waits; `turn` is its place in line, which is fair between clients."""

    turn: float
    number: int
    request: Request = field(compare=False)
    served: "asyncio.Future[bool]" = field(compare=False)


class Bound:
    """Knows everything, and calls at once: the best that can be done without knowing the future.

    A prompt goes where it fits with the least to spare, a turn of a conversation where most of it is cached,
    and any other request where the most is left. Clients that wait take turns.
    """

    def __init__(self, upstream: Upstream, scenario: Scenario) -> None:
        self._upstream = upstream
        self._max_wait = scenario.max_wait
        self._paces = _paces(scenario)
        self._waiting: list[_Place] = []
        self._turn = 0.0  # of the request that was served last
        self._turns: dict[str, float] = {}  # of each client's last request
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request as soon as there is room."""
        if self._wait(request) == math.inf:
            return False, None
        turn = self._turns[request.client] = max(self._turn, self._turns.get(request.client, 0.0)) + 1.0
        place = _Place(turn, request.number, request, asyncio.get_running_loop().create_future())
        insort(self._waiting, place)
        self._wake()
        await asyncio.wait((place.served,), timeout=self._max_wait)
        if place.served.done():
            return True, None
        self._waiting.remove(place)
        return False, None

    def _call(self, request: Request) -> bool:
        upstream, now = self._upstream, self._upstream.now()
        projects, pace = upstream.projects, self._pace(request)
        if pace and pace.wait(now, 1) > 0:
            return False
        free = [number for number in self._fit(request) if projects[number].wait(now, request.tokens) <= 0]
        if not free:
            return False
        lefts = {number: projects[number].left(now) for number in free}
        best = (min if request.tokens else max)(free, key=lefts.__getitem__)
        if request.conversation:
            cached = [
                upstream.caches[number].cached(request.conversation, request.tokens, now) for number in free
            ]
            best = max(zip(cached, map(lefts.__getitem__, free), free, strict=True))[2]
        if upstream.call_now(best, request):
            return False
        if pace:
            pace.spend(now, 1)
        return True

    def _pace(self, request: Request) -> Bucket | None:
        return self._paces.get((request.client, request.owner is not None))

    def _fit(self, request: Request) -> Sequence[int]:
        return range(len(self._upstream.projects)) if request.owner is None else (request.owner,)

    def _wait(self, request: Request) -> float:
        now, pace, projects = self._upstream.now(), self._pace(request), self._upstream.projects
        wait = min(projects[number].wait(now, request.tokens) for number in self._fit(request))
        return max(wait, pace.wait(now, 1)) if pace else wait

    def _wake(self) -> None:
        """Serve all that there is room for, and come again when there is more."""
        if self._timer:
            self._timer.cancel()
        refused: set[tuple[str, int | None, int]] = set()
        for place in self._waiting[:]:
            request = place.request
            kind = request.client, request.owner, request.tokens
            if kind in refused:
                continue
            if self._call(request):
                self._waiting.remove(place)
                self._turn = place.turn
                place.served.set_result(True)
            else:
                refused.add(kind)
        if self._waiting:
            requests = [place.request for place in self._waiting]
            alike = {(request.tokens, request.owner, request.client): request for request in requests}
            wait = min(map(self._wait, alike.values()))
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SOON), self._wake)
