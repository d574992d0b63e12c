"""Rows for the state file, on their way from a worker to the hub, which has the file: a line of JSON. Pure.

    {"requests": [[value, ...], ...], "events": [[value, ...], ...]}

The values are those of `RequestRow` and `EventRow`, in their order.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow, EventKind, EventRow, RequestRow

_MOST = 20_000  # rows of a kind that are kept while the hub is away

_NUMBER = (int, float)
_MAYBE_NUMBER = (int, float, type(None))
_ATTEMPT = (str, int, str, str, _NUMBER, _NUMBER)
_REQUEST = (
    *(str, _NUMBER, *(str,) * 6, int, str),  # from the id to the outcome
    *(int,) * 5,  # tokens
    *(bool, int, int, _MAYBE_NUMBER, _NUMBER, str, _NUMBER, list),
)
_EVENT = (_NUMBER, *(str,) * 5, _MAYBE_NUMBER)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows that are sent together."""

    requests: list[RequestRow]
    events: list[EventRow]

    def encode(self) -> bytes:
        """Return the batch as a line of JSON, without a newline."""
        rows = {"requests": self.requests, "events": self.events}
        return json.dumps(rows, separators=(",", ":"), default=_values).encode()

    @classmethod
    def decode(cls, requests: Iterable[object], events: Iterable[object]) -> "RowBatch":
        """Return the batch that the lists of such a line hold. Raises ValueError when a row is malformed."""
        return cls([_request(values) for values in requests], [_event(values) for values in events])


class RowBuffer:
    """The journal of a worker: keeps the latest rows until they are taken to the hub."""

    def __init__(self) -> None:
        self._requests: deque[RequestRow] = deque(maxlen=_MOST)
        self._events: deque[EventRow] = deque(maxlen=_MOST)
        self.put_request = self._requests.append
        """Keep a request that has ended."""
        self.put_event = self._events.append
        """Keep an event."""

    def take(self) -> RowBatch | None:
        """Return what was kept since the last call, if anything was."""
        if not self._requests and not self._events:
            return None
        batch = RowBatch(list(self._requests), list(self._events))
        self._requests.clear()
        self._events.clear()
        return batch


def _getter(kind: type[Any]) -> Callable[[Any], Any]:
    return attrgetter(*(field.name for field in fields(kind)))


_GETTERS: dict[type[object], Callable[[Any], Any]] = {
    kind: _getter(kind) for kind in (RequestRow, AttemptRow, EventRow)
}


def _values(row: object) -> Any:  # noqa: ANN401 - a tuple of any values
    return _GETTERS[type(row)](row)


def _checked(values: object, kinds: tuple[Any, ...]) -> list[Any]:
    if isinstance(values, list) and len(values) == len(kinds) and all(map(isinstance, values, kinds)):
        return values
    raise ValueError("not a row")


def _request(row: object) -> RequestRow:
    values = _checked(row, _REQUEST)
    values[9] = RequestOutcome(values[9])
    values[-1] = tuple(AttemptRow(*_checked(attempt, _ATTEMPT)) for attempt in values[-1])
    return RequestRow(*values)


def _event(row: object) -> EventRow:
    time, kind, *others = _checked(row, _EVENT)
    return EventRow(time, EventKind(kind), *others)
