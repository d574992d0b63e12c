"""Typed events of what changes among the keys, published once to those who subscribed to their type. Pure.

Each event has an origin: what was found here is published to the peers, what a peer found is not again.
Times are the clock's moments, in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key
from proxycore.rotation.outage import Outage
from proxycore.rotation.ownership import Ownership
from proxycore.rotation.search import Search


class Origin(Enum):
    """Where it was found."""

    HERE = "this process"
    PEER = "another process or host"


@dataclass(frozen=True, slots=True)
class Event:
    """Something has changed."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class KeyEvent(Event):
    """Something has changed for a key."""

    key: Key


@dataclass(frozen=True, slots=True)
class BenchChanged(KeyEvent):
    """A bench or retirement is this now, or (None) there is none.

    `about` is the lane or origin that it is for, empty for a whole key.
    """

    place: BenchPlace
    about: str
    bench: Bench | None


@dataclass(frozen=True, slots=True)
class BenchBegan(BenchChanged):
    """A bench or retirement that is worth a log line began.

    `request` is the id of the request whose answer caused it; empty when none did.
    """

    bench: Bench
    request: str


@dataclass(frozen=True, slots=True)
class BenchEnded(BenchChanged):
    """A bench or retirement (`ended`) ended since the key was found to work."""

    ended: Bench
    request: str


@dataclass(frozen=True, slots=True)
class QuotaLearned(KeyEvent):
    """More is known of the quotas of a key's project."""

    lane: str


@dataclass(frozen=True, slots=True)
class CallCounted(KeyEvent):
    """A call counts against quotas, from `at` on."""

    lane: str
    at: float


@dataclass(frozen=True, slots=True)
class CallUncounted(KeyEvent):
    """A call that was counted for this moment does not count any more."""

    lane: str
    at: float


@dataclass(frozen=True, slots=True)
class RoomChanged(KeyEvent):
    """More calls may be open at once with a key's project."""

    lane: str


@dataclass(frozen=True, slots=True)
class ProjectAssigned(KeyEvent):
    """A key turned out to be of the project that it is of now."""


@dataclass(frozen=True, slots=True)
class KeysReplaced(Event):
    """The keys were replaced by a reload."""


@dataclass(frozen=True, slots=True)
class DayReckoned(Event):
    """The ends of Google's days are other moments than was thought, since the wall clock was set."""


@dataclass(frozen=True, slots=True)
class OutageChanged(Event):
    """An outage for a lane (None: for all) is this now, or (None) there is none."""

    lane: str | None
    outage: Outage | None


@dataclass(frozen=True, slots=True)
class SearchChanged(Event):
    """The search for a lane (None: for all) is in this state now, or (None) there is none."""

    lane: str | None
    search: Search | None


@dataclass(frozen=True, slots=True)
class RequestBlamed(Event):
    """A request was found to be at fault for what keys refused."""

    judgement: Judgement


@dataclass(frozen=True, slots=True)
class ReturnExpected(Event):
    """A client was told to come back for a lane at a moment, or (`gone`) is not expected any more."""

    lane: str
    at: float
    gone: bool


@dataclass(frozen=True, slots=True)
class OwnerLearned(KeyEvent):
    """A key was found to own a resource."""

    ownership: Ownership


E = TypeVar("E", bound=Event)


class Events:
    """Where events are published, and subscribed to."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type[Event], Callable[[Any], None]]] = []
        self._handlers: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """From now on, `handler` is called with each event of this type or one derived from it."""
        self._subscriptions.append((kind, handler))
        self._handlers.clear()

    def publish(self, event: Event) -> None:
        """Calls the handlers that subscribed to it, in the order in which they did."""
        for handler in self._handlers_of(type(event)):
            handler(event)

    def is_wanted(self, kind: type[Event]) -> bool:
        """Whether anybody subscribed to events of this type: else they need not be made."""
        return bool(self._handlers_of(kind))

    def _handlers_of(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        handlers = self._handlers.get(kind)
        if handlers is None:
            handlers = self._handlers[kind] = tuple(
                handler for wanted, handler in self._subscriptions if issubclass(kind, wanted)
            )
        return handlers
