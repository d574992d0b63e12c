"""Typed events of what changes among the keys, published once to those who subscribed to their type. Pure.

Each event has an origin: what was found here is published to the peers, what a peer found is not again.
Times are the clock's moments, in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.judgement import Judgement
from proxycore.rotation.key import Key
from proxycore.rotation.outage import Outage
from proxycore.rotation.ownership import Ownership
from proxycore.rotation.search import Search


class Origin(Enum):
    """Where a change was found."""

    HERE = "this process"
    PEER = "another process or host"


@dataclass(frozen=True, slots=True)
class Event:
    """A change."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class KeyEvent(Event):
    """A change that concerns one key."""

    key: Key


@dataclass(frozen=True, slots=True)
class BenchChanged(KeyEvent):
    """A bench or retirement was set to `bench`, or (None) removed.

    `about` is the lane or origin that it is for, empty for a whole key.
    """

    place: BenchPlace
    about: str
    bench: Bench | None


@dataclass(frozen=True, slots=True)
class BenchBegan(BenchChanged):
    """A new bench or retirement, which is logged and counted.

    `request` is the id of the request whose response caused it; empty if none did.
    """

    bench: Bench
    request: str


@dataclass(frozen=True, slots=True)
class BenchEnded(BenchChanged):
    """A bench or retirement (`ended`) ended since the key was found to work.

    `request` is the id of the request whose response showed that; empty if none did.
    """

    ended: Bench
    request: str


@dataclass(frozen=True, slots=True)
class QuotaLearned(KeyEvent):
    """More is known about the quotas of a key's project for a lane."""

    lane: str


@dataclass(frozen=True, slots=True)
class CallCounted(KeyEvent):
    """A call with a prompt of so many `tokens` counts against the quotas from the moment `at` on."""

    lane: str
    at: float
    tokens: int


@dataclass(frozen=True, slots=True)
class CallUncounted(KeyEvent):
    """A call that was counted for the moment `at` does not count any more."""

    lane: str
    at: float


@dataclass(frozen=True, slots=True)
class ConcurrencyRaised(KeyEvent):
    """More calls for a lane may be open at once with a key's project."""

    lane: str


@dataclass(frozen=True, slots=True)
class ProjectAssigned(KeyEvent):
    """A key was moved to the project that it belongs to."""


@dataclass(frozen=True, slots=True)
class KeysReplaced(Event):
    """The keys were replaced by a reload."""


@dataclass(frozen=True, slots=True)
class DayEndsMoved(Event):
    """The ends of Google's days were recomputed, since the wall clock was set."""


@dataclass(frozen=True, slots=True)
class OutageChanged(Event):
    """The outage for a lane (None: for all lanes) is `outage` now; None: it is over.

    It affects keys with this outbound proxy (None: with none). `request` is the id of the request whose
    response showed that; empty if none did.
    """

    lane: str | None
    outage: Outage | None
    proxy: str | None = field(default=None, repr=False)
    request: str = ""


@dataclass(frozen=True, slots=True)
class SearchChanged(Event):
    """The search for a lane (None: for all lanes) is in this state now; None: it is over.

    `request` is the id of the request whose response ended it; empty if none did.
    """

    lane: str | None
    search: Search | None
    request: str = ""


@dataclass(frozen=True, slots=True)
class RequestBlamed(Event):
    """A request was found to be at fault for its refusals."""

    judgement: Judgement


@dataclass(frozen=True, slots=True)
class ReturnExpected(Event):
    """A client was asked to retry for a lane at a moment, or (`gone`) is not expected any more.

    `client` is its name or address.
    """

    lane: str
    at: float
    client: str
    gone: bool


@dataclass(frozen=True, slots=True)
class OwnerLearned(KeyEvent):
    """A key was found to own a resource."""

    ownership: Ownership


@dataclass(frozen=True, slots=True)
class ConversationServed(KeyEvent):
    """A key served a call of the conversation of this name, which is remembered until a moment."""

    name: str
    until: float


E = TypeVar("E", bound=Event)


class Events:
    """Passes published events on to the handlers that subscribed to their type."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type[Event], Callable[[Any], None]]] = []
        self._handlers: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` with each event of this type, or of one derived from it, from now on."""
        self._subscriptions.append((kind, handler))
        self._handlers.clear()

    def publish(self, event: Event) -> None:
        """Call the handlers that subscribed to its type, in the order of their subscriptions."""
        for handler in self._handlers_of(type(event)):
            handler(event)

    def is_wanted(self, kind: type[Event]) -> bool:
        """Return whether any handler subscribed to this type; if not, the event need not be made."""
        return bool(self._handlers_of(kind))

    def _handlers_of(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        handlers = self._handlers.get(kind)
        if handlers is None:
            handlers = self._handlers[kind] = tuple(
                handler for wanted, handler in self._subscriptions if issubclass(kind, wanted)
            )
        return handlers
