"""How far one request may go: which answers lead to another attempt, and how many. Pure."""

from collections.abc import Set
from dataclasses import dataclass, field

from proxycore.case import About, Case
from proxycore.key import Key
from proxycore.verdict import Rest, Then, Verdict

FEW = 3
"""Attempts that a request has in any case after server errors, and at most when its prompt is too large."""

_DEADLINES = 2  # that a request may run into: each is a long wait


@dataclass(slots=True)
class Failover:
    """The attempts of one request. `max_attempts` 0 sets no limit beyond those of the verdicts.

    `used` are the keys that were asked, `refused` those that need not be asked again about this request.
    """

    max_attempts: int
    repeatable: bool
    attempts: int = 0
    troubles: int = 0
    used: set[Key] = field(default_factory=set)
    refused: set[Key] = field(default_factory=set)
    _dead: set[Key] = field(default_factory=set)
    _pardoned: set[Key] = field(default_factory=set)
    _deadlines: int = 0
    _too_large: int = 0

    @property
    def spent(self) -> bool:
        """Whether the request has had all the attempts that it may cost."""
        return 0 < self.max_attempts <= self.attempts

    def pardon(self, keys: Set[Key]) -> bool:
        """These keys may be asked again, once; returns whether there is a new one."""
        fresh = keys - self._pardoned
        self.refused -= fresh
        self.used -= fresh
        self._pardoned |= fresh
        return bool(fresh)

    def note(self, key: Key, verdict: Verdict, case: Case, *, sent: bool = True) -> bool:
        """Counts an attempt and returns whether another would make sense.

        `sent` is False when nothing of the request reached the upstream.
        """
        self.attempts += 1
        self.used.add(key)
        match verdict.then:
            case Then.RELAY:
                return False
            case Then.RETRY:
                self.troubles += 1
                self._deadlines += verdict.deadline
                return (self.repeatable or not sent) and self._deadlines < _DEADLINES
            case Then.FAILOVER:
                if verdict.rest is Rest.RETIRED:
                    if key in self._dead:
                        self.refused.add(key)  # said twice
                    self._dead.add(key)
                return True
            case Then.TOKENS:
                self._too_large += 1
        self.refused.add(key)
        return self._too_large < FEW and case.about is not About.REQUEST
