"""The messages between a worker and the hub of its host, each a line, of JSON but for rows. Pure.

Update     [kind, key, about, value, [moment, ...]]     both ways, see `update`
Synced     {"synced": true}                             both ways
Question   {"question": N}                              both ways
Report     {"counts": [[name, [label, ...], n], ...],   from a worker: since its last report, and its activity
            "processes": [{...}, ...],                  from the hub: the sums and activities of all workers
            "answers": N or null}
LimitQuestion {"ask": [N, client, needed, ahead]}        from a worker: may the client make requests?
LimitAnswer {"granted": [N, count, at, limit, opens]}   from the hub
LimitNews   {"limit": [client, at, unused, ended, tokens]}   from a worker: what became of them
RowBatch   #...                                         from a worker: see `row_batch`
EndRequest {"end": [N, id]}                             both ways: end an open request
RequestEnded {"ended": [N, true]}                       the reply: whether there was one
Query      {"query": N, "text": "..."}                  from a worker, see `records_link`
Answer     {"answer": N, "text": "...", "fault": "..." or null}    from the hub
"""

import json
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any

from proxycore.peers.row_batch import MARK, RowBatch
from proxycore.peers.update import Update, parse_json
from proxycore.stats.counters import Entry

_STRING = {str}


@dataclass(frozen=True, slots=True)
class Synced:
    """The sender has sent everything that it knew when the connection began."""


@dataclass(frozen=True, slots=True)
class Question:
    """Asks for a report, by a number that the report repeats."""

    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """Figures: counts to be added up, and what is in progress in each process, as `Meter.now` has it.

    `answers` is the number of the question that it is the reply to; None: there was no question.
    """

    counts: list[Entry]
    processes: list[dict[str, Any]]
    answers: int | None = None


@dataclass(frozen=True, slots=True)
class LimitQuestion:
    """Asks for requests of a client, by a number that the answer repeats, see `Lender.ask`."""

    number: int
    client: str
    needed: int
    ahead: int


@dataclass(frozen=True, slots=True)
class LimitAnswer:
    """Grants requests of a client, see `Grant`."""

    number: int
    count: int
    at: float
    limit: str
    opens: float


@dataclass(frozen=True, slots=True)
class LimitNews:
    """What became of a client's requests, see `Connection.tell`."""

    client: str
    at: float
    unused: int
    ended: int
    tokens: int


@dataclass(frozen=True, slots=True)
class EndRequest:
    """Asks to end the open request of this id, by a number that the reply repeats."""

    number: int
    request: str


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """The reply to such a message: whether there was an open request of that id."""

    number: int
    found: bool


@dataclass(frozen=True, slots=True)
class Query:
    """Asks the hub for what the state file has, by a number that the answer repeats."""

    number: int
    text: str


class Fault(StrEnum):
    """Why a query has no result."""

    OFF = "off"  # there is to be no state file
    UNUSABLE = "unusable"
    TOO_MUCH = "too much"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the query of this number: its result, or the reason of the fault."""

    number: int
    text: str
    fault: Fault | None = None


_NAMES = {
    LimitQuestion: "ask",
    LimitAnswer: "granted",
    LimitNews: "limit",
    EndRequest: "end",
    RequestEnded: "ended",
}

Message = (
    Update
    | Synced
    | Question
    | Report
    | LimitQuestion
    | LimitAnswer
    | LimitNews
    | RowBatch
    | EndRequest
    | RequestEnded
    | Query
    | Answer
)


def encode(message: Message) -> bytes:
    """Return a message as a line of JSON, without a newline."""
    match message:
        case Update() | RowBatch():
            return message.encode()
        case Synced():
            return b'{"synced":true}'
        case Question(number):
            return b'{"question":%d}' % number
        case Report():
            fields = {"counts": message.counts, "processes": message.processes, "answers": message.answers}
            return json.dumps(fields, separators=(",", ":")).encode()
        case Query(number, text):
            return json.dumps({"query": number, "text": text}).encode()
        case Answer(number, text, fault):
            return json.dumps({"answer": number, "text": text, "fault": fault}).encode()
        case _:
            return json.dumps({_NAMES[type(message)]: astuple(message)}, separators=(",", ":")).encode()


def decode(line: bytes) -> Message:
    """Return the message in a line. Raises ValueError when it has none."""
    if line.startswith(b"["):
        return Update.decode(line)
    if line.startswith(MARK):
        return RowBatch.decode(line)
    match parse_json(line):
        case {"question": int(number)}:
            return Question(number)
        case {"counts": list(counts), "processes": list(processes), "answers": int() | None as number}:
            if not all(isinstance(process, dict) for process in processes):
                raise ValueError("not what is in progress")
            return Report([_entry(entry) for entry in counts], processes, number)
        case {"synced": True}:
            return Synced()
        case {"query": int(number), "text": str(text)}:
            return Query(number, text)
        case {"answer": int(number), "text": str(text), "fault": str() | None as fault}:
            return Answer(number, text, None if fault is None else Fault(fault))
        case dict(fields):
            return _decode_named(fields)
    raise ValueError("not a message")


def _entry(value: object) -> Entry:  # there are thousands of them, and a pattern takes three times as long
    if isinstance(value, list) and len(value) == 3:
        name, labels, n = value
        is_count = isinstance(name, str) and isinstance(n, int | float)
        if is_count and isinstance(labels, list) and _STRING.issuperset(map(type, labels)):
            return name, tuple(labels), n
    raise ValueError("not a count")


def _decode_named(fields: dict[str, Any]) -> Message:
    match fields:
        case {"ask": [int(number), str(client), int(needed), int(ahead)]}:
            return LimitQuestion(number, client, needed, ahead)
        case {
            "granted": [int(number), int(count), int() | float() as at, str(limit), int() | float() as opens]
        }:
            return LimitAnswer(number, count, at, limit, opens)
        case {"limit": [str(client), int() | float() as at, int(unused), int(ended), int(tokens)]}:
            return LimitNews(client, at, unused, ended, tokens)
        case {"end": [int(number), str(request)]}:
            return EndRequest(number, request)
        case {"ended": [int(number), bool(found)]}:
            return RequestEnded(number, found)
    raise ValueError("not a message")
