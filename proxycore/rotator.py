"""The keys and their health: random choice among those that are ready, benches, retirement.

A key's story. It is *ready* until an answer says otherwise. A refusal *benches* it until a moment, for a
reason, either for one model (a quota) or as a whole (a permission). When that moment has passed it is
ready again, with nothing to reset; if it is refused again, that is one more *strike*, and where answers
give no time the bench doubles with every strike in a row. A success clears the strikes. A key that is
dead is *retired*: it is tried once a day, by one request, and comes back if that one succeeds.

Pure: the clock (seconds since the epoch) and the random source come in.
"""

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from proxycore.verdict import Backoff, Rest, Verdict

SHORTEST = 1.0
"""Seconds: no bench is shorter, whatever an answer says (`retryDelay` can be `0s`)."""

RETRIAL = 86400.0
"""Seconds after which a retired key is tried once more."""

_JITTER_SHARE, _JITTER_MAX = 0.05, 1.0
_DRAWS = 8


@dataclass(frozen=True, slots=True)
class Doubling:
    """A rest that doubles with every strike in a row, from `first` up to `longest` seconds."""

    first: float
    longest: float

    def seconds(self, strikes: int) -> float:
        """The rest after this many strikes in a row."""
        return min(self.longest, self.first * 2.0 ** min(strikes - 1, 60))


@dataclass(slots=True)
class Bench:
    """A rest: until `benched_until` (seconds since the epoch), for a reason, with strikes in a row."""

    reason: str
    benched_until: float
    strikes: int = 1


@dataclass(eq=False, slots=True)
class Key:
    """One upstream key: its public name, the secret itself, and its health."""

    name: str
    secret: str = field(repr=False)
    whole: Bench | None = None
    models: dict[str, Bench] = field(default_factory=dict)
    retired: Bench | None = None

    def ready_at(self, model: str) -> float:
        """When this key may be used for the model, in seconds since the epoch; the past means now."""
        if not (self.retired or self.whole or self.models):
            return 0.0
        benches = (self.retired, self.whole, self.models.get(model))
        return max((bench.benched_until for bench in benches if bench), default=0.0)


class Rotator:
    """Chooses keys and remembers what answers said about them."""

    def __init__(
        self,
        keys: Iterable[Key],
        doublings: dict[Backoff, Doubling],
        *,
        clock: Callable[[], float],
        source: random.Random,
    ) -> None:
        self.keys = tuple(keys)
        self._doublings = doublings
        self._clock = clock
        self._random = source

    def __repr__(self) -> str:
        now = self._clock()
        retired = sum(key.retired is not None for key in self.keys)
        resting = sum(
            key.retired is None and key.whole is not None and key.whole.benched_until > now
            for key in self.keys
        )
        return f"<Rotator {len(self.keys)} keys, {resting} benched, {retired} retired>"

    def pick(self, model: str, avoid: Collection[Key] = ()) -> Key | None:
        """A random key that is ready for the model and not among `avoid`; None when there is none.

        A retired key whose day has passed may be picked, and then not again for a day: one request
        finds out whether it lives.
        """
        now = self._clock()

        def ready(key: Key) -> bool:
            return key.ready_at(model) <= now and key not in avoid

        # Most keys are ready most of the time: a few draws find one without a look at all of hundreds.
        draws = (self._random.choice(self.keys) for _ in range(_DRAWS if self.keys else 0))
        key = next(filter(ready, draws), None)
        if key is None:
            left = list(filter(ready, self.keys))
            if not left:
                return None
            key = self._random.choice(left)
        if key.retired:
            key.retired.benched_until = now + RETRIAL
        return key

    def ready_at(self, model: str, avoid: Collection[Key] = ()) -> float | None:
        """When the first key that is not retired is ready for the model; None when there is none."""
        return min(
            (key.ready_at(model) for key in self.keys if not key.retired and key not in avoid), default=None
        )

    @property
    def usable(self) -> bool:
        """Whether at least one key can be used, for some model at least."""
        now = self._clock()
        return any(not key.retired and (not key.whole or key.whole.benched_until <= now) for key in self.keys)

    @property
    def dead(self) -> bool:
        """Whether there is no key that could ever serve: none at all, or all retired."""
        return all(key.retired for key in self.keys)

    def apply(self, key: Key, model: str, verdict: Verdict) -> Bench | None:
        """Puts a verdict into effect; returns the bench or retirement when it is a new one."""
        if verdict.healthy:
            self._clear(key, model)
            return None
        if verdict.rest is Rest.MODEL:
            self._forget_old(key)
            fresh = self._rest(key.models.get(model), verdict)
            key.models[model] = fresh or key.models[model]
        elif verdict.rest is Rest.KEY:
            fresh = self._rest(key.whole, verdict)
            key.whole = fresh or key.whole
        elif verdict.rest is Rest.RETIRED:
            fresh = None if key.retired else Bench(verdict.reason, self._clock() + RETRIAL)
            key.retired = key.retired or fresh
        else:
            return None
        return fresh

    def _clear(self, key: Key, model: str) -> None:
        # An answer to a call that was sent before the bench began says nothing about now, so a bench
        # that still runs is kept. A retirement is not: it was for good, and a success proves it wrong.
        now = self._clock()
        key.retired = None
        if key.whole and key.whole.benched_until <= now:
            key.whole = None
        if (bench := key.models.get(model)) and bench.benched_until <= now:
            del key.models[model]

    def _rest(self, current: Bench | None, verdict: Verdict) -> Bench | None:
        now = self._clock()
        doubling = self._doublings[verdict.backoff]
        running = current is not None and current.benched_until > now
        strikes = current.strikes if current else 0
        if not running:
            # Calls that were under way together are refused together: that is one strike, not twenty.
            strikes += 1
        seconds = doubling.seconds(strikes) if verdict.seconds is None else verdict.seconds
        seconds = max(seconds, SHORTEST)
        until = now + seconds + self._random.uniform(0.0, min(_JITTER_SHARE * seconds, _JITTER_MAX))
        if running and current is not None:
            if until > current.benched_until and verdict.seconds is not None:
                current.benched_until, current.reason = until, verdict.reason
            return None
        return Bench(verdict.reason, until, strikes)

    def _forget_old(self, key: Key) -> None:
        # Strikes are worth remembering for as long as the longest doubling; after that the model's
        # entry is only memory that invented model names could fill.
        horizon = self._clock() - self._doublings[Backoff.QUOTA].longest
        for model in [model for model, bench in key.models.items() if bench.benched_until < horizon]:
            del key.models[model]
