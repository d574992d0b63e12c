"""What processes tell each other: one fact, for how long it holds, and when it was found. Pure.

    kind      key       about             value
    model     its name  the model         a bench: reason, until, strikes; None: cleared
    whole     its name                    the same, for all models
    retired   its name                    the same, until its next trial
    quota     its name  model and quota   what was learned of it
    call      its name  model and id      when a call was sent, or will be; None: it was not
    project   its name                    the Google project that it belongs to
    owner     its name  the resource      nothing: the key owns it
    outage                                what is thought to be happening; None: it is over

A notice replaces an older one with the same kind, key and about.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Notice:
    """One fact. `stamp` is when it was found and `until` when it may be forgotten, seconds since the epoch.

    `value` is anything that JSON can say; None says that the fact no longer holds.
    """

    kind: str
    key: str
    about: str
    value: Any
    stamp: float
    until: float

    @property
    def topic(self) -> tuple[str, str, str]:
        """What it is about: the newest notice of a topic holds."""
        # Whose a resource is has one answer, whoever gives it.
        return (self.kind, "" if self.kind == "owner" else self.key, self.about)

    def encode(self) -> bytes:
        """One line of JSON, without its end."""
        return json.dumps(
            [self.kind, self.key, self.about, self.value, self.stamp, self.until], separators=(",", ":")
        ).encode()

    @classmethod
    def decode(cls, line: bytes) -> "Notice":
        """The notice in a line; raises ValueError when there is none in it."""
        try:
            content = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        match content:
            case [str(kind), str(key), str(about), value, int() | float() as stamp, int() | float() as until]:
                return cls(kind, key, about, value, float(stamp), float(until))
        raise ValueError("not a notice")
