"""Failures that many keys have alike: the address, the region or Google itself, and no key's fault. Pure.

When several projects are refused for the same vague reason within moments, and none is served in between,
that says nothing about any of them. Then no bench is believed and the pool is not marched through: one
request at a time tries, until an answer of another kind says that it is over. While the upstream is in
trouble, or does not serve the region, nothing is held back, since no key rests for it; it is only known.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from proxycore.bench import NO_MODEL
from proxycore.clock import Clock
from proxycore.key import Project
from proxycore.verdict import FOREIGN, PLACE, SILENCE, TROUBLE, Rest, Then, Verdict

_FIRST_TRIAL = 1.0  # seconds after the beginning
TRIAL = 1.5
"""Seconds between two trials, at first."""

_TRIAL_SHARE, _LONGEST_TRIAL = 0.1, 60.0  # what has lasted long is looked at less often
_WITHIN = 5.0  # seconds
# Projects. A bare 429 is what addresses get; a 401 or 403 without a reason needs more to be doubted.
_MANY_REFUSED, _MANY_FORBIDDEN = 3, 5
_MANY_TROUBLES = 30  # in a row
_WATCHES = 64  # models whose failures are counted, or that have an outage
_SAY_NOTHING = (TROUBLE, SILENCE, FOREIGN)  # about whether an outage is over


@dataclass(slots=True)
class Outage:
    """One that is under way: why, for which model (None: for all), since when.

    `next_trial` is when a request may try next; None if none is held back.
    """

    reason: str
    model: str | None
    since: float
    next_trial: float | None = None
    failed: list[Project] = field(default_factory=list, repr=False)  # those that were refused alike

    @property
    def thought(self) -> str:
        """What is thought to be happening, for people."""
        what = f" for {self.model}" if self.model else ""
        if self.reason == PLACE.reason:
            return "Google does not serve the region of this server's address: set UPSTREAM_PROXY"
        if self.reason == TROUBLE.reason:
            return f"the upstream is in trouble{what}: until it is over, each request is tried once"
        return (
            f"many keys are refused alike{what} ({self.reason}): it is probably this server's address or"
            " Google itself, so no key is benched for it, and one request at a time tries"
        )

    def snapshot(self, clock: Clock) -> dict[str, Any]:
        """What there is to know, as JSON has it, times by the wall clock."""
        return {
            "reason": self.reason,
            "model": NO_MODEL if self.model == "" else self.model,
            "since": clock.to_wall(self.since),
            "next_trial": None if self.next_trial is None else clock.to_wall(self.next_trial),
            "thought": self.thought,
        }

    def covers(self, verdict: Verdict) -> bool:
        """Whether this verdict is more of the same."""
        return verdict.reason == self.reason

    def try_now(self, now: float) -> None:
        """A trial begins."""
        self.next_trial = now + min(max(TRIAL, _TRIAL_SHARE * (now - self.since)), _LONGEST_TRIAL)


@dataclass(slots=True)
class _Watch:
    """The failures of one kind that were not interrupted by a success."""

    reason: str
    failed: dict[Project, float] = field(default_factory=dict)
    count: int = 0


class Outages:
    """Those that are under way, and what may become one."""

    def __init__(self) -> None:
        self.current: dict[str | None, Outage] = {}
        self._watches: dict[str | None, _Watch] = {}

    def of(self, model: str) -> Outage | None:
        """The one that concerns a model."""
        return (self.current.get(None) or self.current.get(model)) if self.current else None

    def holding(self, model: str) -> Outage | None:
        """The same, if requests are held back for it."""
        outage = self.of(model)
        return outage if outage and outage.next_trial is not None else None

    def ended(self, model: str, verdict: Verdict, sent_at: float) -> list[Outage]:
        """An answer to a call that was sent at `sent_at`; returns those outages that it ends."""
        if verdict.healthy and self._watches:
            for breadth in (model, None):
                self._watches.pop(breadth, None)
        if not self.current:
            return []
        ended = [
            outage
            for outage in (self.current.get(model), self.current.get(None))
            if outage and verdict not in _SAY_NOTHING
            if not outage.covers(verdict) and sent_at >= outage.since
        ]
        if (excess := len(self.current) - _WATCHES) > 0:
            # The oldest, of models that nobody asks for any more, or that never existed.
            ended += islice((outage for outage in self.current.values() if outage.model), excess)
        for outage in ended:
            self.current.pop(outage.model, None)
        return ended

    def begun(self, project: Project, model: str, verdict: Verdict, now: float) -> Outage | None:
        """The outage that this failure makes, with those before it, if it is a new one."""
        breadth = None if verdict.rest in {Rest.KEY, Rest.RETIRED} or verdict is PLACE else model
        if breadth in self.current or not (verdict.vague or verdict in {TROUBLE, PLACE}):
            return None
        watch = self._watches.get(breadth)
        if watch is None or watch.reason != verdict.reason:
            if len(self._watches) > _WATCHES:
                self._watches.clear()  # of models that were asked for long ago, or never existed
            watch = self._watches[breadth] = _Watch(verdict.reason)
        watch.count += 1
        watch.failed = {one: at for one, at in watch.failed.items() if at > now - _WITHIN} | {project: now}
        if not _is_outage(verdict, watch):
            return None
        del self._watches[breadth]
        outage = self.current[breadth] = Outage(verdict.reason, breadth, now, None, list(watch.failed))
        if verdict.vague:
            outage.next_trial = now + _FIRST_TRIAL
        return outage

    def __iter__(self) -> Iterator[Outage]:
        return iter(self.current.values())


def _is_outage(verdict: Verdict, watch: _Watch) -> bool:
    if verdict is PLACE:
        return True
    if verdict is TROUBLE:
        return watch.count >= _MANY_TROUBLES
    return len(watch.failed) >= (_MANY_REFUSED if verdict.then is Then.ADDRESS else _MANY_FORBIDDEN)
