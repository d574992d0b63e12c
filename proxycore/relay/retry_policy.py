"""The retry policy of one request: which responses lead to another attempt, and after what pause. Pure."""

import random
from collections.abc import Set
from dataclasses import dataclass

from proxycore.gemini.verdict import BenchScope, Reaction, Verdict
from proxycore.rotation.case import About, Case
from proxycore.rotation.key import Key

FEW = 3
"""Attempts that a request has in any case after server errors, and at most when its prompt is too large."""

SHORTEST_PAUSE = 0.05
"""Seconds before an attempt after a server error, at least."""

_LONGEST_FIRST_PAUSE = 0.25  # seconds; both limits double with every server error
_LONGEST_PAUSE = 2.0
_MOST_TIMEOUTS = 2  # of the upstream's own deadline: each is a long wait


@dataclass(frozen=True, slots=True)
class Respond:
    """No other attempt would help: the last response is for the client."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The request has had all its attempts."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Another attempt, after a pause in seconds; the pause is 0 unless the upstream failed."""

    pause: float = 0.0


NextStep = Respond | GiveUp | Proceed
"""What follows a response that was not relayed."""


@dataclass(slots=True)
class RetryPolicy:
    """The attempts of one request. `max_attempts` 0 sets no limit beyond those of the verdicts.

    `used` are the keys that were tried, `refused` those that need not be tried again with this request.
    `server_errors` counts server errors.
    """

    max_attempts: int
    repeatable: bool
    attempts: int = 0
    server_errors: int = 0
    # Frozen: nearly all requests need none of them, and share the empty one.
    used: frozenset[Key] = frozenset()
    refused: frozenset[Key] = frozenset()
    _dead: frozenset[Key] = frozenset()
    _pardoned: frozenset[Key] = frozenset()
    _timeouts: int = 0
    _too_large: int = 0

    @property
    def spent(self) -> bool:
        """Whether the request has had all the attempts that it may cost."""
        return 0 < self.max_attempts <= self.attempts

    def pardon(self, keys: Set[Key]) -> bool:
        """Allow these keys to be tried again, once each; return whether any of them is new."""
        fresh = keys - self._pardoned
        if not fresh:
            return False
        self.refused -= fresh
        self.used -= fresh
        self._pardoned |= fresh
        return True

    def refuse(self, keys: Set[Key]) -> None:
        """Do not try these keys with this request any more."""
        self.used |= keys
        self.refused |= keys

    def note(self, key: Key, verdict: Verdict, case: Case, *, sent: bool = True) -> bool:
        """Count an attempt, and return whether another one could succeed.

        `sent` is False when nothing of the request reached the upstream.
        """
        self.attempts += 1
        self.used |= {key}
        match verdict.then:
            case Reaction.RELAY:
                return False
            case Reaction.RETRY:
                self.server_errors += 1
                self._timeouts += verdict.deadline
                return (self.repeatable or not sent) and self._timeouts < _MOST_TIMEOUTS
            case Reaction.FAILOVER:
                if verdict.rest is BenchScope.RETIRED:
                    if key in self._dead:
                        self.refused |= {key}  # a second time
                    self._dead |= {key}
                return True
            case Reaction.TOKENS:
                self._too_large += 1
        self.refused |= {key}
        return self._too_large < FEW and case.about is not About.REQUEST


def settle(
    policy: RetryPolicy, verdict: Verdict, *, useful: bool, window: float, source: random.Random
) -> NextStep:
    """Decide what follows a response with this verdict, which the policy has noted.

    `useful` is whether another attempt could succeed (`RetryPolicy.note`). `window` are the seconds that may
    still pass with server errors; `source` draws the pause after one.
    """
    if not useful:
        return Respond()
    if policy.spent:
        return GiveUp()
    if verdict.then is not Reaction.RETRY:
        return Proceed()
    factor, longest = 2 ** (policy.server_errors - 1), max(window, SHORTEST_PAUSE)
    pause = source.uniform(
        min(SHORTEST_PAUSE * factor, _LONGEST_PAUSE), min(_LONGEST_FIRST_PAUSE * factor, _LONGEST_PAUSE)
    )
    if policy.server_errors < FEW:
        return Proceed(min(pause, longest))
    return Proceed(pause) if pause <= longest else Respond()
