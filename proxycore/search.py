"""A search for a key that serves, and the outage that it turns into when none does. Pure.

When many projects are refused alike and none serves, requests are held back and one call at a time tries,
with the project that was tried least. Pauses between the tries grow from 50 ms to a second; in a large pool
they are shorter, so that every project of which nothing is known is tried while a request may wait. When all
were tried in vain, by several requests, that is an outage: no key's fault. The first call that is served ends
it. So does one that is open for much longer than refusals take: others need not wait for a long answer.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxycore.bench import NO_MODEL
from proxycore.clock import Clock
from proxycore.key import Key, Project

_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.05, 4.0, 1.0
_SHARE = 0.75  # of the time that a request may wait, in which all projects are to be tried
_MANY_WITNESSES = 3
_FEW = 5  # of those that were not tried: so many of the first pauses are short
_OPEN_LONG = 0.3  # seconds that a try has, at least, before it counts as open for long
_LONGER = 3.0  # times as long as refusals take
_OTHERS_FIRST = 0.03  # seconds that the process which began a search is ahead of the others
_ABANDONED = 60.0  # seconds without a try, after which nobody needs the search


@dataclass(eq=False, slots=True)
class Search:
    """One that is under way: for which lane (None: for all), why, since when.

    `tried` counts the tries of each project; of each key, if it is about all lanes. `next_try` is when the
    next may begin. `open_until` is when the try that is under way, with the key `trying`, counts as open for
    long; None if none is. `outage` is whether all were tried in vain, `mine` whether this process began the
    search.
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
    witnesses: int = 0  # keys that refused, and had served shortly before
    slowest: float = 0.0  # seconds that a refusal took
    outage: bool = False
    mine: bool = True

    def __repr__(self) -> str:
        what = "outage" if self.outage else "search"
        return f"<{what} for {self.lane or 'all'}: {len(self.tried)} projects refused ({self.reason})>"

    @property
    def thought(self) -> str:
        """What is thought to be happening, for people."""
        where = f" for {self.lane or NO_MODEL}" if self.lane is not None else ""
        return (
            f"upstream outage suspected{where}: all projects were refused alike ({self.reason}), none was"
            " served; no key is benched for it, and one request at a time is tried"
        )

    def to_json(self, names: Mapping[Key, str]) -> tuple[list[Any], list[float]]:
        """What to write down, with these names for the keys, and its moments apart."""
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
        """The search that was written down, with keys by these names; the `known` one, brought up to that.

        Raises ValueError when it is none.
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
        """What there is to know, as JSON has it, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.lane == "" else self.lane,
            "since": clock.to_wall(self.since),
            "next_trial": clock.to_wall(self.due(self.lane)),
            "thought": self.thought,
        }

    def due(self, lane: str | None) -> float:
        """When the next try with a request of this lane may begin, or it is known that none is needed."""
        if self.open_until is not None:
            return self.open_until
        # Requests with a tool may be refused for that, so they are tried when no plain one waits.
        others = (not self.mine) + (self.lane is not None and lane != self.lane)
        return self.next_try + _OTHERS_FIRST * others

    def is_due(self, lane: str | None, now: float) -> bool:
        """Whether the next try with a request of this lane may begin."""
        return self.open_until is None and now >= self.due(lane)

    def is_over(self, now: float) -> bool:
        """Whether the try under way is open for long, or nobody has needed the search for a while."""
        if self.open_until is not None:
            return now >= self.open_until
        return now >= self.next_try + _ABANDONED

    def begin_try(self, key: Key, now: float) -> None:
        """A try begins, with this key."""
        self.trying, self.open_until = key, now + max(_OPEN_LONG, _LONGER * self.slowest)

    def begin(self, unknown: int, patience: float) -> None:
        """It begins. Of so many projects nothing is known; a request may wait for `patience` seconds."""
        if unknown > _FEW:
            self.longest = min(self.longest, _SHARE * patience / (unknown - _FEW))
        self.end_try(self.since)

    def end_try(self, now: float, *, alike: bool = True) -> None:
        """The try has failed; unless it was refused as others were, the next one follows at once."""
        self.next_try = now
        if alike:
            self.next_try += min(self.pause, self.longest)
            self.pause = min(_GROWTH * self.pause, _LONGEST_PAUSE)
        self.trying = self.open_until = None

    def doubt(self, key: Key, now: float) -> None:
        """A key seems to serve, since it did before the search began: it is tried next, at once."""
        self.outage = False
        self.pause, self.next_try = _FIRST_PAUSE, now
        self.tried[self._unit(key)] = -1

    def refuse(self, key: Key, request: str, seconds: float, *, witness: bool) -> None:
        """A key refused a request as others did, after so many seconds; a `witness` had served lately."""
        self.note(key)
        self.witnesses += witness
        if self.witnesses >= _MANY_WITNESSES:
            self.pause = self.longest = _LONGEST_PAUSE  # it is hardly a matter of finding the right key
        self.slowest = max(self.slowest, seconds)
        if len(self.requests) < 2:  # whether there are several is all that matters
            self.requests.add(request)

    def note(self, key: Key) -> None:
        """A key was tried, and did not serve."""
        self.tried[self._unit(key)] = max(self.tries(key), 0) + 1

    def tries(self, key: Key) -> int:
        """How often a key was tried; less than 0 if it is to be the next."""
        return self.tried.get(self._unit(key), 0)

    def _unit(self, key: Key) -> Key | Project:
        # Dead are keys, while quotas are a project's.
        return key if self.lane is None else key.project

    def become_outage(self) -> None:
        """All were tried in vain."""
        self.outage = True
        self.tried.clear()
        self.pause = self.longest = _LONGEST_PAUSE

    def least_tried(self, keys: Iterable[Key]) -> Key | None:
        """Of these keys the first that was tried least; None when there are none."""
        return min(keys, key=self.tries, default=None)
