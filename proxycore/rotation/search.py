"""A search for a key that serves, which becomes an outage if none does. Pure.

When many projects refuse alike and none serves, requests are held back and one call at a time is tried, with
the project that was tried least. Pauses between the tries grow from 50 ms to a second; in a large pool they
are shorter, so that every project that is not known to serve is tried while a request may wait. When all have
refused several requests, that is an outage, which is no key's fault. The first call that is served ends the
search. So does one that is open for much longer than refusals take: others need not wait for a long response.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxycore.clock import Clock
from proxycore.rotation.bench import NO_MODEL
from proxycore.rotation.key import Key, Project

_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.05, 4.0, 1.0
_SHARE = 0.75  # of the time that a request may wait, in which all projects are to be tried
_MANY_WITNESSES = 3  # refusals by witnesses after which every pause is the longest
_FEW = 5  # projects that were not tried: so many of the first pauses are short
_OPEN_LONG = 0.3  # seconds that a try has, at least, before it counts as open for long
_LONGER = 3.0  # times as long as refusals take
_OTHERS_FIRST = 0.03  # seconds that the process which began a search is ahead of the others
_ABANDONED = 60.0  # seconds without a try, after which the search ends


@dataclass(eq=False, slots=True)
class Search:
    """A search that is under way: for which lane (None: for all), for which reason, since when.

    `tried` counts the tries of each project; of each key, if it is about all lanes. `next_try` is when the
    next may begin. `open_until` is when the try that is under way, with the key `trying`, counts as open for
    long; None if none is. `outage` is whether all have refused, `cause` the id of the request that showed
    that to this process, and `mine` whether this process began the search.
    """

    lane: str | None
    reason: str
    since: float
    next_try: float
    pause: float = _FIRST_PAUSE
    longest: float = _LONGEST_PAUSE
    tried: dict[Key | Project, int] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)
    open_until: float | None = None
    trying: Key | None = None
    witnesses: int = 0  # refusals by witnesses (see `attribution`)
    slowest: float = 0.0  # seconds that a refusal took
    outage: bool = False
    cause: str = ""
    mine: bool = True

    def __repr__(self) -> str:
        what = "outage" if self.outage else "search"
        return f"<{what} for {self.lane or 'all'}: {len(self.tried)} projects refused ({self.reason})>"

    @property
    def thought(self) -> str:
        """The sentence that explains it on the status page and in the log."""
        where = f" for {self.lane or NO_MODEL}" if self.lane is not None else ""
        return (
            f"upstream outage suspected{where}: all projects refused alike ({self.reason}), none served;"
            " no key is benched, probing with one request at a time"
        )

    def to_json(self, names: Mapping[Key, str]) -> tuple[list[Any], list[float]]:
        """Return what peers are sent: a JSON value with these names for the keys, and the moments."""
        tried = {name: tries for key, name in names.items() if (tries := self.tries(key))}
        moments = [self.since, self.next_try, *([] if self.open_until is None else [self.open_until])]
        return [self.reason, self.pause, self.longest, self.outage, sorted(self.requests), tried], moments

    @classmethod
    def from_json(
        cls,
        lane: str | None,
        value: object,
        moments: Sequence[float],
        keys: Mapping[str, Key],
        known: "Search | None" = None,
    ) -> "Search":
        """Return the search that a peer sent, with keys by these names; the `known` one is updated.

        Raises ValueError when the value is none.
        """
        match value, list(moments):
            case (
                [
                    str(reason),
                    int() | float() as pause,
                    int() | float() as longest,
                    bool(outage),
                    list(requests),
                    dict(tried),
                ],
                [since, next_try, *open_until],
            ) if len(open_until) < 2:
                search = known or cls(lane, reason, since, next_try, mine=False)
                tries = {keys[name]: int(times) for name, times in tried.items() if name in keys}
                search.mine &= search.since <= since
                search.since, search.next_try = min(search.since, since), next_try
                search.pause, search.longest, search.outage = float(pause), float(longest), outage
                search.open_until = open_until[0] if open_until else None
                search.requests = set(map(str, requests))
                search.tried = {search._unit(key): times for key, times in tries.items()}
                return search
        raise ValueError("not a search")

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """Return it as JSON for the status page, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.lane == "" else self.lane,
            "since": clock.to_wall(self.since),
            "next_trial": clock.to_wall(self.due(self.lane)),
            "thought": self.thought,
        }

    def due(self, lane: str | None) -> float:
        """Return when the next try with a request of this lane may begin, if the search is not over then."""
        if self.open_until is not None:
            return self.open_until
        # Requests with a tool may be refused for that, so they are tried when no plain one waits.
        others = (not self.mine) + (self.lane is not None and lane != self.lane)
        return self.next_try + _OTHERS_FIRST * others

    def is_due(self, lane: str | None, now: float) -> bool:
        """Return whether the next try with a request of this lane may begin."""
        return self.open_until is None and now >= self.due(lane)

    def is_over(self, now: float) -> bool:
        """Return whether the open try counts as served, or there was no try for a while."""
        if self.open_until is not None:
            return now >= self.open_until
        return now >= self.next_try + _ABANDONED

    def begin_try(self, key: Key, now: float) -> None:
        """Begin a try with this key."""
        self.trying, self.open_until = key, now + max(_OPEN_LONG, _LONGER * self.slowest)

    def begin(self, unknown: int, patience: float) -> None:
        """Begin; `unknown` projects are not known to serve, and a request may wait `patience` seconds."""
        if unknown > _FEW:
            self.longest = min(self.longest, _SHARE * patience / (unknown - _FEW))
        self.end_try(self.since)

    def end_try(self, now: float, *, alike: bool = True) -> None:
        """End a try that failed: the next follows after a pause if it was refused `alike`, else at once."""
        self.next_try = now
        if alike:
            self.next_try += min(self.pause, self.longest)
            self.pause = min(_GROWTH * self.pause, _LONGEST_PAUSE)
        self.trying = self.open_until = None

    def doubt(self, key: Key, now: float) -> None:
        """Try this key next, at once: it has served, or did before the search began."""
        self.outage = False
        self.pause, self.next_try = _FIRST_PAUSE, now
        self.tried[self._unit(key)] = -1

    def refuse(self, key: Key, request: str, seconds: float, *, witness: bool) -> None:
        """Count a refusal that took `seconds`; `witness` is whether it is by one (see `attribution`)."""
        self.count_try(key)
        self.witnesses += witness
        if self.witnesses >= _MANY_WITNESSES:
            self.pause = self.longest = _LONGEST_PAUSE  # to find another key would hardly help
        self.slowest = max(self.slowest, seconds)
        if len(self.requests) < 2:  # whether there are several is all that matters
            self.requests.add(request)

    def count_try(self, key: Key) -> None:
        """Count a try of this key that was not served."""
        self.tried[self._unit(key)] = max(self.tries(key), 0) + 1

    def tries(self, key: Key) -> int:
        """Return how often a key was tried; -1 if it is to be tried next."""
        return self.tried.get(self._unit(key), 0)

    def _unit(self, key: Key) -> Key | Project:
        # Each key may be invalid by itself, while quotas are a project's.
        return key if self.lane is None else key.project

    def become_outage(self, request: str = "") -> None:
        """Become an outage, since all projects have refused: tries start again, with the longest pause.

        `request` is the id of the request that was the last to be refused.
        """
        self.outage, self.cause = True, request
        self.tried.clear()
        self.pause = self.longest = _LONGEST_PAUSE

    def least_tried(self, keys: Iterable[Key]) -> Key | None:
        """Return the first of these keys that was tried least; None when there are none."""
        return min(keys, key=self.tries, default=None)
