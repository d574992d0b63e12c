"""Who chooses the keys in a simulation: the bound, which sees Google's own counts, and the usual programs."""

import asyncio
import math
import random
from collections.abc import Sequence
from itertools import cycle
from typing import Protocol

from tests.support.google_quotas import Project, Refusal, overloaded
from tests.support.scenario import Request

TRIES = 3
_SOON = 0.001  # seconds until it tries again, if the upstream failed
_BENCHED = 60.0  # seconds, of the fixed bench


class Upstream(Protocol):
    """Google, as a scheduler sees it."""

    @property
    def projects(self) -> Sequence[Project]:
        """The projects, by the numbers of their keys."""

    def now(self) -> float:
        """Return the moment."""

    async def call(self, key: int, request: Request) -> Refusal | None:
        """Make a call; None when it was served."""

    def call_now(self, key: int, request: Request) -> Refusal | None:
        """Make a call that takes no time."""


class Scheduler(Protocol):
    """Serves requests. Returns whether one was served, and else when its client is told to come back."""

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request, or do not."""


class Bound:
    """Knows everything, and calls at once: the best that can be done without knowing the future.

    A prompt goes where it fits with the least to spare; a request goes where the most is left.
    """

    def __init__(self, upstream: Upstream, max_wait: float) -> None:
        self._upstream = upstream
        self._max_wait = max_wait
        self._waiting: list[tuple[Request, asyncio.Future[bool]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request as soon as there is room."""
        if self._wait(request) == math.inf:
            return False, None
        if (not self._waiting or request.tokens) and self._call(request):
            return True, None
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        place = request, turn
        self._waiting.append(place)
        if self._timer is None:
            self._wake()
        await asyncio.wait((turn,), timeout=self._max_wait)
        if turn.done():
            return True, None
        self._waiting.remove(place)
        return False, None

    def _call(self, request: Request) -> bool:
        upstream, now = self._upstream, self._upstream.now()
        free = [
            number
            for number in self._fit(request)
            if upstream.projects[number].wait(now, request.tokens) <= 0
        ]
        if not free:
            return False
        lefts = {number: upstream.projects[number].left(now) for number in free}
        best = (min if request.tokens else max)(free, key=lefts.__getitem__)
        return upstream.call_now(best, request) is None

    def _fit(self, request: Request) -> Sequence[int]:
        return range(len(self._upstream.projects)) if request.owner is None else (request.owner,)

    def _wait(self, request: Request) -> float:
        now = self._upstream.now()
        return min(self._upstream.projects[number].wait(now, request.tokens) for number in self._fit(request))

    def _wake(self) -> None:
        self._timer = None
        for place in self._waiting[:]:
            if self._call(place[0]):
                self._waiting.remove(place)
                place[1].set_result(True)
            elif not place[0].tokens and place[0].owner is None:
                break
        if self._waiting:
            alike = {(request.tokens, request.owner): request for request, _ in self._waiting}
            wait = min(map(self._wait, alike.values()))
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SOON), self._wake)


class Peer:
    """A program of the usual kind: another key after a refusal, and so many tries."""

    def __init__(self, upstream: Upstream, tries: int) -> None:
        self.upstream, self._tries = upstream, tries

    async def serve(self, request: Request) -> tuple[bool, float | None]:
        """Serve a request, without waiting."""
        tried: set[int] = set()
        for _ in range(self._tries):
            key = self.choose(tried) if request.owner is None else request.owner
            if key is None:
                break
            refusal = await self.upstream.call(key, request)
            if refusal is None:
                return True, None
            tried.add(key)
            if refusal is not overloaded:
                self.refused(key)
        return False, None

    def choose(self, tried: set[int]) -> int | None:
        """Return the key for the next try; None if there is none."""

    def refused(self, key: int) -> None:
        """Take note of a refusal by a quota."""


class PlainRandom(Peer):
    """Any other key."""

    def __init__(self, upstream: Upstream, source: random.Random, tries: int = TRIES) -> None:
        super().__init__(upstream, tries)
        self._source = source

    def choose(self, tried: set[int]) -> int | None:
        """Return a random one."""
        others = [key for key in range(len(self.upstream.projects)) if key not in tried]
        return self._source.choice(others) if others else None


class RoundRobin(Peer):
    """One key after the other."""

    def __init__(self, upstream: Upstream, tries: int = TRIES) -> None:
        super().__init__(upstream, tries)
        self._turns = cycle(range(len(upstream.projects)))

    def choose(self, tried: set[int]) -> int | None:  # noqa: ARG002 - it is another one in any case
        """Return the next one."""
        return next(self._turns)


class FixedBench(Peer):
    """Any key that was not refused in the last minute."""

    def __init__(self, upstream: Upstream, source: random.Random, tries: int = TRIES) -> None:
        super().__init__(upstream, tries)
        self._source = source
        self._until = [-math.inf] * len(upstream.projects)

    def refused(self, key: int) -> None:
        """Leave it alone for a minute."""
        self._until[key] = self.upstream.now() + _BENCHED

    def choose(self, tried: set[int]) -> int | None:  # noqa: ARG002 - they are benched
        """Return a random one."""
        now = self.upstream.now()
        ready = [key for key, until in enumerate(self._until) if until <= now]
        return self._source.choice(ready) if ready else None
