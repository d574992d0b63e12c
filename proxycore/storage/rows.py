"""What the state file holds, and how it is asked for. Pure.

Times are seconds since the epoch by the wall clock, durations are seconds, sizes are bytes.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Protocol

from proxycore.http.access_record import RequestOutcome
from proxycore.stats.history import Slot


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that holds until it expires. Of the facts of a topic, the one with the latest stamp holds.

    `line` is the fact as its owner writes it; it is not looked into. A key in it is named by its fingerprint.
    """

    topic: str
    line: bytes
    stamp: float
    until: float


@dataclass(slots=True)
class AttemptRow:
    """One call to the upstream.

    `status` is 0 if there was no response. `verdict` is `served`, `abandoned`, or what the request did next
    (`relay`: the response went to the client); `why` is the reason for that, empty if it was served. `at` is
    when it began, in seconds after the request arrived.
    """

    key: str
    status: int
    verdict: str
    why: str
    seconds: float
    at: float = 0.0


SUMMED = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "thinking_tokens",
    "tool_tokens",
    "unread",
    "received_bytes",
    "sent_bytes",
)
"""The numbers of a request that are summed as they are, and the members of `UsageRow` with their sums."""

summed = attrgetter(*SUMMED)
"""Return these numbers of a `RequestRow`, in their order."""


@dataclass(slots=True)
class RequestRow:
    """One request that has ended: metadata only.

    `time` is when it arrived, `path` its path without the query, `key` the name of the key that it was last
    sent with. `first_byte` is None if no response was begun. `unread` is whether it had a response whose
    tokens could not be read. Token counts are 0 until they are known. `why` is the proxy's own reason, if it
    answered the request itself; `waited` is how many seconds the request waited for a key.
    """

    id: str
    time: float
    client: str
    address: str
    method: str
    path: str
    model: str
    key: str
    status: int
    outcome: RequestOutcome
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    tool_tokens: int = 0
    unread: bool = False
    received_bytes: int = 0
    sent_bytes: int = 0
    first_byte: float | None = None
    seconds: float = 0.0
    why: str = ""
    waited: float = 0.0
    attempts: tuple[AttemptRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are asked for: those that match in all that is not None.

    `key` matches any attempt. `since` is the earliest time of arrival.
    """

    id: str | None = None
    client: str | None = None
    key: str | None = None
    model: str | None = None
    outcome: RequestOutcome | None = None
    status: int | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests, the last to end first. `cursor` asks for those before them; None: there are none.

    A page may be shorter than was asked for, or empty, and still have a cursor: each looks only so far.
    """

    rows: list[RequestRow]
    cursor: int | None


class UsageBy(StrEnum):
    """What usage is told apart by. Hours and days are those of UTC."""

    HOUR = "hour"
    DAY = "day"
    CLIENT = "client"
    KEY = "key"
    MODEL = "model"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Usage of requests that arrived from `since` to before `until`, in whole hours, or in whole days.

    Whole days count if hours of both clients and keys would be needed, see `usage`.
    """

    since: float
    until: float
    by: frozenset[UsageBy] = field(default_factory=frozenset)


@dataclass(slots=True)
class UsageRow:
    """Sums over requests. Of what they are told apart by, what was not asked for is None.

    `time` is when the hour or day begins. `unread` is how many responses had tokens that could not be read.
    """

    time: float | None
    client: str | None
    key: str | None
    model: str | None
    outcome: RequestOutcome | None
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    thinking_tokens: int
    tool_tokens: int
    unread: int
    received_bytes: int
    sent_bytes: int
    seconds: float


SLOT = 600
"""Seconds of the slots by which the file has what became of requests."""


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """What became of requests that arrived from `since` to before `until`, by slots of `step` seconds.

    `step` is a multiple of `SLOT`; the other two are multiples of it.
    """

    since: int
    until: int
    step: int


@dataclass(frozen=True, slots=True)
class SlotRange:
    """The slots with requests, in order. `first` is when the first one of the file begins, if it has any."""

    first: int | None
    slots: list[Slot]


class EventKind(StrEnum):
    """What has happened."""

    BENCHED = "benched"
    RETIRED = "retired"
    RECOVERED = "recovered"
    OUTAGE_BEGAN = "outage began"
    OUTAGE_ENDED = "outage ended"
    RELOADED = "reloaded"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event. `key` is the name of the key, empty for the whole pool; `about` is the lane or origin.

    `request` is the id of the request that caused it, empty if none did. `until` is the end of a bench.
    """

    time: float
    kind: EventKind
    key: str = ""
    about: str = ""
    why: str = ""
    request: str = ""
    until: float | None = None


class Journal(Protocol):
    """Keeps rows without waiting: the storage, or what takes them to it."""

    def put_request(self, row: RequestRow, /) -> None:
        """Keep a request that has ended."""

    def put_event(self, row: EventRow, /) -> None:
        """Keep an event."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for: those that match in all that is not None. `since` is the earliest time."""

    key: str | None = None
    kind: EventKind | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, the latest first. `cursor` asks for those before them; None: there are none."""

    rows: list[EventRow]
    cursor: int | None


class QueryError(ValueError):
    """The query asks for too much; the message says what to ask for instead."""


class NoStateFileError(Exception):
    """There is no state file now; the message is the reason."""
