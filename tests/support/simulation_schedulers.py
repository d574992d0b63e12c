"""Who chooses the keys in a simulation: programs of the usual kind."""

import math
import random
from collections.abc import Sequence
from itertools import cycle
from typing import Protocol

from tests.support.google_quotas import Project, Refusal, overloaded
from tests.support.prompt_cache import PromptCache
from tests.support.scenario import Request

TRIES = 3
_BENCHED = 60.0  # seconds, of the fixed bench


class Upstream(Protocol):
    """Google, as a scheduler sees it."""

    @property
    def projects(self) -> Sequence[Project]:
        """The projects, by the numbers of their keys."""

    @property
    def caches(self) -> Sequence[PromptCache]:
        """What they have cached."""

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
