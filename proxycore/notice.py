"""What processes tell each other: one fact, for how long it holds, and when it was found. Pure.

    kind      key    about            value                              moments
    model     which  the lane         a bench: reason, strikes, whether  until, and one of Google's day if
                                      suspected; None: cleared           it ends with that
    caller    which  the lane         the same, for this key alone       the same
    origin    which  the origin       the same                           the same
    whole     which                   the same, for all models           the same
    retired   which                   the same, until its next trial     the same
    quota     which  the model        what was learned of its quotas     the same, of the day that is counted
    call      which  model, who, id   True; None: it was not sent        when it was sent, or will be
    project   which                   the Google project of the key
    owner     which  the resource     True: the key owns it
    outage           the lane or *    the reason; None: it is over       since when
    search           the lane or *    reason, pause, whether it is an    since when, the next try, and when a
                                      outage, ids of requests, tries     try counts as open for long
                                      of each key; None: it is over
    expect           model, id        True: someone was told to come     when
                                      back; None: came, or did not

A key is called by its fingerprint, since its name may be given to another one day. A notice replaces an
older one with the same kind, key and about.

All times are moments of the clock that the processes of a host share. Other hosts have another, so a notice
is `moved` on its way there: that is why its moments are in a place of their own.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from typing import Any

_NEVER = 1e15  # seconds; also keeps out what is no number, and integers that no float can hold


def fingerprint(secret: str, salt: bytes = b"") -> str:
    """What a key is called among those who have it as well."""
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Notice:
    """One fact. `stamp` is when it was found and `until` when it may be forgotten.

    `value` is anything that JSON can say; None says that the fact no longer holds. `moments` are its times.
    """

    kind: str
    key: str
    about: str
    value: Any
    stamp: float
    until: float
    moments: tuple[float, ...] = ()

    @property
    def topic(self) -> tuple[str, str, str]:
        """What it is about: the newest notice of a topic holds."""
        # Whose a resource is has one answer, whoever gives it.
        return (self.kind, "" if self.kind == "owner" else self.key, self.about)

    def moved(self, seconds: float) -> "Notice":
        """The same for a clock that is ahead of this one by so many seconds."""
        return replace(
            self,
            stamp=self.stamp + seconds,
            until=self.until + seconds,
            moments=tuple(moment + seconds for moment in self.moments),
        )

    def encode(self) -> bytes:
        """One line of JSON, without its end."""
        told = [self.kind, self.key, self.about, self.value, [self.stamp, self.until, *self.moments]]
        return json.dumps(told, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, line: bytes) -> "Notice":
        """The notice in a line; raises ValueError when there is none in it."""
        try:
            content = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        match content:
            case [str(kind), str(key), str(about), value, [_, _, *_] as times]:
                stamp, until, *moments = map(_moment, times)
                return cls(kind, key, about, value, stamp, until, tuple(moments))
        raise ValueError("not a notice")


def _moment(told: object) -> float:
    if isinstance(told, int | float) and abs(told) < _NEVER:
        return float(told)
    raise ValueError("not a moment")
