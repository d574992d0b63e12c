"""What processes tell each other: one fact, for how long it holds, and when it was found. Pure.

    kind      key    about             value
    model     which  the model         a bench: reason, until, strikes; None: cleared
    whole     which                    the same, for all models
    retired   which                    the same, until its next trial
    quota     which  the model         what was learned of its quotas
    call      which  model, who, when  when a call was sent, or will be; None: it was not
    project   which                    the Google project that it belongs to
    owner     which  the resource      nothing: the key owns it
    outage           the model or *    what is thought to be happening; None: it is over
    expect           model, when       someone was told to come back; None: came, or did not

A key is called by its fingerprint, since its name may be given to another one day. A notice replaces an
older one with the same kind, key and about.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any


def fingerprint(secret: str, salt: bytes = b"") -> str:
    """What a key is called among those who have it as well."""
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()[:24]


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
