"""Updates: what processes tell each other. One fact each, when it was found and for how long it holds. Pure.

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
    expect           model, id        True: a client was told to come    when
                                      back; None: it came, or did not

A key is identified by its fingerprint, since its name may be given to another key one day. An update replaces
an older one with the same kind, key and about.

All times are moments of the clock that the processes of a host share, in seconds. Other hosts have another
clock, so that an update is `moved` when it is sent there: its moments have a field of their own for that.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

_NEVER = 1e15  # seconds; also keeps out what is no number, and integers that no float can hold


def fingerprint(secret: str, salt: bytes = b"") -> str:
    """What identifies a key among the processes that have it as well, and does not disclose it."""
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()[:24]


def parse_json(line: bytes) -> Any:  # noqa: ANN401 - JSON
    """The JSON document in a line; raises ValueError when there is none in it."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@dataclass(frozen=True, slots=True)
class Update:
    """One fact. `stamp` is when it was found and `until` when it may be forgotten, both moments in seconds.

    `value` is anything that JSON has; None means that the fact no longer holds. `moments` are its times.
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
        """What it is about: the newest update of a topic holds."""
        # A resource has one owner, whichever key an update names.
        return (self.kind, "" if self.kind == "owner" else self.key, self.about)

    def moved(self, seconds: float) -> "Update":
        """The same for a clock that is ahead of this one by so many seconds."""
        return replace(
            self,
            stamp=self.stamp + seconds,
            until=self.until + seconds,
            moments=tuple(moment + seconds for moment in self.moments),
        )

    def encode(self) -> bytes:
        """One line of JSON, without its end."""
        fields = [self.kind, self.key, self.about, self.value, [self.stamp, self.until, *self.moments]]
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, line: bytes) -> "Update":
        """The update in a line; raises ValueError when there is none in it."""
        match parse_json(line):
            case [str(kind), str(key), str(about), value, [_, _, *_] as times]:
                stamp, until, *moments = map(_moment, times)
                return cls(kind, key, about, value, stamp, until, tuple(moments))
        raise ValueError("not an update")


def decode_all(lines: Iterable[bytes]) -> list[Update]:
    """The updates in lines; lines without one are skipped."""
    updates = []
    for line in lines:
        try:
            updates.append(Update.decode(line))
        except ValueError:  # another version of this program, perhaps
            continue
    return updates


def _moment(value: object) -> float:
    if isinstance(value, int | float) and abs(value) < _NEVER:
        return float(value)
    raise ValueError("not a moment")
