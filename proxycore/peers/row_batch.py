"""Rows for the state file, on their way from a worker to the hub, which has the file: a line of text. Pure.

    #<base64 of ([(value, ...), ...], [(value, ...), ...])>

The values are those of `RequestRow` and `EventRow`, in their order. They are in the form of `marshal`, since
both ends are processes of one program, and JSON takes five times as long.
"""

import binascii
import marshal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import AttemptRow, EventKind, EventRow, RequestRow

_MOST = 20_000  # rows of a kind that are kept while the hub is away

MARK = b"#"
"""What the line of a batch begins with."""

_TEXT, _INTEGER, _NUMBER = frozenset({str}), frozenset({int}), frozenset({int, float})
_MAYBE_NUMBER = _NUMBER | {type(None)}
_ATTEMPT = (_TEXT, _INTEGER, _TEXT, _TEXT, _NUMBER, _NUMBER)
_REQUEST = (
    *(_TEXT, _NUMBER, *(_TEXT,) * 6, _INTEGER, _TEXT),  # from the id to the outcome
    *(_INTEGER,) * 5,  # tokens
    *(frozenset({bool}), _INTEGER, _INTEGER, _MAYBE_NUMBER, _NUMBER, _TEXT, _NUMBER, frozenset({tuple})),
)
_EVENT = (_NUMBER, *(_TEXT,) * 5, _MAYBE_NUMBER)
_OUTCOMES = {str(outcome): outcome for outcome in RequestOutcome}

_Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows that are sent together."""

    requests: list[RequestRow]
    events: list[EventRow]

    def encode(self) -> bytes:
        """Return the batch as a line, without a newline."""
        requests = [
            (*values, tuple(map(_of_attempt, tried))) for *values, tried in map(_of_request, self.requests)
        ]
        rows = requests, [*map(_of_event, self.events)]
        return MARK + binascii.b2a_base64(marshal.dumps(rows), newline=False)

    @classmethod
    def decode(cls, line: bytes) -> "RowBatch":
        """Return the batch that such a line holds. Raises ValueError when a row is malformed."""
        try:
            requests, events = marshal.loads(binascii.a2b_base64(line[len(MARK) :]))  # noqa: S302 - of our own worker
            tried = [attempt for values in requests for attempt in values[-1]]
            _check(requests, _REQUEST)
            _check(tried, _ATTEMPT)
            _check(events, _EVENT)
            return cls([_request(values) for values in requests], [_event(*values) for values in events])
        except (EOFError, LookupError, TypeError, ValueError) as error:
            raise ValueError("not a row") from error


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


def _getter(row: type[Any], /, **written: str) -> Callable[[Any], _Values]:
    """Return what reads the values of a row, some of them as they are written down."""
    return attrgetter(*(written.get(field.name, field.name) for field in fields(row)))


_of_request = _getter(RequestRow, outcome="outcome.value")
_of_attempt = _getter(AttemptRow)
_of_event = _getter(EventRow, kind="kind.value")


def _check(rows: Sequence[_Values], kinds: Sequence[frozenset[type]]) -> None:
    """Raise ValueError if a value is of another type, or missing. By columns, which is faster."""
    columns = zip(*rows, strict=True)
    if rows and not all(
        kind.issuperset(map(type, column)) for kind, column in zip(kinds, columns, strict=True)
    ):
        raise ValueError("not a row")


def _request(values: _Values) -> RequestRow:
    *others, tried = values
    others.append(tuple([AttemptRow(*attempt) for attempt in tried]))
    row = RequestRow(*others)
    row.outcome = _OUTCOMES[row.outcome]
    return row


def _event(time: float, kind: str, *others: Any) -> EventRow:  # noqa: ANN401 - they are checked
    return EventRow(time, EventKind(kind), *others)
