"""Updates: the facts that processes publish to each other, and how they are written. Pure.

Each has one fact, when it was found, and for how long it holds.

    kind      key    about            value                              moments
    model     which  the lane         a bench: reason, strikes, whether  until, and one of Google's day if
                                      suspected; None: cleared           it ends with that
    caller    which  the lane         the same, for this key alone       the same
    origin    which  the origin       the same                           the same
    whole     which                   the same, for all models           the same
    retired   which                   the same, until its next trial     the same
    quota     which  the model        what was learned of its quotas     the same, of the day that is counted
    call      which  model, who, id   tokens of the prompt; None: it     when it was sent, or will be
                                      was not sent
    project   which                   the Google project of the key
    owner     which  the resource     True: the key owns it
    outage    way    the lane or *    the reason; None: it is over       since when
    conversation which the name, a hash   True: the key served it last       until when that is remembered
    search           the lane or *    reason, pause, whether it is an    since when, the next try, and when a
                                      outage, ids of requests, tries     try counts as open for long
                                      of each key; None: it is over
    expect           model, id        the client that was asked to       when
                                      retry; None: it has, or has not
    alert            kind, subject    kind, subject and text             when it was found
    told             kind             who tells such alerts              when
    limit            the host, the    what it has used of its limits:    when that was
                     client           topics with their counts

A key is identified by its fingerprint, since its name may be given to another key one day; so is a way by its
outbound proxy's, which is empty without one. An update replaces an older one with the same kind, key and
about. Kinds of another version of this program are passed on.

All times are moments of the clock that the processes of a host share, in seconds. Other hosts have another
clock, so that an update is `moved` when it is sent there: its moments have a field of their own for that.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

_NEVER = 1e15  # seconds; also keeps out what is no number, and integers that no float can hold


def fingerprint(secret: str, salt: bytes = b"") -> str:
    """Return what identifies a key among the processes that have it as well, without disclosing it."""
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()[:24]


def proxy_fingerprint(proxy: str | None) -> str:
    """Return what identifies an outbound proxy among the processes that use it; empty for none.

    Its password is not part of that, since it may be easy to guess.
    """
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    return fingerprint(f"{parts.scheme}://{parts.username or ''}@{parts.hostname}:{parts.port}")


def parse_json(line: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON document in a line. Raises ValueError when it has none."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class UpdateKind(StrEnum):
    """What an update is about. Those of benches are named like their places, see `BenchPlace`."""

    MODEL = "model"
    CALLER = "caller"
    ORIGIN = "origin"
    WHOLE = "whole"
    RETIRED = "retired"
    QUOTA = "quota"
    CALL = "call"
    PROJECT = "project"
    OWNER = "owner"
    CONVERSATION = "conversation"
    OUTAGE = "outage"
    SEARCH = "search"
    EXPECT = "expect"
    ALERT = "alert"
    TOLD = "told"
    LIMIT = "limit"


_KINDS: dict[str, UpdateKind] = {kind.value: kind for kind in UpdateKind}


@dataclass(frozen=True, slots=True)
class Update:
    """One fact. `stamp` is when it was found and `until` when it may be forgotten, both moments in seconds.

    `value` is anything that JSON has; None means that the fact no longer holds. `moments` are its times.
    `kind` is a plain string if this version of the program does not know it.
    """

    kind: UpdateKind | str
    key: str
    about: str
    value: Any
    stamp: float
    until: float
    moments: tuple[float, ...] = ()

    @property
    def topic(self) -> tuple[str, str, str]:
        """Its subject: of the updates of a topic, the newest one holds."""
        # A resource has one owner, and a conversation one last key, whichever key an update names.
        is_about_one = self.kind in {UpdateKind.OWNER, UpdateKind.CONVERSATION}
        return (self.kind, "" if is_about_one else self.key, self.about)

    def moved(self, seconds: float) -> "Update":
        """Return the same for a clock that is ahead of this one by so many seconds."""
        return replace(
            self,
            stamp=self.stamp + seconds,
            until=self.until + seconds,
            moments=tuple(moment + seconds for moment in self.moments),
        )

    def encode(self) -> bytes:
        """Return it as a line of JSON, without a newline."""
        fields = [self.kind, self.key, self.about, self.value, [self.stamp, self.until, *self.moments]]
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, line: bytes) -> "Update":
        """Return the update in a line. Raises ValueError when it has none."""
        match parse_json(line):
            case [str(kind), str(key), str(about), value, [_, _, *_] as times]:
                stamp, until, *moments = map(_moment, times)
                return cls(_KINDS.get(kind, kind), key, about, value, stamp, until, tuple(moments))
        raise ValueError("not an update")


def decode_all(lines: Iterable[bytes]) -> list[Update]:
    """Return the updates in lines; lines without one are skipped."""
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
